"""What products needs of its database."""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Protocol

import msgspec

from mercato.contracts.events import Events
from mercato.kernel.cause import Cause
from mercato.kernel.ids import OrderId, ProductId
from mercato.kernel.paging import Window
from mercato.kernel.tenancy import TenantId
from mercato.products.domain import Hold, Inventory, Movement, Outcome, Product, Short

Count = Callable[[Inventory], tuple[Inventory, tuple[Movement, ...], Events]]
"""Decides a change of a product's inventory. Pure; it may run again."""

Decide = Callable[[Hold | None, Mapping[str, Product]], Outcome]
"""Decides what becomes of an order's hold, if it has one, given the products found.

Pure; it may run again. Returning the very hold it was given changes nothing.
"""


class Shortage(Exception):
    """Too little is available; the step is rolled back."""

    def __init__(self, short: Sequence[Short]) -> None:
        super().__init__(", ".join(map(str, short)))
        self.short = tuple(short)


class ProductFilter(msgspec.Struct, frozen=True):
    """Which products are wanted; None wants all."""

    category: str | None = None
    sku: str | None = None


class CatalogueStore(Protocol):
    """Keeps products and their stock."""

    async def add(
        self, product: Product, opening: Sequence[Movement], events: Events, *, by: Cause
    ) -> Product:
        """Store a new product with its opening stock. Raises DuplicateSku."""
        ...

    async def find(self, tenant: TenantId, product_id: ProductId) -> Product | None:
        """Return the product."""
        ...

    async def page(self, tenant: TenantId, wanted: ProductFilter, window: Window) -> list[Product]:
        """Return up to `window.fetch` products, newest first; `window.after` is an id."""
        ...

    async def count(self, tenant: TenantId, wanted: ProductFilter) -> int:
        """Return how many products there are."""
        ...

    async def inventory(self, tenant: TenantId, product_id: ProductId) -> Inventory | None:
        """Return a product's stock, read fresh."""
        ...

    async def change_inventory(
        self, tenant: TenantId, product_id: ProductId, count: Count, *, by: Cause
    ) -> Inventory:
        """Change a product's stock in one step. Raises NotFound, and what `count` raises."""
        ...


class HoldStore(Protocol):
    """Keeps what orders hold."""

    async def change(
        self,
        tenant: TenantId,
        order_id: OrderId,
        decide: Decide,
        *,
        products: Sequence[str] = (),
        by: Cause,
        at: datetime,
    ) -> Hold | None:
        """Decide on an order's hold and carry it out in one step, all or nothing.

        `products` are ids and SKUs; those that exist are given to `decide` under these names.
        Raises Shortage, and what `decide` raises.
        """
        ...

    async def due(self, at: datetime, limit: int) -> list[Hold]:
        """Return holds of any store that are to be checked, the most overdue first."""
        ...
