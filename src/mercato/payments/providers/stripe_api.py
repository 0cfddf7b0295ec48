"""Stripe's REST API as far as payments speak it: requests, their errors, and amounts.

Nothing of an answer but its codes is kept: its messages may hold what was sent.
"""

import asyncio
import logging
import time
from collections.abc import Mapping
from datetime import timedelta
from typing import TypeVar

import msgspec
from pyreqwest.client import ClientBuilder
from pyreqwest.exceptions import RequestError
from pyreqwest.request import RequestBuilder

from mercato.adapters.http.dependency import Dependency, Outcome
from mercato.kernel.errors import Unavailable
from mercato.kernel.money import EXPONENTS
from mercato.payments.ports import OutcomeUnknown

log = logging.getLogger(__name__)

API_VERSION = "2024-06-20"
"""Pinned: another version may answer in another form (https://docs.stripe.com/api/versioning)."""

MAX_ANSWER = 4 * 1024 * 1024
_MOST_CONNECTIONS = 64
_LATE = 0.9
"""What part of its time a request has had that was not answered in it, rather than called off."""

# https://docs.stripe.com/currencies: those whose amounts are whole, though ISO 4217 may say otherwise.
_ZERO_DECIMAL = "BIF CLP DJF GNF JPY KMF KRW MGA PYG RWF VND VUV XAF XOF XPF"
# Whole in use, and written with two digits all the same, as they were before.
_TWO_DECIMAL_AND_WHOLE = frozenset({"ISK", "UGX"})
_THREE_DECIMAL = frozenset({"BHD", "JOD", "KWD", "OMR", "TND"})

T = TypeVar("T")


class ApiError(msgspec.Struct, frozen=True):
    """What Stripe says went wrong (https://docs.stripe.com/api/errors), in its codes alone."""

    type: str = ""
    code: str | None = None
    decline_code: str | None = None
    param: str | None = None


class _Failure(msgspec.Struct, frozen=True):
    error: ApiError


class Refused(Exception):
    """Stripe refused the request: it has done nothing, or declined the card."""

    def __init__(self, error: ApiError) -> None:
        super().__init__(f"{error.type} {error.code}")
        self.error = error


