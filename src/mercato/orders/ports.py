"""What orders needs, in its own words."""

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Protocol

import msgspec

from mercato.contracts import order_reading
from mercato.contracts.events import Events
from mercato.contracts.order_reading import TimelineEntry
from mercato.contracts.orders import OrderStatus
from mercato.contracts.products import PricedLine
from mercato.kernel.cause import ByEvent, Cause
from mercato.kernel.ids import OrderId, ProductId, UserId
from mercato.kernel.paging import Window
from mercato.kernel.tenancy import TenantId
from mercato.orders.domain import Order

Decide = Callable[[Order], tuple[Order, Events]]
"""A pure decision on one order. It may run again; the same order back means no change."""


class OrderFilter(msgspec.Struct, frozen=True):
    """Which orders of a store are wanted."""

    user_id: UserId | None = None
    status: OrderStatus | None = None
    since: datetime | None = None
    before: datetime | None = None
    """Created at `since` or later, and before `before`."""


class OrderStore(Protocol):
    """Keeps orders. Deleted ones are not found, where nothing else is said."""

    async def find(self, tenant: TenantId, order_id: OrderId) -> Order | None:
        """Return one order, read fresh."""
        ...

    async def find_many(self, tenant: TenantId, order_ids: Sequence[OrderId]) -> list[Order]:
        """Return those of the orders that were placed, deleted ones too."""
        ...

    async def search(self, tenant: TenantId, wanted: OrderFilter, window: Window) -> list[Order]:
        """Return a window of a store's orders, and one more if there are more.

        They are sorted by creation, latest first; the window's cursor is a `time_key`.
        """
        ...

    async def count(self, tenant: TenantId, wanted: OrderFilter) -> int:
        """Return how many orders there are."""
        ...

    async def add(self, order: Order, events: Events, *, by: Cause) -> Order:
        """Store a new order with its events, in one step."""
        ...

    async def change(self, tenant: TenantId, order_id: OrderId, decide: Decide, *, by: Cause) -> Order:
        """Load, decide and store with the events, in one step. Raises NotFound.

        An event changes a deleted order too: its payment may still be on the way back.
        """
        ...

    async def expired(self, now: datetime, limit: int) -> list[tuple[TenantId, OrderId]]:
        """Return pending orders, of any store, whose time is up."""
        ...


class History(msgspec.Struct, frozen=True):
    """What happened to an order of somebody's, oldest first."""

    order_id: OrderId
    user_id: UserId
    entries: tuple[TimelineEntry, ...]


class OrderReads(Protocol):
    """Reads orders for others, fresh, each call in one statement. Deleted ones are not there."""

    async def page(self, tenant: TenantId, wanted: OrderFilter, window: Window) -> list[order_reading.Order]:
        """Return a window of a store's orders, and one more if there are more, latest first.

        The window's cursor is a `time_key`.
        """
        ...

    async def count(self, tenant: TenantId, wanted: OrderFilter) -> int:
        """Return how many orders there are."""
        ...

    async def many(self, tenant: TenantId, order_ids: Sequence[str]) -> list[order_reading.Order]:
        """Return those of the orders that are there."""
        ...

    async def of_users(
        self, tenant: TenantId, user_ids: Sequence[str], limit: int
    ) -> list[order_reading.Order]:
        """Return the latest orders of each of the users, in no order."""
        ...

    async def histories(self, tenant: TenantId, order_ids: Sequence[str]) -> list[History]:
        """Return what happened to those of the orders that are there."""
        ...


class CatalogueItem(msgspec.Struct, frozen=True):
    """A product as last heard of. `price` is in minor units."""

    product_id: ProductId
    sku: str
    name: str
    price: int
    currency: str

    def line(self, quantity: int) -> PricedLine:
        """Return an order line of this product."""
        return PricedLine(self.product_id, self.sku, self.name, quantity, self.price)


class Catalogue(Protocol):
    """The last known prices, for the time that products is away."""

    async def find(self, tenant: TenantId, product: str) -> CatalogueItem | None:
        """Return a product by id or SKU."""
        ...

    async def keep(self, tenant: TenantId, item: CatalogueItem, *, by: ByEvent) -> None:
        """Remember a product."""
        ...

    async def forget(self, tenant: TenantId, product_id: ProductId, *, by: ByEvent) -> None:
        """Forget a product that left the catalogue."""
        ...
