"""Keeping the catalogue, and counting what is on the shelf."""

from datetime import datetime

from mercato.contracts.stores import StoreDirectory
from mercato.kernel.cause import Cause
from mercato.kernel.errors import NotFound
from mercato.kernel.ids import ProductId, is_id
from mercato.kernel.tenancy import TenantId
from mercato.products.domain import Inventory, NewProduct, Product, count, create_product
from mercato.products.ports import CatalogueStore

_REMEMBERED = 10_000


class Catalogue:
    """What admins do to products."""

    def __init__(self, store: CatalogueStore, stores: StoreDirectory) -> None:
        self._store = store
        self._stores = stores
        self._currencies: dict[TenantId, str] = {}
        """A store's currency never changes, so it is asked for once."""

    async def create(
        self, tenant: TenantId, product_id: ProductId, draft: NewProduct, *, by: Cause, at: datetime
    ) -> Product:
        """Add a product. Raises ValidationFailed, DuplicateSku, NotFound for the store, Unavailable."""
        currency = await self._currency(tenant)
        product, opening, events = create_product(
            draft, product_id=product_id, tenant=tenant, currency=currency, at=at
        )
        return await self._store.add(product, opening, events, by=by)

    async def count(
        self,
        tenant: TenantId,
        product_id: str,
        on_hand: int,
        location: str | None,
        *,
        by: Cause,
        at: datetime,
    ) -> Inventory:
        """Set what is on hand; without a `location` that stays. Raises NotFound, StockIsReserved."""
        if not is_id(product_id):
            raise NotFound("There is no such product.")
        return await self._store.change_inventory(
            tenant,
            ProductId(product_id),
            lambda inventory: count(inventory, on_hand, location, tenant=tenant, at=at),
            by=by,
        )

    async def _currency(self, tenant: TenantId) -> str:
        known = self._currencies.get(tenant)
        if known is not None:
            return known
        store = await self._stores.find(tenant)
        if store is None:
            raise NotFound("There is no such store.")
        if len(self._currencies) >= _REMEMBERED:
            del self._currencies[next(iter(self._currencies))]
        self._currencies[tenant] = store.currency
        return store.currency
