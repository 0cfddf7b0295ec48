"""The rules of payments: pure, immutable, with time and new ids passed in.

    pending → processing → success → partially_refunded → refunded
    pending → cancelled    processing → failed

Cash and bank transfers go from pending to success when a person says that they were paid. A
success that meets a cancelled order, or a cancellation that meets a success, becomes a refund
in that same change.
"""

from datetime import datetime, timedelta
from typing import Any

import msgspec

from mercato.contracts.events import Events
from mercato.contracts.payments import (
    PaymentCancelled,
    PaymentCreated,
    PaymentEvent,
    PaymentFailed,
    PaymentMethod,
    PaymentProcessing,
    PaymentRefunded,
    PaymentStatus,
    PaymentSucceeded,
    RefundStatus,
)
from mercato.kernel.errors import Conflict
from mercato.kernel.ids import OrderId, PaymentId, UserId
from mercato.kernel.redaction import discreet
from mercato.kernel.tenancy import TenantId

BY_HAND = frozenset({PaymentMethod.CASH, PaymentMethod.BANK_TRANSFER})
"""Methods whose money moves without a provider; staff says when it did."""

CAPTURED = frozenset({PaymentStatus.SUCCESS, PaymentStatus.PARTIALLY_REFUNDED, PaymentStatus.REFUNDED})
"""Statuses in which the money was taken."""

ACTIVE = CAPTURED | {PaymentStatus.PENDING, PaymentStatus.PROCESSING}
"""Statuses that leave no room for another payment of the order."""

MAX_REFUNDS = 200
"""How many refunds may be asked for per payment: they are kept with it, in one row."""

_MAX_DOUBLINGS = 20


class InvalidTransition(Conflict):
    """The payment's status does not allow it."""

    code = "INVALID_TRANSITION"


class RefundTooLarge(Conflict):
    """More is asked back than is left of what was paid."""


class Refund(msgspec.Struct, frozen=True, kw_only=True):
    """Money on its way back. `id` is also the key the provider knows it by."""

    id: str
    amount: int
    status: RefundStatus
    reason: str | None
    created_at: datetime
    failure_reason: str | None = None
    order_cancelled: bool = False
    """It was asked for because the order was cancelled, and not by a person."""


class CheckDelays(msgspec.Struct, frozen=True):
    """When the provider is asked again: each delay is twice the one before."""

    first: timedelta
    most: timedelta

    def after(self, checks: int) -> timedelta:
        """Return how long to wait when the provider has been asked in vain `checks` times."""
        return min(self.first * (1 << min(checks, _MAX_DOUBLINGS)), self.most)