class StripeApi:
    """Sends requests. Every one ends within the deadline, whatever the caller does."""

    def __init__(self, url: str, key: str, *, timeout_s: float) -> None:
        """`key` is the account's secret key."""
        self.dependency = Dependency("stripe", at_once=_MOST_CONNECTIONS)
        self._url = url.rstrip("/")
        self._key = key
        self._timeout_s = timeout_s
        self._client = (
            ClientBuilder()
            .timeout(timedelta(seconds=timeout_s))
            .max_connections(_MOST_CONNECTIONS)
            .follow_redirects(enable=False)
            .user_agent("mercato")
            .default_headers({"Stripe-Version": API_VERSION})
            .build()
        )

    async def get(self, path: str, kind: type[T], **query: str | int) -> T:
        """Read something. Raises OutcomeUnknown, Refused."""
        return await self._send(path, self._client.get(self._url + path).query(query), kind)

    async def post(
        self, path: str, kind: type[T], form: Mapping[str, str | int], *, key: str | None = None
    ) -> T:
        """Do something; once per `key`, which Stripe keeps for at least 24 hours.

        Raises OutcomeUnknown, Refused.
        """
        request = self._client.post(self._url + path).form(form)
        if key is not None:
            request = request.header("Idempotency-Key", key)
        return await self._send(path, request, kind)

    async def close(self) -> None:
        """Close the connections."""
        await self._client.close()

    async def _send(self, path: str, request: RequestBuilder, kind: type[T]) -> T:
        status, body = await self._answer(path, request)
        if status in {401, 403}:
            log.error("the provider does not accept our key", extra={"path": path, "status": status})
        try:
            if status in {400, 402, 404}:
                raise Refused(msgspec.json.decode(body, type=_Failure).error)
            if status == 200:
                return msgspec.json.decode(body, type=kind)
        except msgspec.DecodeError:
            raise OutcomeUnknown(f"{path}: {status}, and no answer that can be read") from None
        # 409 is a request with the same key under way, 429 too many; after a 5xx anything is possible.
        raise OutcomeUnknown(f"{path}: {status}")

    async def _answer(self, path: str, request: RequestBuilder) -> tuple[int, bytes]:
        """Return the status and the body, and take note of what became of the request."""
        try:
            permit = await self.dependency.enter()
        except Unavailable as error:
            raise OutcomeUnknown(f"{path}: not asked. {error.message}") from None
        outcome, began = Outcome.ABANDONED, time.monotonic()
        try:
            status, body = await self._read(path, request)
            outcome = Outcome.OK if status < 300 else Outcome.REFUSED if status < 500 else Outcome.FAILED
        except OutcomeUnknown:
            outcome = Outcome.FAILED
            raise
        except asyncio.CancelledError:
            # Whoever waits for a charge does so for no longer than a request may take.
            if time.monotonic() - began > _LATE * self._timeout_s:
                outcome = Outcome.TIMEOUT
            raise
        finally:
            self.dependency.leave(permit, outcome)
        return status, body

    async def _read(self, path: str, request: RequestBuilder) -> tuple[int, bytes]:
        try:
            async with request.bearer_auth(self._key).build_streamed() as response:
                status = response.status
                body = bytearray()
                while (piece := await response.body_reader.read_chunk()) is not None:
                    body += piece
                    if len(body) > MAX_ANSWER:
                        raise OutcomeUnknown(f"{path}: the answer is too long")
        except RequestError as error:
            raise OutcomeUnknown(f"{path}: {type(error).__name__}") from None
        return status, bytes(body)


def to_stripe(minor: int, currency: str) -> int | None:
    """Return an amount as Stripe counts it, or None for one that it cannot be charged.

    Where card networks know fewer digits than the currency has, the last ones must be 0.
    """
    digits, theirs = EXPONENTS[currency], 2
    if currency in _ZERO_DECIMAL.split():
        theirs = 0
    elif currency in _THREE_DECIMAL:
        theirs = 3
    amount, rest = minor, 0
    for _ in range(digits, theirs):
        amount *= 10
    for _ in range(theirs, digits):
        amount, cut = divmod(amount, 10)
        rest += cut
    step = {3: 10}.get(theirs, 100 if currency in _TWO_DECIMAL_AND_WHOLE else 1)
    return None if rest or amount % step else amount


_DECLINED = {
    "insufficient_funds": "insufficient funds",
    "withdrawal_count_limit_exceeded": "the card's limit is reached",
    "card_velocity_exceeded": "the card's limit is reached",
    "expired_card": "the card has expired",
    "incorrect_cvc": "the security code is wrong",
    "invalid_cvc": "the security code is wrong",
    "incorrect_number": "the card number is wrong",
    "invalid_number": "the card number is wrong",
    "incorrect_zip": "the postal code is wrong",
    "currency_not_supported": "the card does not pay in this currency",
    "card_not_supported": "the card does not support this kind of purchase",
    "authentication_required": "the bank wants the payer to confirm, which is not possible here",
    "processing_error": "the card could not be processed",
}
_REFUSED = {
    "resource_missing": "unknown token",
    "payment_intent_unexpected_state": "the payment was closed",
    "token_already_used": "the token has been used already",
    "amount_too_small": "the amount is too small for this provider",
    "amount_too_large": "the amount is too large for this provider",
    "charge_already_refunded": "all of it has been refunded already",
}


def in_words(error: ApiError) -> str:
    """Say why something was refused, to the store's people and its customer."""
    if error.type == "card_error":
        return _DECLINED.get(error.decline_code or "", "") or _DECLINED.get(error.code or "", "card declined")
    return _REFUSED.get(error.code or "", "the provider refused it")
