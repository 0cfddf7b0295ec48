"""Orders, as other services see them."""

import enum
from collections.abc import Sequence
from datetime import datetime
from typing import Protocol

import msgspec

from mercato.contracts.events import Payload
from mercato.contracts.products import PricedLine
from mercato.kernel.ids import OrderId, UserId
from mercato.kernel.tenancy import TenantId


class OrderStatus(enum.StrEnum):
    """Where an order stands."""

    PENDING = "pending"
    CONFIRMED = "confirmed"
    PROCESSING = "processing"
    SHIPPED = "shipped"
    DELIVERED = "delivered"
    CANCELLED = "cancelled"


class OrderPaymentStatus(enum.StrEnum):
    """What is known of an order's payment."""

    UNPAID = "unpaid"
    PENDING = "pending"
    PAID = "paid"
    FAILED = "failed"
    PARTIALLY_REFUNDED = "partially_refunded"
    REFUNDED = "refunded"


class StockState(enum.StrEnum):
    """Whether an order's stock is held yet."""

    AWAITING = "awaiting"
    RESERVED = "reserved"


class OrderFacts(msgspec.Struct, frozen=True):
    """What payments and products must know of an order. `total_amount` is in minor units."""

    order_id: OrderId
    user_id: UserId
    status: OrderStatus
    stock: StockState
    total_amount: int
    currency: str
    is_deleted: bool = False
    """It is at its end and in no list; for what it stands for elsewhere it is there as before."""


class OrderDesk(Protocol):
    """Answers what orders alone decides: an order's fate."""

    async def facts(self, tenant: TenantId, order_ids: Sequence[OrderId]) -> dict[OrderId, OrderFacts]:
        """Return the facts of those of the orders that were placed, read fresh. Raises Unavailable.

        Deleted ones are among them: what is not there was never placed, and holds nothing.
        """
        ...


class OrderEvent(Payload, frozen=True, kw_only=True):
    """What the events about an order carry. `total_amount` is in minor units."""

    order_id: OrderId
    user_id: UserId
    status: OrderStatus
    total_amount: int
    currency: str

    @property
    def subject(self) -> str:
        """The order."""
        return self.order_id


class OrderCreated(OrderEvent, frozen=True, kw_only=True):
    """An order was placed. While `stock` is awaiting, products is to reserve the lines."""

    type = "order.created"

    name: str | None
    stock: StockState
    hold_until: datetime
    lines: tuple[PricedLine, ...]


class OrderStatusChanged(OrderEvent, frozen=True, kw_only=True):
    """An order moved on. `by` is who did it, `reason` why, where somebody said."""

    type = "order.status_changed"

    previous: OrderStatus
    by: str
    reason: str | None = None
