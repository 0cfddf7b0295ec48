"""Reading products and their stock, for whoever asks for them."""

from collections.abc import Sequence

from mercato.contracts.product_reading import Inventory, Product, ProductsWanted
from mercato.contracts.reading import Listed, check_window, sought
from mercato.kernel.acting import acting
from mercato.kernel.errors import FieldError, ValidationFailed
from mercato.kernel.ids import ProductId
from mercato.kernel.paging import Window
from mercato.kernel.principal import ANYONE, Principal
from mercato.kernel.rights import check_rights
from mercato.kernel.tenancy import TenantId
from mercato.products.ports import CatalogueReads, Order, ProductFilter
from mercato.products.service.lists import MAX_CATEGORY, MAX_SEARCH, MAX_SKU, Lists


class ProductReading:
    """See contracts.product_reading.ProductReader."""

    def __init__(self, reads: CatalogueReads, lists: Lists) -> None:
        self._reads = reads
        self._lists = lists

    async def page(self, tenant: TenantId, wanted: ProductsWanted, window: Window) -> Listed[Product]:
        """Return a part of a list."""
        check_window(window)
        _check_lengths(wanted)
        with acting(tenant):
            prices = await self._lists.prices(tenant, wanted.min_price, wanted.max_price)
            which = ProductFilter(wanted.search, wanted.category, wanted.sku, *prices, wanted.in_stock)
            return await self._lists.page(tenant, which, Order.named(wanted.sort), window)

    async def many(self, tenant: TenantId, product_ids: Sequence[str]) -> dict[ProductId, Product]:
        """Return those of the products that are in the catalogue."""
        ids = sought(product_ids)
        if not ids:
            return {}
        with acting(tenant):
            return {each.id: each for each in await self._reads.many(tenant, ids)}

    async def inventories(self, caller: Principal, product_ids: Sequence[str]) -> dict[ProductId, Inventory]:
        """Return the stock of those of the products that are in the catalogue."""
        check_rights(caller, ANYONE, None)
        ids = sought(product_ids)
        if not ids:
            return {}
        with acting(caller.tenant):
            return {each.product_id: each for each in await self._reads.inventories(caller.tenant, ids)}


def _check_lengths(wanted: ProductsWanted) -> None:
    most = {"search": MAX_SEARCH, "category": MAX_CATEGORY, "sku": MAX_SKU}
    wrong = [
        FieldError(name, f"must have at most {length} characters")
        for name, length in most.items()
        if len(getattr(wanted, name) or "") > length
    ]
    if wrong:
        raise ValidationFailed.of(*wrong)
