"""Stripe: a payment is a PaymentIntent that is made first and confirmed in a second request.

So the intent is there, under our key, before any money can move, and cancelling it closes the key
for good. A key is Stripe's own Idempotency-Key for a day; what is older is found by its metadata.
"""

from datetime import timedelta
from urllib.parse import quote

import msgspec

from mercato.kernel.clock import Clock
from mercato.payments.ports import (
    Charged,
    ChargeRequest,
    Declined,
    NeverCharged,
    OutcomeUnknown,
    Refunded,
    RefundRefused,
    RefundRequest,
)
from mercato.payments.providers.stripe_api import ApiError, Refused, StripeApi, in_words, to_stripe

KEY, TENANT, REFUND = "mercato_key", "mercato_tenant", "mercato_refund"
"""What our objects carry as metadata: the charge's key, its store, and a refund's own key."""

_KEPT = timedelta(hours=23)
"""How long Stripe surely knows an Idempotency-Key: a day, less any difference of the clocks."""
_SEARCHABLE = timedelta(hours=1)
"""After that an object is surely found by its metadata; Stripe says a minute."""
_MOST_PAGES = 20
_OUT_OF_DIGITS = "the provider cannot take an amount with that many digits"


class _Intent(msgspec.Struct, frozen=True):
    id: str
    status: str
    last_payment_error: ApiError | None = None


class _Intents(msgspec.Struct, frozen=True):
    data: list[_Intent]


class _Refund(msgspec.Struct, frozen=True):
    id: str
    status: str
    failure_reason: str | None = None
    metadata: dict[str, str] = {}


class _Refunds(msgspec.Struct, frozen=True):
    data: list[_Refund]
    has_more: bool


