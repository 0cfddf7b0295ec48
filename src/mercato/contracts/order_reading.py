"""Orders, as whoever may read them sees them."""

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol

import msgspec

from mercato.contracts.orders import OrderPaymentStatus, OrderStatus
from mercato.contracts.products import PricedLine
from mercato.contracts.reading import Listed
from mercato.kernel.ids import OrderId, UserId
from mercato.kernel.paging import Window
from mercato.kernel.principal import Principal
from mercato.kernel.tenancy import TenantId


class TimelineEntry(msgspec.Struct, frozen=True, omit_defaults=True):
    """One thing that happened to an order: `event` is what, `by` who, `note` why."""

    at: datetime
    event: str
    status: OrderStatus
    by: str
    note: str | None = None


class Order(msgspec.Struct, frozen=True):
    """An order. Amounts, also those of its lines, are in minor units of its currency."""

    id: OrderId
    tenant_id: TenantId
    user_id: UserId
    name: str | None
    status: OrderStatus
    payment_status: OrderPaymentStatus
    lines: tuple[PricedLine, ...]
    total_amount: int
    currency: str
    shipping_address: str | None
    notes: str | None
    cancel_reason: str | None
    created_at: datetime
    updated_at: datetime
    version: int


class OrdersWanted(msgspec.Struct, frozen=True, kw_only=True):
    """Which orders a list holds; None leaves a criterion open. A customer's list holds their own alone."""

    user_id: str | None = None
    """Whose they are. For one's own, which staff may have too, it is the caller's."""
    status: OrderStatus | None = None
    since: datetime | None = None
    before: datetime | None = None
    """Created at `since` or later, and before `before`."""


MAX_OF_USERS = 5_000
"""Orders of one call of `of_users`: users times limit."""


class OrderReader(Protocol):
    """Reads orders that were not deleted, fresh. The scope is `orders:read`.

    Raises Forbidden, ValidationFailed for what is out of bounds, and Unavailable.
    """

    async def page(self, caller: Principal, wanted: OrdersWanted, window: Window) -> Listed[Order]:
        """Return a part of a list, latest first: a customer's own orders, or the store's for its staff."""
        ...

    async def many(self, caller: Principal, order_ids: Sequence[str]) -> dict[OrderId, Order]:
        """Return those of the orders that the caller may see."""
        ...

    async def of_users(
        self, caller: Principal, user_ids: Sequence[str], limit: int
    ) -> dict[UserId, tuple[Order, ...]]:
        """Return each user's latest orders, at most `limit`, latest first.

        Users whose orders the caller may see are all there, those without orders too.
        """
        ...

    async def timelines(
        self, caller: Principal, order_ids: Sequence[str]
    ) -> dict[OrderId, tuple[TimelineEntry, ...]]:
        """Return what happened to those of the orders that the caller may see, oldest first."""
        ...
