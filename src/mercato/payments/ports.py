"""What payments needs: a store for them, and providers that move money and tell of it."""

import enum
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Protocol

import msgspec

from mercato.contracts import payment_reading
from mercato.contracts.events import Events
from mercato.contracts.payment_books import PaymentBook
from mercato.contracts.payments import PaymentStatus
from mercato.kernel.cause import Cause
from mercato.kernel.ids import OrderId, PaymentId, UserId
from mercato.kernel.paging import Window
from mercato.kernel.redaction import discreet
from mercato.kernel.tenancy import TenantId
from mercato.payments.domain import Payment

Decide = Callable[[Payment], tuple[Payment, Events]]
"""A pure decision on one payment. It may run again; the same payment back means no change."""


class OutcomeUnknown(Exception):
    """The provider did not answer; whether the money moved is not known."""


class ChargeRequest(msgspec.Struct, frozen=True, kw_only=True):
    """Money to take. `amount` is in minor units; `token` stands for the payer's means.

    To ask what became of it, all but the token is said again.
    """

    key: str
    tenant: TenantId
    amount: int
    currency: str
    token: str | None
    description: str | None
    created_at: datetime
    """Since when it may have been asked for."""

    __repr__ = discreet


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
    tenant: TenantId
    charge_key: str
    transaction_id: str
    amount: int
    currency: str
    created_at: datetime
    """Since when it may have been asked for."""


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

    def check(self) -> None:
        """Raise Unavailable while it keeps giving no answers: then it is better not to begin to charge."""
        ...

    async def charge(self, request: ChargeRequest) -> Charged | Declined:
        """Take the money, once per key: a repetition is told the first outcome.

        Raises OutcomeUnknown.
        """
        ...

    async def resolve(self, request: ChargeRequest) -> Charged | Declined | NeverCharged:
        """Say what became of a request's key, and close it. Its token does not matter.

        After NeverCharged a charge under that key that was still on its way is declined, so
        that nothing is taken behind a failed payment. Raises OutcomeUnknown.
        """
        ...

    async def refund(self, request: RefundRequest) -> Refunded | RefundRefused:
        """Give money back, once per key. Raises OutcomeUnknown."""
        ...

    async def close(self) -> None:
        """Let go of what it holds. No call is under way."""
        ...


class Notice(msgspec.Struct, frozen=True):
    """What a provider's webhook is about. Nothing that it says is believed: the provider is asked."""

    event_id: str
    """The provider's own; the same event may come more than once."""
    tenant: TenantId | None
    payment_id: PaymentId | None
    """Neither is known where it is about nothing of ours."""


class Notices(Protocol):
    """Reads a provider's webhooks."""

    def read(self, headers: Mapping[str, str], body: bytes, *, at: datetime) -> Notice | None:
        """Return what a webhook is about, None for news that matters to nobody here.

        Header names are lower case. Raises Unauthenticated for what the provider has not signed,
        or not just now, and BadRequest for what is no event.
        """
        ...


class Heard(enum.Enum):
    """What a notice came to."""

    DUE = "due"
    """The provider is to be asked about the payment now."""
    SETTLED = "settled"
    """Nothing about the payment is open."""
    UNKNOWN = "unknown"
    """There is no such payment."""
    REPEATED = "repeated"
    """It had been heard before."""


class PaymentFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Which payments a list holds; None leaves a criterion open."""

    user_id: UserId | None = None
    status: PaymentStatus | None = None
    order_id: OrderId | None = None


class PaymentReads(Protocol):
    """Reads payments for others, fresh, each call in one statement."""

    async def page(
        self, tenant: TenantId, wanted: PaymentFilter, window: Window
    ) -> list[payment_reading.Payment]:
        """Return a window of a store's payments, and one more if there are more, latest first.

        The window's cursor is a `time_key`.
        """
        ...

    async def count(self, tenant: TenantId, wanted: PaymentFilter) -> int:
        """Return how many payments there are."""
        ...

    async def many(self, tenant: TenantId, payment_ids: Sequence[str]) -> list[payment_reading.Payment]:
        """Return those of the payments that are there."""
        ...

    async def latest_of(self, tenant: TenantId, order_ids: Sequence[str]) -> list[payment_reading.Payment]:
        """Return the latest payment of each of the orders that has one."""
        ...


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
        """Return a window of a store's payments, and one more if there are more.

        They are sorted by creation, latest first; the window's cursor is a `time_key`.
        """
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

    async def hear(self, provider: str, notice: Notice, decide: Decide, *, at: datetime) -> Heard:
        """Take note of a notice, once, and change the payment it is about, in one step."""
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

    async def purge(self, *, notices_before: datetime, fates_before: datetime, limit: int) -> int:
        """Delete notices, and orders' cancellations, from before then; up to `limit` of each.

        Return how many were deleted of that of which there were more.
        """
        ...