class Payment(msgspec.Struct, frozen=True, kw_only=True):
    """One attempt to have an order paid. Amounts are in minor units."""

    tenant_id: TenantId
    id: PaymentId
    order_id: OrderId
    user_id: UserId
    amount: int
    currency: str
    method: PaymentMethod
    status: PaymentStatus
    provider: str | None
    token: str | None
    """What the provider charges; dropped as soon as it has been handed over."""
    description: str | None
    created_at: datetime
    updated_at: datetime
    version: int = 1
    transaction_id: str | None = None
    failure_reason: str | None = None
    paid_at: datetime | None = None
    refunds: tuple[Refund, ...] = ()
    order_cancelled: bool = False
    checks: int = 0
    """How often the provider has been asked in vain about what is open."""
    check_at: datetime | None = None
    """When to ask the provider about what is open; None while nothing is."""

    __repr__ = discreet

    @property
    def refunded_amount(self) -> int:
        """What has gone back."""
        return self._sum(RefundStatus.SUCCEEDED)

    @property
    def pending_refunds(self) -> int:
        """What is on its way back."""
        return self._sum(RefundStatus.PENDING)

    @property
    def refundable(self) -> int:
        """What may still be given back."""
        if self.status not in CAPTURED:
            return 0
        return self.amount - self.refunded_amount - self.pending_refunds

    def refund(self, refund_id: str) -> Refund | None:
        """Return one of the refunds."""
        return next((refund for refund in self.refunds if refund.id == refund_id), None)

    def opened(self) -> Events:
        """Return what to tell of a new payment."""
        return (_event(self, PaymentCreated),)

    def start(self, *, provider: str, at: datetime, check_at: datetime) -> tuple["Payment", Events]:
        """Begin to charge by a provider, which need not be the one of when the payment was opened.

        If nothing is heard by `check_at`, the provider is to be asked.
        """
        self._require(PaymentStatus.PENDING, to=PaymentStatus.PROCESSING)
        started = _changed(
            self,
            at,
            status=PaymentStatus.PROCESSING,
            provider=provider,
            token=None,
            checks=0,
            check_at=check_at,
        )
        return started, (_event(started, PaymentProcessing),)

    def succeed(self, transaction_id: str, *, refund_id: str, at: datetime) -> tuple["Payment", Events]:
        """Record that the provider has charged. Recording an outcome again changes nothing.

        If the order was cancelled meanwhile, refund `refund_id` gives everything back.
        """
        if self.status is not PaymentStatus.PROCESSING:
            return self, ()
        return self._capture(transaction_id=transaction_id, refund_id=refund_id, at=at)

    def fail(self, reason: str, *, at: datetime) -> tuple["Payment", Events]:
        """Record that the provider has not charged and never will under this payment."""
        if self.status is not PaymentStatus.PROCESSING:
            return self, ()
        failed = _changed(
            self, at, status=PaymentStatus.FAILED, failure_reason=reason, checks=0, check_at=None
        )
        return failed, (_event(failed, PaymentFailed),)

    def mark_paid(self, *, at: datetime) -> tuple["Payment", Events]:
        """Record that the money was received by hand. Doing so again changes nothing."""
        if self.status in {PaymentStatus.SUCCESS, PaymentStatus.PARTIALLY_REFUNDED}:
            return self, ()
        self._require(PaymentStatus.PENDING, to=PaymentStatus.SUCCESS)
        return self._capture(transaction_id=None, refund_id=None, at=at)

    def cancel(self, *, at: datetime) -> tuple["Payment", Events]:
        """Give the payment up before any money moves."""
        self._require(PaymentStatus.PENDING, to=PaymentStatus.CANCELLED)
        cancelled = _changed(self, at, status=PaymentStatus.CANCELLED, token=None)
        return cancelled, (_event(cancelled, PaymentCancelled),)

    def meet_cancelled_order(self, *, refund_id: str, at: datetime) -> tuple["Payment", Events]:
        """Follow the order that was cancelled: give up, or give back what was taken.

        While the provider is being asked, only note it; a success that comes is refunded.
        """
        if self.order_cancelled:
            return self, ()
        noted = msgspec.structs.replace(self, order_cancelled=True, version=self.version + 1)
        if noted.status is PaymentStatus.PENDING:
            return noted.cancel(at=at)
        return _give_back_all(noted, refund_id, at)

    def request_refund(
        self, amount: int | None, reason: str | None, *, refund_id: str, at: datetime
    ) -> tuple["Payment", Events]:
        """Begin to give back `amount`, or what is left. The same `refund_id` does so once.

        Raises RefundTooLarge beyond what is left, InvalidTransition where nothing was taken.
        """
        if self.refund(refund_id) is not None:
            return self, ()
        if self.status not in CAPTURED:
            raise InvalidTransition(f"A payment that is {self.status} cannot be refunded.")
        wanted = self.refundable if amount is None else amount
        if not 0 < wanted <= self.refundable:
            raise RefundTooLarge("The refund exceeds what is left of the payment.")
        if len(self.refunds) >= MAX_REFUNDS:
            raise Conflict(f"A payment has at most {MAX_REFUNDS} refunds.")
        return _give_back(self, _pending(wanted, reason, refund_id, at), at)

    def refund_succeeded(self, refund_id: str, *, at: datetime) -> tuple["Payment", Events]:
        """Record that a refund's money has gone back. Doing so again changes nothing."""
        refund = self.refund(refund_id)
        if refund is None or refund.status is not RefundStatus.PENDING:
            return self, ()
        settled = self._with_refund(msgspec.structs.replace(refund, status=RefundStatus.SUCCEEDED), at)
        rest = settled.amount - settled.refunded_amount
        status = PaymentStatus.PARTIALLY_REFUNDED if rest else PaymentStatus.REFUNDED
        settled = msgspec.structs.replace(settled, status=status)
        refunded = _event(settled, PaymentRefunded)
        return settled, (msgspec.structs.replace(refunded, refund_amount=refund.amount),)

    def refund_failed(
        self, refund_id: str, reason: str, *, next_refund_id: str, at: datetime
    ) -> tuple["Payment", Events]:
        """Record that the provider refuses a refund; its amount may be refunded anew.

        If the order was cancelled meanwhile, refund `next_refund_id` asks for that amount again
        with all else that is left. A refund of that sort which is refused too stays refused, for
        the store's people to see: asking again for ever would not help.
        """
        refund = self.refund(refund_id)
        if refund is None or refund.status is not RefundStatus.PENDING:
            return self, ()
        failed = msgspec.structs.replace(refund, status=RefundStatus.FAILED, failure_reason=reason)
        noted = self._with_refund(failed, at)
        if not self.order_cancelled or refund.order_cancelled:
            return noted, ()
        return _give_back_all(noted, next_refund_id, at)

    def hasten(self, *, at: datetime) -> tuple["Payment", Events]:
        """Have the provider asked now about what is open, if anything is."""
        if self.check_at is None or self.check_at <= at:
            return self, ()
        return msgspec.structs.replace(self, check_at=at, version=self.version + 1), ()

    def still_open(self, delays: CheckDelays, *, at: datetime) -> tuple["Payment", Events]:
        """Note that the provider was asked in vain; it is asked again ever more slowly."""
        if self.check_at is None:
            return self, ()
        asked = self.checks + 1
        check_at = at + delays.after(self.checks)
        return msgspec.structs.replace(self, checks=asked, check_at=check_at, version=self.version + 1), ()

    def _capture(
        self, *, transaction_id: str | None, refund_id: str | None, at: datetime
    ) -> tuple["Payment", Events]:
        paid = _changed(
            self,
            at,
            status=PaymentStatus.SUCCESS,
            transaction_id=transaction_id,
            paid_at=at,
            checks=0,
            check_at=None,
        )
        events: Events = (_event(paid, PaymentSucceeded),)
        if paid.order_cancelled and refund_id is not None:
            paid, more = _give_back_all(paid, refund_id, at)
            events += more
        return paid, events

    def _with_refund(self, changed: Refund, at: datetime) -> "Payment":
        refunds = tuple(changed if refund.id == changed.id else refund for refund in self.refunds)
        is_open = any(refund.status is RefundStatus.PENDING for refund in refunds)
        return _changed(self, at, refunds=refunds, check_at=self.check_at if is_open else None)

    def _require(self, status: PaymentStatus, *, to: PaymentStatus) -> None:
        if self.status is not status:
            raise InvalidTransition(f"A payment that is {self.status} cannot become {to}.")

    def _sum(self, status: RefundStatus) -> int:
        return sum(refund.amount for refund in self.refunds if refund.status is status)


