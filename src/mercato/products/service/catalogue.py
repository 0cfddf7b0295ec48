"""Keeping the catalogue, and counting what is on the shelf."""

from datetime import datetime

from mercato.contracts.events import Events
from mercato.contracts.stores import StoreDirectory
from mercato.kernel.cause import Cause
from mercato.kernel.errors import NotFound
from mercato.kernel.ids import ProductId, is_id
from mercato.kernel.tenancy import TenantId
from mercato.kernel.versions import Expected
from mercato.products.domain import (
    Inventory,
    Movement,
    NewProduct,
    Product,
    ProductChange,
    create_product,
    delete_product,
    update_product,
)
from mercato.products.ports import CatalogueStore, Count

_REMEMBERED = 10_000


class Currencies:
    """The stores' currencies. One never changes, so it is asked for once."""

    def __init__(self, stores: StoreDirectory) -> None:
        self._stores = stores
        self._known: dict[TenantId, str] = {}

    async def of(self, tenant: TenantId) -> str:
        """Return a store's currency. Raises NotFound for the store, Unavailable."""
        known = self._known.get(tenant)
        if known is not None:
            return known
        store = await self._stores.find(tenant)
        if store is None:
            raise NotFound("There is no such store.")
        if len(self._known) >= _REMEMBERED:
            del self._known[next(iter(self._known))]
        self._known[tenant] = store.currency
        return store.currency


class Catalogue:
    """What admins do to products."""

    def __init__(self, store: CatalogueStore, currencies: Currencies) -> None:
        self._store = store
        self._currencies = currencies

    async def create(
        self, tenant: TenantId, product_id: ProductId, draft: NewProduct, *, by: Cause, at: datetime
    ) -> Product:
        """Add a product. Raises ValidationFailed, DuplicateSku, NotFound for the store, Unavailable."""
        currency = await self._currencies.of(tenant)
        product, opening, events = create_product(
            draft, product_id=product_id, tenant=tenant, currency=currency, at=at
        )
        return await self._store.add(product, opening, events, by=by)

    async def change(
        self,
        tenant: TenantId,
        product_id: str,
        change: ProductChange,
        expected: Expected,
        *,
        by: Cause,
        at: datetime,
    ) -> Product:
        """Change a product. Raises NotFound, VersionMismatch, ValidationFailed, DuplicateSku."""

        def decide(product: Product) -> tuple[Product, Events]:
            expected.check(product.version)
            return update_product(product, change, at=at)

        return await self._store.change(tenant, _id(product_id), decide, by=by)

    async def delete(
        self, tenant: TenantId, product_id: str, expected: Expected, *, by: Cause, at: datetime
    ) -> None:
        """Take a product out of the catalogue. Raises NotFound, VersionMismatch."""

        def decide(product: Product) -> tuple[Product, Events]:
            expected.check(product.version)
            return delete_product(product, at=at)

        await self._store.delete(tenant, _id(product_id), decide, by=by)

    async def change_stock(
        self, tenant: TenantId, product_id: str, change: Count, expected: Expected, *, by: Cause
    ) -> Inventory:
        """Change a product's stock. Raises NotFound, VersionMismatch, and what `change` raises."""

        def decide(inventory: Inventory) -> tuple[Inventory, tuple[Movement, ...], Events]:
            expected.check(inventory.version)
            return change(inventory)

        return await self._store.change_inventory(tenant, _id(product_id), decide, by=by)


def _id(text: str) -> ProductId:
    """Return a product's id. Raises NotFound for what cannot be one."""
    if not is_id(text):
        raise NotFound("There is no such product.")
    return ProductId(text)
