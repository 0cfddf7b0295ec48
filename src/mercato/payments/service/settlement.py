"""Settling with the provider: what it is asked, and what is recorded of its answers.

That a call is under way is committed before it is made, and its key with it. An answer that
does not come leaves everything open; it is never guessed, only asked for.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from datetime import timedelta
from typing import TypeVar, assert_never

from mercato.contracts.events import Events
from mercato.contracts.payments import PaymentStatus, RefundStatus
from mercato.kernel.cause import BySystem, Cause
from mercato.kernel.clock import Clock
from mercato.kernel.errors import Conflict, NotFound
from mercato.kernel.ids import PaymentId, uuid7
from mercato.kernel.tenancy import TenantId
from mercato.kernel.tracing import SpanKind, span
from mercato.kernel.versions import ANY_VERSION, Expected
from mercato.payments.domain import CheckDelays, InvalidTransition, Payment
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

_LOOK_FIRST_S, _LOOK_MOST_S = 0.01, 0.25
"""How often is looked for the outcome of what another process charges."""

_SYSTEM = "payments"


class Settlement:
    """Brings what is open with the provider to its end, each thing once at a time."""

    def __init__(  # noqa: PLR0913  all but the first two are named
        self,
        store: PaymentStore,
        providers: Mapping[str, Provider],
        *,
        provider_name: str,
        clock: Clock,
        delays: CheckDelays,
        timeout_s: float,
        most_flights: int,
    ) -> None:
        """Charge by the provider of that name; any of `providers` may have something open.

        `timeout_s` bounds each call of a provider.
        """
        self._store = store
        self._providers = providers
        self.provider_name = provider_name
        """What new payments are marked with."""
        self._clock = clock
        self._delays = delays
        self._timeout_s = timeout_s
        self._flights: Flights[Payment] = Flights(most_flights)
        self.due = asyncio.Event()
        """Set when something has become due that nobody is waiting for."""

    async def process(
        self, payment: Payment, *, part: Cause, final: Cause, expected: Expected = ANY_VERSION
    ) -> Payment:
        """Charge a pending payment, or ask what became of one in processing; return it then.

        It stays in processing if the provider does not answer. `final` is the cause of
        recording an outcome, `part` of the steps on the way. Callers that race share one
        charge and its answer, in whichever processes they are; none of them, going away, stops it.
        A charge begins with the payment as `expected`, or raises VersionMismatch. Raises Unavailable.
        """
        tenant, payment_id = payment.tenant_id, payment.id
        return await self._flights.join(
            payment_id, lambda: self._process(tenant, payment_id, part, final, expected)
        )

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

    async def _process(
        self, tenant: TenantId, payment_id: PaymentId, part: Cause, final: Cause, expected: Expected
    ) -> Payment:
        payment = await self._load(tenant, payment_id)
        # The token is in it: a payment that has been started has none any more.
        request = _charge_request(payment)
        outcome: Charged | Declined | NeverCharged | None
        if payment.status is PaymentStatus.PENDING:
            self._providers[self.provider_name].check()
            try:
                payment = await self._start(payment, part, expected)
            except InvalidTransition:
                # Somebody else was faster: it is as they leave it.
                return await self._left_by_another(await self._load(tenant, payment_id))
            outcome = await self._ask("charge", payment, lambda provider: provider.charge(request))
        elif payment.status is PaymentStatus.PROCESSING and not self._is_being_charged(payment):
            outcome = await self._ask("resolve", payment, lambda provider: provider.resolve(request))
        else:
            return await self._left_by_another(payment)
        if outcome is None:
            return await self._store.change(tenant, payment_id, self._still_open, by=part)
        return await self._record(payment, outcome, final)

    async def _start(self, payment: Payment, by: Cause, expected: Expected) -> Payment:
        now, provider = self._clock(), self.provider_name
        check_at = now + timedelta(seconds=self._timeout_s) + _MARGIN

        def start(found: Payment) -> tuple[Payment, Events]:
            expected.check(found.version)
            return found.start(provider=provider, at=now, check_at=check_at)

        return await self._store.change(payment.tenant_id, payment.id, start, by=by)

    def _is_being_charged(self, payment: Payment) -> bool:
        """Say whether another process may be waiting for the charge: to resolve would void it."""
        return payment.checks == 0 and payment.check_at is not None and payment.check_at > self._clock()

    async def _left_by_another(self, payment: Payment) -> Payment:
        """Wait for what another process charges, and return the payment then.

        It is in processing still if the provider did not answer there, or that process died.
        """
        ends = time.monotonic() + self._timeout_s + _MARGIN.total_seconds()
        pause = _LOOK_FIRST_S
        while (
            payment.status is PaymentStatus.PROCESSING
            and self._is_being_charged(payment)
            and time.monotonic() < ends
        ):
            await asyncio.sleep(pause)
            pause = min(pause * 1.5, _LOOK_MOST_S)
            payment = await self._load(payment.tenant_id, payment.id)
        return payment

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
            tenant=tenant,
            charge_key=payment_id,
            transaction_id=payment.transaction_id,
            amount=refund.amount,
            currency=payment.currency,
            created_at=refund.created_at,
        )
        outcome = await self._ask("refund", payment, lambda provider: provider.refund(request))
        recorded = await self._store.change(
            tenant, payment_id, self._refund_outcome(payment, refund_id, outcome), by=BySystem(_SYSTEM)
        )
        if isinstance(outcome, RefundRefused) and recorded.pending_refunds:
            self.due.set()
        return recorded

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
                next_id = uuid7()
                return lambda found: found.refund_failed(refund_id, reason, next_refund_id=next_id, at=now)
            case _:
                assert_never(outcome)

    def _still_open(self, payment: Payment) -> tuple[Payment, Events]:
        return payment.still_open(self._delays, at=self._clock())

    async def _ask(self, what: str, payment: Payment, call: Callable[[Provider], Awaitable[T]]) -> T | None:
        """Return the answer of the payment's provider, or None if there is none within the deadline."""
        details = {"provider": payment.provider, "payment": payment.id}
        provider = self._providers.get(payment.provider or "")
        if provider is None:
            log.error("the provider is not set up any more, and cannot be asked", extra=details)
            return None
        try:
            with span(f"{what} {payment.provider}", SpanKind.CLIENT) as asking:
                asking.set("peer.service", payment.provider or "")
                async with asyncio.timeout(self._timeout_s):
                    return await call(provider)
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
        tenant=payment.tenant_id,
        amount=payment.amount,
        currency=payment.currency,
        token=payment.token,
        description=payment.description,
        created_at=payment.created_at,
    )