class Stripe:
    """See payments.ports.Provider."""

    name = "stripe"

    def __init__(self, api: StripeApi, *, clock: Clock) -> None:
        self._api = api
        self._clock = clock

    def check(self) -> None:
        """Raise CircuitOpen while Stripe keeps giving no answers."""
        self._api.dependency.check()

    async def charge(self, request: ChargeRequest) -> Charged | Declined:
        """Take the money, once per key. Raises OutcomeUnknown."""
        amount = to_stripe(request.amount, request.currency)
        if amount is None:
            return Declined(_OUT_OF_DIGITS)
        if request.token is None:
            return Declined("no means of payment was given")
        try:
            intent = await self._intent(request, amount)
        except Refused as refused:
            if refused.error.type == "idempotency_error":
                raise OutcomeUnknown("the key was used for something else") from None
            return Declined(in_words(refused.error))
        try:
            confirmed = await self._api.post(
                f"/v1/payment_intents/{quote(intent.id, safe='')}/confirm",
                _Intent,
                {"error_on_requires_action": "true", **_means(request.token)},
                key=f"{request.key}:confirm",
            )
        except Refused as refused:
            if refused.error.type == "card_error":
                return Declined(in_words(refused.error))
            outcome = await self._close(intent.id)
            return Declined(in_words(refused.error)) if isinstance(outcome, NeverCharged) else outcome
        outcome = _outcome(confirmed) if _is_final(confirmed) else await self._close(intent.id)
        return Declined("the payment was closed") if isinstance(outcome, NeverCharged) else outcome

    async def resolve(self, request: ChargeRequest) -> Charged | Declined | NeverCharged:
        """Say what became of a key, and close it. Raises OutcomeUnknown."""
        amount = to_stripe(request.amount, request.currency)
        if amount is None:
            return NeverCharged()
        age = self._clock() - request.created_at
        found = await self._search(request.key) if age >= _KEPT else None
        if found is None:
            try:
                # Stripe answers as it did the first time. If there was none, this one is closed.
                found = await self._intent(request, amount)
            except Refused:
                found = await self._search(request.key)
                if found is None and age < _SEARCHABLE:
                    raise OutcomeUnknown("the payment may be there, and is not found yet") from None
        return NeverCharged() if found is None else await self._close(found.id)

    async def refund(self, request: RefundRequest) -> Refunded | RefundRefused:
        """Give money back, once per key. Raises OutcomeUnknown."""
        amount = to_stripe(request.amount, request.currency)
        if amount is None:
            return RefundRefused(_OUT_OF_DIGITS)
        try:
            refund = await self._refund(request, amount)
            if refund.status == "pending":
                # A repeated request is told how it stood the first time.
                refund = await self._api.get(f"/v1/refunds/{quote(refund.id, safe='')}", _Refund)
        except Refused as refused:
            if refused.error.type == "idempotency_error":
                raise OutcomeUnknown("the key was used for something else") from None
            return RefundRefused(in_words(refused.error))
        if refund.status == "succeeded":
            return Refunded()
        if refund.status in {"failed", "canceled"}:
            return RefundRefused(refund.failure_reason or f"the refund {refund.status}")
        raise OutcomeUnknown(f"the refund is {refund.status}")

    async def close(self) -> None:
        """Close the connections."""
        await self._api.close()

    async def _intent(self, request: ChargeRequest, amount: int) -> _Intent:
        """Make the key's intent, or return it as it was when it was made."""
        form: dict[str, str | int] = {
            "amount": amount,
            "currency": request.currency.lower(),
            "payment_method_types[0]": "card",
            f"metadata[{KEY}]": request.key,
            f"metadata[{TENANT}]": request.tenant,
        }
        if request.description:
            form["description"] = request.description
        return await self._api.post("/v1/payment_intents", _Intent, form, key=request.key)

    async def _search(self, key: str) -> _Intent | None:
        query = f"metadata['{KEY}']:'{key}'"
        try:
            found = await self._api.get("/v1/payment_intents/search", _Intents, query=query, limit=1)
        except Refused as refused:
            raise OutcomeUnknown(f"the search was refused: {refused}") from None
        return found.data[0] if found.data else None

    async def _close(self, intent_id: str) -> Charged | Declined | NeverCharged:
        """Say what became of an intent; one that nothing has become of is cancelled."""
        path = f"/v1/payment_intents/{quote(intent_id, safe='')}"
        try:
            intent = await self._api.get(path, _Intent)
            if not _is_final(intent):
                intent = await self._api.post(f"{path}/cancel", _Intent, {"cancellation_reason": "abandoned"})
        except Refused as refused:
            raise OutcomeUnknown(f"the payment has just changed: {refused}") from None
        return _outcome(intent)

    async def _refund(self, request: RefundRequest, amount: int) -> _Refund:
        if self._clock() - request.created_at >= _KEPT:
            known = await self._known_refund(request)
            if known is not None:
                return known
        form: dict[str, str | int] = {
            "payment_intent": request.transaction_id,
            "amount": amount,
            f"metadata[{KEY}]": request.charge_key,
            f"metadata[{TENANT}]": request.tenant,
            f"metadata[{REFUND}]": request.key,
        }
        return await self._api.post("/v1/refunds", _Refund, form, key=request.key)

    async def _known_refund(self, request: RefundRequest) -> _Refund | None:
        """Look for a refund among all those of its payment: a repetition would be a second one."""
        after: dict[str, str] = {}
        for _ in range(_MOST_PAGES):
            part = await self._api.get(
                "/v1/refunds", _Refunds, payment_intent=request.transaction_id, limit=100, **after
            )
            found = next((each for each in part.data if each.metadata.get(REFUND) == request.key), None)
            if found is not None or not part.has_more or not part.data:
                return found
            after = {"starting_after": part.data[-1].id}
        raise OutcomeUnknown("the payment has too many refunds to look through")


def _means(token: str) -> dict[str, str]:
    """Return how a payer's token is handed over: Stripe's own tokens, or a payment method's id."""
    if token.startswith("tok_"):
        return {"payment_method_data[type]": "card", "payment_method_data[card][token]": token}
    return {"payment_method": token}


def _is_final(intent: _Intent) -> bool:
    """Say whether nothing can be done to it, by us or by anybody else, that takes money."""
    return intent.status in {"succeeded", "canceled", "processing"}


def _outcome(intent: _Intent) -> Charged | Declined | NeverCharged:
    match intent.status:
        case "succeeded":
            return Charged(intent.id)
        case "canceled":
            error = intent.last_payment_error
            return NeverCharged() if error is None else Declined(in_words(error))
        case _:
            raise OutcomeUnknown(f"the payment is {intent.status}")
