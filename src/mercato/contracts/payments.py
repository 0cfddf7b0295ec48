"""Payments, as other services see them."""

import enum
from datetime import datetime

from mercato.contracts.events import Payload
from mercato.kernel.ids import OrderId, PaymentId, UserId


class PaymentStatus(enum.StrEnum):
    """Where a payment stands."""

    PENDING = "pending"
    PROCESSING = "processing"
    SUCCESS = "success"
    FAILED = "failed"
    PARTIALLY_REFUNDED = "partially_refunded"
    REFUNDED = "refunded"
    CANCELLED = "cancelled"


class RefundStatus(enum.StrEnum):
    """Where a refund stands."""

    PENDING = "pending"
    SUCCEEDED = "succeeded"
    FAILED = "failed"


class PaymentMethod(enum.StrEnum):
    """How a payment is made."""

    CARD = "card"
    BANK_TRANSFER = "bank_transfer"
    E_WALLET = "e_wallet"
    CASH = "cash"


class PaymentEvent(Payload, frozen=True, kw_only=True):
    """What the events about a payment carry. Amounts are in minor units.

    The subject is the order: all that happens to an order's payments keeps its order.
    """

    payment_id: PaymentId
    order_id: OrderId
    user_id: UserId
    status: PaymentStatus
    method: PaymentMethod
    amount: int
    refunded_amount: int
    currency: str
    at: datetime
    failure_reason: str | None = None

    @property
    def subject(self) -> str:
        """The order, whose payments keep their order."""
        return self.order_id


class PaymentCreated(PaymentEvent, frozen=True, kw_only=True):
    """A payment was opened for an order."""

    type = "payment.created"


class PaymentProcessing(PaymentEvent, frozen=True, kw_only=True):
    """The provider is being asked for the money."""

    type = "payment.processing"


class PaymentSucceeded(PaymentEvent, frozen=True, kw_only=True):
    """The money is captured."""

    type = "payment.success"


class PaymentFailed(PaymentEvent, frozen=True, kw_only=True):
    """The money was not captured and will not be under this payment."""

    type = "payment.failed"


class PaymentCancelled(PaymentEvent, frozen=True, kw_only=True):
    """The payment was given up before any money moved."""

    type = "payment.cancelled"


class PaymentRefunded(PaymentEvent, frozen=True, kw_only=True):
    """Money went back: `refund_amount` by this refund, `refunded_amount` in all so far."""

    type = "payment.refunded"

    refund_amount: int = 0
