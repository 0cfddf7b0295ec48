"""Payments over HTTP."""

from typing import Annotated, Any

import msgspec

from mercato.contracts.payments import PaymentMethod, PaymentStatus, RefundStatus
from mercato.kernel.errors import BadRequest, Conflict, Forbidden, NotFound, Unavailable
from mercato.kernel.ids import OrderId, PaymentId
from mercato.kernel.money import Amount
from mercato.kernel.versions import VersionMismatch
from mercato.payments.domain import InvalidTransition
from mercato.payments.ports import PaymentFilter, PaymentStore
from mercato.payments.service.payments import PaymentRequest, Payments, ReservationPending
from mercato.payments.service.webhooks import Webhooks
from mercato.payments.views import PaymentView, view
from mercato.web.call import Call
from mercato.web.decode import Body
from mercato.web.endpoint import ADMINS, PUBLIC, SIGNED_IN, Routes
from mercato.web.envelope import Page, Reply, Upload
from mercato.web.idempotency import Claims
from mercato.web.paging import ListQuery, latest_first

_Token = Annotated[str, msgspec.Meta(min_length=1, max_length=255)]
_Text = Annotated[str, msgspec.Meta(max_length=500)]

_OPEN = 202
"""The answer while the provider's outcome is not known yet."""

_MAX_WEBHOOK = 64 * 1024
_CREATE: dict[str, Any] = {
    "order_id": "01939e2f-5a00-7c4b-9f3e-2b1d8c6a4e70",
    "method": "card",
    "token": "tok_visa",
}
_REFUND: dict[str, Any] = {"amount": 5, "reason": "One of them was broken."}


class CreatePayment(Body, frozen=True):
    """Which order to pay, and how. The amount is the order's."""

    order_id: str
    method: PaymentMethod
    token: _Token | None = None
    description: _Text | None = None


class RefundPayment(Body, frozen=True):
    """How much to give back: all that is left, if nothing is said."""

    amount: Amount | None = None
    reason: _Text | None = None


class PaymentQuery(ListQuery, frozen=True):
    """Which payments to list."""

    status: PaymentStatus | None = None
    order_id: str | None = None


class Received(msgspec.Struct, frozen=True):
    """A webhook was taken note of."""

    received: bool


def routes(payments: Payments, webhooks: Webhooks, store: PaymentStore, claims: Claims) -> Routes:
    """Declare the endpoints."""
    api = Routes("payments", prefix="/api/v1/payments", claims=claims)
    _reading(api, payments, store)
    _paying(api, payments)
    _giving_back(api, payments)
    _hearing(api, webhooks)
    return api


def _reading(api: Routes, payments: Payments, store: PaymentStore) -> None:
    @api.get("", allow=SIGNED_IN)
    async def list_payments(call: Call, query: PaymentQuery) -> Page[PaymentView]:
        """List payments, newest first: a customer's own, or all of the store for its staff."""
        who = call.principal
        order_id = None if query.order_id is None else OrderId(query.order_id)
        wanted = PaymentFilter(
            user_id=None if who.is_staff else who.user_id, status=query.status, order_id=order_id
        )
        return await _page(call, query, wanted)

    @api.get("/my-payments", allow=SIGNED_IN)
    async def mine(call: Call, query: ListQuery) -> Page[PaymentView]:
        """List the caller's own payments, newest first."""
        return await _page(call, query, PaymentFilter(user_id=call.principal.user_id))

    async def _page(call: Call, query: ListQuery, wanted: PaymentFilter) -> Page[PaymentView]:
        return await latest_first(
            query,
            lambda part: store.search(call.tenant, wanted, part),
            lambda: store.count(call.tenant, wanted),
            view,
        )

    @api.get("/{payment_id}", allow=SIGNED_IN, raises=(NotFound,))
    async def get(call: Call, payment_id: str) -> PaymentView:
        """Return one payment."""
        return view(await payments.get(call.principal, payment_id))

    @api.get("/order/{order_id}", allow=SIGNED_IN, raises=(NotFound,))
    async def latest(call: Call, order_id: str) -> Reply[PaymentView]:
        """Return an order's latest payment."""
        payment = view(await payments.latest_of(call.principal, order_id))
        return Reply(payment, variant=payment.id)


