"""Payments, as whoever may read them sees them. What they are charged to is never among it."""

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol

import msgspec

from mercato.contracts.payments import PaymentMethod, PaymentStatus, RefundStatus
from mercato.contracts.reading import Listed
from mercato.kernel.ids import OrderId, PaymentId, UserId
from mercato.kernel.paging import Window
from mercato.kernel.principal import Principal
from mercato.kernel.tenancy import TenantId


class Refund(msgspec.Struct, frozen=True):
    """One refund. `amount` is in minor units of the payment's currency."""

    id: str
    amount: int
    status: RefundStatus
    reason: str | None
    created_at: datetime
    failure_reason: str | None = None
    """Why the provider did not give it back, if it did not."""


class Payment(msgspec.Struct, frozen=True):
    """A payment. Amounts are in minor units; `refunded_amount` is what has gone back."""

    id: PaymentId
    tenant_id: TenantId
    order_id: OrderId
    user_id: UserId
    amount: int
    refunded_amount: int
    currency: str
    method: PaymentMethod
    status: PaymentStatus
    provider: str | None
    transaction_id: str | None
    failure_reason: str | None
    description: str | None
    paid_at: datetime | None
    refunds: tuple[Refund, ...]
    created_at: datetime
    updated_at: datetime
    version: int


class PaymentsWanted(msgspec.Struct, frozen=True, kw_only=True):
    """Which payments a list holds; None leaves a criterion open. A customer's list holds their own alone."""

    user_id: str | None = None
    """Whose they are. For one's own, which staff may have too, it is the caller's."""
    status: PaymentStatus | None = None
    order_id: str | None = None


class PaymentReader(Protocol):
    """Reads payments, fresh. The scope is `payments:read`.

    Raises Forbidden, ValidationFailed for what is out of bounds, and Unavailable.
    """

    async def page(self, caller: Principal, wanted: PaymentsWanted, window: Window) -> Listed[Payment]:
        """Return a part of a list, latest first: a customer's own, or the store's for its staff."""
        ...

    async def many(self, caller: Principal, payment_ids: Sequence[str]) -> dict[PaymentId, Payment]:
        """Return those of the payments that the caller may see."""
        ...

    async def latest_of_orders(self, caller: Principal, order_ids: Sequence[str]) -> dict[OrderId, Payment]:
        """Return the latest payment of each order that has one which the caller may see."""
        ...
