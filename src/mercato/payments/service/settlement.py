"""Settling with the provider: what it is asked, and what is recorded of its answers.

That a call is under way is committed before it is made, and its key with it. An answer that
does not come leaves everything open; it is never guessed, only asked for.
"""

import asyncio
import logging
from collections.abc import Awaitable
from datetime import timedelta
from typing import TypeVar, assert_never

from mercato.contracts.events import Events
from mercato.contracts.payments import PaymentStatus
from mercato.kernel.cause import BySystem, Cause
from mercato.kernel.clock import Clock
from mercato.kernel.errors import Conflict, NotFound
from mercato.kernel.ids import PaymentId, uuid7
from mercato.kernel.tenancy import TenantId
from mercato.payments.domain import CheckDelays, InvalidTransition, Payment, RefundStatus
from mercato.payments.ports import (
    Charged,
    ChargeRequest,
    Decide,
    Declined,
    NeverCharged,
    OutcomeUnknown,
    PaymentStore,
    Provider,
    Refunded,
    RefundRefused,
    RefundRequest,
)
from mercato.payments.service.flights import Flights

log = logging.getLogger(__name__)

T = TypeVar("T")

_MARGIN = timedelta(seconds=2)
"""How long after a call's deadline its outcome is surely recorded, if anybody lives to do so."""

_SYSTEM = "payments"


