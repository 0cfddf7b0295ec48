"""What payments needs: a store for them, and a provider that moves money."""

from collections.abc import Callable
from datetime import datetime
from typing import Protocol

import msgspec

from mercato.contracts.events import Events
from mercato.contracts.payment_books import PaymentBook
from mercato.contracts.payments import PaymentStatus
from mercato.kernel.cause import Cause
from mercato.kernel.ids import OrderId, PaymentId, UserId
from mercato.kernel.paging import Window
from mercato.kernel.tenancy import TenantId
from mercato.payments.domain import Payment

Decide = Callable[[Payment], tuple[Payment, Events]]
"""A pure decision on one payment. It may run again; the same payment back means no change."""


class OutcomeUnknown(Exception):
    """The provider did not answer; whether the money moved is not known."""


class ChargeRequest(msgspec.Struct, frozen=True, kw_only=True):
    """Money to take. `amount` is in minor units; `token` stands for the payer's means."""

    key: str
    amount: int
    currency: str
    token: str | None
    description: str | None


class Charged(msgspec.Struct, frozen=True):
    """The money was taken, in the provider's transaction of that name."""

    transaction_id: str


class Declined(msgspec.Struct, frozen=True):
    """The money was not taken and will not be under this key."""

    reason: str


class NeverCharged(msgspec.Struct, frozen=True):
    """The provider knows of no charge under the key, and takes none from now on."""


class RefundRequest(msgspec.Struct, frozen=True, kw_only=True):
    """Money to give back of a transaction. `amount` is in minor units."""

    key: str
    transaction_id: str
    amount: int
    currency: str


class Refunded(msgspec.Struct, frozen=True):
    """The money has gone back."""


class RefundRefused(msgspec.Struct, frozen=True):
    """The provider does not give it back."""

    reason: str


class Provider(Protocol):
    """Moves money. The caller sets deadlines."""

    @property
    def name(self) -> str:
        """What payments are marked with."""
        ...

    async def charge(self, request: ChargeRequest) -> Charged | Declined:
        """Take the money, once per key: a repetition is told the first outcome.

        Raises OutcomeUnknown.
        """
        ...

    async def resolve(self, key: str) -> Charged | Declined | NeverCharged:
        """Say what became of a key, and close it.

        After NeverCharged a charge under that key that was still on its way is declined, so
        that nothing is taken behind a failed payment. Raises OutcomeUnknown.
        """
        ...

    async def refund(self, request: RefundRequest) -> Refunded | RefundRefused:
        """Give money back, once per key. Raises OutcomeUnknown."""
        ...


class PaymentFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Which payments a list holds; None leaves a criterion open."""

    user_id: UserId | None = None
    status: PaymentStatus | None = None
    order_id: OrderId | None = None


class Due(msgspec.Struct, frozen=True):
    """A payment about which the provider is to be asked."""

    tenant: TenantId
    payment_id: PaymentId


class PaymentStore(Protocol):
    """Keeps payments. Every write publishes its events and records its cause in one commit."""

    async def find(self, tenant: TenantId, payment_id: PaymentId) -> Payment | None:
        """Return one payment."""
        ...

    async def latest_of(self, tenant: TenantId, order_id: OrderId) -> Payment | None:
        """Return an order's latest payment."""
        ...

    async def search(self, tenant: TenantId, wanted: PaymentFilter, window: Window) -> list[Payment]:
        """Return a window of a store's payments, newest first, and one more if there are more."""
        ...

    async def count(self, tenant: TenantId, wanted: PaymentFilter) -> int:
        """Return how many payments there are."""
        ...

    async def add(self, payment: Payment, events: Events, *, by: Cause) -> Payment:
        """Open a payment.

        Raises Conflict if the order has one that is open or paid, or was cancelled.
        """
        ...

    async def change(self, tenant: TenantId, payment_id: PaymentId, decide: Decide, *, by: Cause) -> Payment:
        """Change one payment. Raises NotFound, and what `decide` raises."""
        ...

    async def cancel_order(
        self, tenant: TenantId, order_id: OrderId, decide: Decide, *, at: datetime, by: Cause
    ) -> Payment | None:
        """Note that no payment may be opened for the order, and change the one it has."""
        ...

    async def due(self, now: datetime, limit: int) -> list[Due]:
        """Return payments of all stores about which to ask now, longest waiting first."""
        ...

    async def make_due(self) -> int:
        """Make all that is open due at once, in all stores; return how many payments it is."""
        ...

    async def books(self) -> list[PaymentBook]:
        """Return every store's payments, for reconciliation."""
        ...