def _changed(payment: Payment, at: datetime, **fields: Any) -> Payment:  # noqa: ANN401  the class's own fields
    return msgspec.structs.replace(payment, updated_at=at, version=payment.version + 1, **fields)


def _give_back_all(payment: Payment, refund_id: str, at: datetime) -> tuple[Payment, Events]:
    if not payment.refundable:
        return payment, ()
    refund = _pending(payment.refundable, "the order was cancelled", refund_id, at)
    return _give_back(payment, msgspec.structs.replace(refund, order_cancelled=True), at)


def _pending(amount: int, reason: str | None, refund_id: str, at: datetime) -> Refund:
    return Refund(id=refund_id, amount=amount, status=RefundStatus.PENDING, reason=reason, created_at=at)


def _give_back(payment: Payment, refund: Refund, at: datetime) -> tuple[Payment, Events]:
    """Add a refund: to be carried out by the provider at once, or done if it is by hand."""
    asked = _changed(payment, at, refunds=(*payment.refunds, refund), checks=0, check_at=at)
    return asked.refund_succeeded(refund.id, at=at) if payment.method in BY_HAND else (asked, ())


def _event(payment: Payment, kind: type[PaymentEvent]) -> PaymentEvent:
    return kind(
        tenant_id=payment.tenant_id,
        payment_id=payment.id,
        order_id=payment.order_id,
        user_id=payment.user_id,
        status=payment.status,
        method=payment.method,
        amount=payment.amount,
        refunded_amount=payment.refunded_amount,
        currency=payment.currency,
        at=payment.updated_at,
        failure_reason=payment.failure_reason,
    )
