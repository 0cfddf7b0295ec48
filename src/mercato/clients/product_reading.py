"""contracts.product_reading.ProductReader over HTTP."""

from collections.abc import Sequence

from mercato.clients.internal import PREFIX, Asked, Internal, store_of
from mercato.clients.neighbour import Neighbour
from mercato.clients.reading import AskMany, caller_of, reader, told
from mercato.contracts.product_reading import Inventory, Product, ProductReader, ProductsWanted
from mercato.contracts.reading import Listed
from mercato.kernel.ids import ProductId
from mercato.kernel.paging import Window
from mercato.kernel.principal import Principal
from mercato.kernel.tenancy import TenantId
from mercato.web.call import Call

_PAGE, _MANY, _INVENTORIES = "/read/products/page", "/read/products/many", "/read/products/inventories"


class AskProducts(Asked, frozen=True, kw_only=True):
    """Which part of which list is asked for."""

    wanted: ProductsWanted
    window: Window


class AskProductIds(Asked, frozen=True, kw_only=True):
    """The ids of what is asked for, which everybody may see."""

    ids: tuple[str, ...]


class ProductReaderClient:
    """See contracts.product_reading.ProductReader."""

    def __init__(self, products: Neighbour) -> None:
        self._products = products

    async def page(self, tenant: TenantId, wanted: ProductsWanted, window: Window) -> Listed[Product]:
        """Return a part of a list."""
        asked = AskProducts(wanted=wanted, window=window)
        return await self._products.ask(
            PREFIX + _PAGE, asked, Listed[Product], tenant=tenant, repeatable=True
        )

    async def many(self, tenant: TenantId, product_ids: Sequence[str]) -> dict[ProductId, Product]:
        """Return those of the products that are in the catalogue."""
        asked = AskProductIds(ids=told(product_ids))
        found = await self._products.ask(PREFIX + _MANY, asked, list[Product], tenant=tenant, repeatable=True)
        return {product.id: product for product in found}

    async def inventories(self, caller: Principal, product_ids: Sequence[str]) -> dict[ProductId, Inventory]:
        """Return the stock of those of the products that are in the catalogue."""
        asked = AskMany(reader=reader(caller), ids=told(product_ids))
        found = await self._products.ask(
            PREFIX + _INVENTORIES, asked, list[Inventory], tenant=caller.tenant, repeatable=True
        )
        return {inventory.product_id: inventory for inventory in found}


def serve_product_reading(internal: Internal, products: ProductReader) -> None:
    """Declare what ProductReaderClient calls."""

    async def page(call: Call, body: AskProducts) -> Listed[Product]:
        """Read a part of a list."""
        return await products.page(store_of(call), body.wanted, body.window)

    async def many(call: Call, body: AskProductIds) -> list[Product]:
        """Read products."""
        return list((await products.many(store_of(call), body.ids)).values())

    async def inventories(call: Call, body: AskMany) -> list[Inventory]:
        """Read products' stock."""
        return list((await products.inventories(caller_of(call, body), body.ids)).values())

    internal.on(_PAGE, page)
    internal.on(_MANY, many)
    internal.on(_INVENTORIES, inventories)