def _paying(api: Routes, payments: Payments) -> None:
    @api.post(
        "",
        status=201,
        allow=SIGNED_IN,
        idempotent=True,
        raises=(NotFound, Conflict, ReservationPending, Unavailable),
        example=_CREATE,
    )
    async def create(call: Call, body: CreatePayment) -> PaymentView:
        """Open a payment for a pending order. One open or paid payment per order."""
        wanted = PaymentRequest(
            order_id=OrderId(body.order_id),
            method=body.method,
            token=body.token,
            description=body.description,
        )
        payment_id, by = PaymentId(call.new_id()), call.cause(view)
        return view(await payments.open(call.principal, wanted, payment_id=payment_id, by=by, at=call.now))

    @api.post(
        "/{payment_id}/process",
        also=(_OPEN,),
        allow=SIGNED_IN,
        idempotent=True,
        versioned=True,
        raises=(NotFound, Forbidden, InvalidTransition, VersionMismatch, Unavailable),
    )
    async def process(call: Call, payment_id: str) -> Reply[PaymentView]:
        """Have a payment made.

        Answers with the payment, success or failed; 202 while the outcome is not known yet.
        """
        part, final = call.part(), call.cause(view)
        payment = await payments.process(
            call.principal, payment_id, expected=call.expected, part=part, final=final, at=call.now
        )
        return Reply(view(payment), _OPEN if payment.status is PaymentStatus.PROCESSING else None)


def _giving_back(api: Routes, payments: Payments) -> None:
    # A refund is known by its key from the moment it is committed, though it is carried out
    # later, so a repeated call is told what has become of it.
    @api.post(
        "/{payment_id}/refund",
        also=(_OPEN,),
        allow=ADMINS,
        idempotent=True,
        reissues=True,
        versioned=True,
        raises=(NotFound, Conflict, InvalidTransition, VersionMismatch),
        example=_REFUND,
    )
    async def refund(call: Call, payment_id: str, body: RefundPayment) -> Reply[PaymentView]:
        """Give money back: an amount, or all that is left.

        Answers with the payment; 202 while the outcome is not known yet.
        """
        refund_id = call.new_id()
        payment = await payments.refund(
            call.principal,
            payment_id,
            body.amount,
            reason=body.reason,
            refund_id=refund_id,
            expected=call.expected,
            by=call.part() if call.replayed else call.cause(view),
            at=call.now,
        )
        made = payment.refund(refund_id)
        is_open = made is not None and made.status is RefundStatus.PENDING
        return Reply(view(payment), _OPEN if is_open else None)

    @api.post(
        "/{payment_id}/cancel",
        allow=SIGNED_IN,
        idempotent=True,
        versioned=True,
        raises=(NotFound, InvalidTransition, VersionMismatch),
    )
    async def cancel(call: Call, payment_id: str) -> PaymentView:
        """Give a pending payment up, before any money moves."""
        cancelled = await payments.cancel(
            call.principal, payment_id, expected=call.expected, by=call.cause(view), at=call.now
        )
        return view(cancelled)


def _hearing(api: Routes, webhooks: Webhooks) -> None:
    # A provider calls for all stores at once, so no single one may stand in its way; and no
    # client calls it, so the description does not name it.
    @api.post(
        "/webhooks/{provider}",
        allow=PUBLIC,
        accepts=("application/json",),
        max_body=_MAX_WEBHOOK,
        raises=(NotFound, BadRequest),
        in_contract=False,
    )
    async def webhook(call: Call, provider: str, body: Upload) -> Received:
        """Take note of what a payment provider reports, signed: the provider is then asked."""
        webhooks.reader(provider)
        raw = b"".join([piece async for piece in body.chunks])
        await webhooks.receive(provider, body.headers, raw, at=call.now)
        return Received(received=True)
