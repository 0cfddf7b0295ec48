"""The use cases of payments."""

from datetime import datetime
from decimal import Decimal

import msgspec

from mercato.contracts.events import Events
from mercato.contracts.orders import OrderDesk, OrderFacts, OrderStatus, StockState
from mercato.contracts.payments import PaymentMethod, PaymentStatus, RefundStatus
from mercato.kernel.cause import Cause
from mercato.kernel.errors import Conflict, Forbidden, NotFound, Unavailable, ValidationFailed
from mercato.kernel.ids import OrderId, PaymentId, is_id, uuid7
from mercato.kernel.money import to_minor
from mercato.kernel.principal import Principal
from mercato.kernel.redaction import discreet
from mercato.kernel.tenancy import TenantId
from mercato.kernel.versions import ANY_VERSION, Expected
from mercato.payments.domain import BY_HAND, InvalidTransition, Payment
from mercato.payments.ports import Decide, PaymentStore
from mercato.payments.service.settlement import Settlement


class ReservationPending(Conflict):
    """The order's stock is not reserved yet, so it cannot be paid."""

    code = "RESERVATION_PENDING"


class PaymentRequest(msgspec.Struct, frozen=True, kw_only=True):
    """How an order is to be paid. Its amount is the order's."""

    order_id: OrderId
    method: PaymentMethod
    token: str | None = None
    description: str | None = None

    __repr__ = discreet