class Settlement:
    """Brings what is open with the provider to its end, each thing once at a time."""

    def __init__(
        self,
        store: PaymentStore,
        provider: Provider,
        *,
        clock: Clock,
        delays: CheckDelays,
        timeout_s: float,
        most_flights: int,
    ) -> None:
        """`timeout_s` bounds each call of the provider."""
        self._store = store
        self._provider = provider
        self._clock = clock
        self._delays = delays
        self._timeout_s = timeout_s
        self._flights: Flights[Payment] = Flights(most_flights)
        self.due = asyncio.Event()
        """Set when something has become due that nobody is waiting for."""

    @property
    def provider_name(self) -> str:
        """What new payments are marked with."""
        return self._provider.name

    async def process(self, payment: Payment, *, part: Cause, final: Cause) -> Payment:
        """Charge a pending payment, or ask what became of one in processing; return it then.

        It stays in processing if the provider does not answer. `final` is the cause of
        recording an outcome, `part` of the steps on the way. Callers that race share one
        charge and its answer; none of them, going away, stops it. Raises Unavailable.
        """
        tenant, payment_id = payment.tenant_id, payment.id
        return await self._flights.join(payment_id, lambda: self._process(tenant, payment_id, part, final))

    async def refund(self, tenant: TenantId, payment_id: PaymentId, refund_id: str) -> Payment:
        """Have the provider carry out a pending refund, and return the payment then.

        The refund stays pending if the provider does not answer. Raises Unavailable.
        """
        return await self._flights.join(refund_id, lambda: self._refund(tenant, payment_id, refund_id))

    async def settle(self, tenant: TenantId, payment_id: PaymentId) -> None:
        """Take up whatever is open about a payment."""
        payment = await self._load(tenant, payment_id)
        if payment.status is PaymentStatus.PROCESSING:
            system = BySystem(_SYSTEM)
            await self.process(payment, part=system, final=system)
            return
        for refund in payment.refunds:
            if refund.status is RefundStatus.PENDING:
                await self.refund(tenant, payment_id, refund.id)

    async def close(self) -> None:
        """Let the calls under way end within their deadline."""
        await self._flights.close(within_s=self._timeout_s)

    async def _process(self, tenant: TenantId, payment_id: PaymentId, part: Cause, final: Cause) -> Payment:
        payment = await self._load(tenant, payment_id)
        outcome: Charged | Declined | NeverCharged | None
        if payment.status is PaymentStatus.PENDING:
            try:
                await self._start(payment, part)
            except InvalidTransition:
                # Somebody else was faster: it is as they left it.
                return await self._load(tenant, payment_id)
            outcome = await self._ask(payment, self._provider.charge(_charge_request(payment)))
        elif payment.status is PaymentStatus.PROCESSING and not self._is_being_charged(payment):
            outcome = await self._ask(payment, self._provider.resolve(payment_id))
        else:
            return payment
        if outcome is None:
            return await self._store.change(tenant, payment_id, self._still_open, by=part)
        return await self._record(payment, outcome, final)

    async def _start(self, payment: Payment, by: Cause) -> None:
        now = self._clock()
        check_at = now + timedelta(seconds=self._timeout_s) + _MARGIN
        await self._store.change(
            payment.tenant_id, payment.id, lambda found: found.start(at=now, check_at=check_at), by=by
        )

    def _is_being_charged(self, payment: Payment) -> bool:
        """Say whether another process may be waiting for the charge: to resolve would void it."""
        return payment.checks == 0 and payment.check_at is not None and payment.check_at > self._clock()

    async def _record(
        self, payment: Payment, outcome: Charged | Declined | NeverCharged, by: Cause
    ) -> Payment:
        decide = self._outcome(outcome)
        try:
            recorded = await self._store.change(payment.tenant_id, payment.id, decide, by=by)
        except Conflict:
            # The caller's idempotency claim ended while the provider was asked; the outcome stands.
            by = BySystem(_SYSTEM)
            recorded = await self._store.change(payment.tenant_id, payment.id, decide, by=by)
        if recorded.pending_refunds:
            self.due.set()
        return recorded

    def _outcome(self, outcome: Charged | Declined | NeverCharged) -> Decide:
        now, refund_id = self._clock(), uuid7()
        match outcome:
            case Charged(transaction_id):
                return lambda payment: payment.succeed(transaction_id, refund_id=refund_id, at=now)
            case Declined(reason):
                return lambda payment: payment.fail(reason, at=now)
            case NeverCharged():
                return lambda payment: payment.fail("not charged", at=now)
            case _:
                assert_never(outcome)

    async def _refund(self, tenant: TenantId, payment_id: PaymentId, refund_id: str) -> Payment:
        payment = await self._load(tenant, payment_id)
        refund = payment.refund(refund_id)
        if refund is None or refund.status is not RefundStatus.PENDING or payment.transaction_id is None:
            return payment
        request = RefundRequest(
            key=refund_id,
            transaction_id=payment.transaction_id,
            amount=refund.amount,
            currency=payment.currency,
        )
        outcome = await self._ask(payment, self._provider.refund(request))
        return await self._store.change(
            tenant, payment_id, self._refund_outcome(payment, refund_id, outcome), by=BySystem(_SYSTEM)
        )

    def _refund_outcome(
        self, payment: Payment, refund_id: str, outcome: Refunded | RefundRefused | None
    ) -> Decide:
        now = self._clock()
        match outcome:
            case None:
                return self._still_open
            case Refunded():
                return lambda found: found.refund_succeeded(refund_id, at=now)
            case RefundRefused(reason):
                details = {"payment": payment.id, "refund": refund_id, "reason": reason}
                log.error("the provider refused a refund", extra=details)
                return lambda found: found.refund_failed(refund_id, reason, at=now)
            case _:
                assert_never(outcome)

    def _still_open(self, payment: Payment) -> tuple[Payment, Events]:
        return payment.still_open(self._delays, at=self._clock())

    async def _ask(self, payment: Payment, call: Awaitable[T]) -> T | None:
        """Return the provider's answer, or None if there is none within the deadline."""
        details = {"provider": self._provider.name, "payment": payment.id}
        try:
            async with asyncio.timeout(self._timeout_s):
                return await call
        except (OutcomeUnknown, TimeoutError) as error:
            log.warning("the provider gave no answer", extra=details | {"cause": repr(error)})
        except Exception:
            # Whatever went wrong, the provider may have acted before it did.
            log.exception("the provider failed", extra=details)
        return None

    async def _load(self, tenant: TenantId, payment_id: PaymentId) -> Payment:
        payment = await self._store.find(tenant, payment_id)
        if payment is None:
            raise NotFound("There is no such payment.")
        return payment


def _charge_request(payment: Payment) -> ChargeRequest:
    return ChargeRequest(
        key=payment.id,
        amount=payment.amount,
        currency=payment.currency,
        token=payment.token,
        description=payment.description,
    )