class Payments:
    """Opens, processes, refunds and cancels payments.

    A customer's own and, for staff, all of the store's are in scope; others are NotFound.
    """

    def __init__(self, store: PaymentStore, orders: OrderDesk, settlement: Settlement) -> None:
        self._store = store
        self._orders = orders
        self._settlement = settlement

    async def get(self, who: Principal, payment_id: str) -> Payment:
        """Return one payment. Raises NotFound."""
        payment = None
        if is_id(payment_id):
            payment = await self._store.find(who.tenant, PaymentId(payment_id))
        return _in_scope(who, payment)

    async def latest_of(self, who: Principal, order_id: str) -> Payment:
        """Return an order's latest payment. Raises NotFound."""
        payment = None
        if is_id(order_id):
            payment = await self._store.latest_of(who.tenant, OrderId(order_id))
        return _in_scope(who, payment)

    async def open(
        self, who: Principal, wanted: PaymentRequest, *, payment_id: PaymentId, by: Cause, at: datetime
    ) -> Payment:
        """Open a payment for an order.

        Raises NotFound, Conflict (the order is not pending, or has a payment that is open or
        paid), ReservationPending, Unavailable.
        """
        order = await self._payable(who, wanted.order_id)
        by_hand = wanted.method in BY_HAND
        payment = Payment(
            tenant_id=who.tenant,
            id=payment_id,
            order_id=order.order_id,
            user_id=order.user_id,
            amount=order.total_amount,
            currency=order.currency,
            method=wanted.method,
            status=PaymentStatus.PENDING,
            provider=None if by_hand else self._settlement.provider_name,
            token=None if by_hand else wanted.token,
            description=wanted.description,
            created_at=at,
            updated_at=at,
        )
        return await self._store.add(payment, payment.opened(), by=by)

    async def process(
        self,
        who: Principal,
        payment_id: str,
        *,
        expected: Expected = ANY_VERSION,
        part: Cause,
        final: Cause,
        at: datetime,
    ) -> Payment:
        """Have a payment made, and return it: success, failed, or processing if not known yet.

        One that is made or failed already is returned as it is. `final` is the cause of
        recording the outcome, `part` of what comes before. Raises NotFound, Forbidden (what is
        paid by hand is for staff), VersionMismatch, InvalidTransition, Unavailable.
        """
        payment = await self.get(who, payment_id)
        expected.check(payment.version)
        if payment.method in BY_HAND:
            if not who.is_staff:
                raise Forbidden("Only the store's staff can say that this was paid.")
            return await self._store.change(
                who.tenant, payment.id, _checked(expected, lambda found: found.mark_paid(at=at)), by=final
            )
        if payment.status in {PaymentStatus.PENDING, PaymentStatus.PROCESSING}:
            payment = await self._settlement.process(payment, part=part, final=final, expected=expected)
        if payment.status in {PaymentStatus.CANCELLED, PaymentStatus.REFUNDED}:
            raise InvalidTransition(f"A payment that is {payment.status} cannot be processed.")
        return payment

    async def refund(  # noqa: PLR0913  all but the first three are named
        self,
        who: Principal,
        payment_id: str,
        amount: Decimal | None,
        *,
        reason: str | None,
        refund_id: str,
        expected: Expected = ANY_VERSION,
        by: Cause,
        at: datetime,
    ) -> Payment:
        """Give back `amount`, or what is left, and return the payment.

        The refund is committed before the provider is asked, so it is pending if the provider
        does not answer, and is carried out later. The same `refund_id` refunds once, whatever is
        `expected` of its repetition. Raises NotFound, ValidationFailed, VersionMismatch,
        RefundTooLarge, InvalidTransition.
        """
        payment = await self.get(who, payment_id)
        minor = None if amount is None else to_minor(amount, payment.currency, field="amount")
        if minor == 0:
            raise ValidationFailed.field("amount", "must be more than 0")

        def request(found: Payment) -> tuple[Payment, Events]:
            if found.refund(refund_id) is None:
                expected.check(found.version)
            return found.request_refund(minor, reason, refund_id=refund_id, at=at)

        payment = await self._store.change(who.tenant, payment.id, request, by=by)
        refund = payment.refund(refund_id)
        if refund is None or refund.status is not RefundStatus.PENDING:
            return payment
        try:
            return await self._settlement.refund(who.tenant, payment.id, refund_id)
        except Unavailable:
            # It is committed and will be carried out: not a failure, only not done yet.
            self._settlement.due.set()
            return payment

    async def cancel(
        self, who: Principal, payment_id: str, *, expected: Expected = ANY_VERSION, by: Cause, at: datetime
    ) -> Payment:
        """Give a pending payment up. Raises NotFound, VersionMismatch, InvalidTransition."""
        payment = await self.get(who, payment_id)
        return await self._store.change(
            who.tenant, payment.id, _checked(expected, lambda found: found.cancel(at=at)), by=by
        )

    async def order_cancelled(
        self, tenant: TenantId, order_id: OrderId, *, by: Cause, at: datetime
    ) -> Payment | None:
        """Follow an order that was cancelled: no payment may be opened, and money goes back."""
        refund_id = uuid7()
        payment = await self._store.cancel_order(
            tenant,
            order_id,
            lambda found: found.meet_cancelled_order(refund_id=refund_id, at=at),
            at=at,
            by=by,
        )
        if payment is not None and payment.pending_refunds:
            self._settlement.due.set()
        return payment

    async def _payable(self, who: Principal, order_id: OrderId) -> OrderFacts:
        order = None
        if is_id(order_id):
            order = (await self._orders.facts(who.tenant, [order_id])).get(order_id)
        if order is None or order.is_deleted or not (who.is_staff or order.user_id == who.user_id):
            raise NotFound("There is no such order.")
        if order.status is not OrderStatus.PENDING:
            raise Conflict(f"The order is {order.status} and cannot be paid.")
        if order.stock is StockState.AWAITING:
            raise ReservationPending("The order's stock is not reserved yet. Try again in a moment.")
        return order


def _checked(expected: Expected, decide: Decide) -> Decide:
    """Return a decision on the payment as its writer saw it."""

    def checked(found: Payment) -> tuple[Payment, Events]:
        expected.check(found.version)
        return decide(found)

    return checked


def _in_scope(who: Principal, payment: Payment | None) -> Payment:
    if payment is None or not (who.is_staff or payment.user_id == who.user_id):
        raise NotFound("There is no such payment.")
    return payment
