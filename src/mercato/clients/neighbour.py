"""One service, as another calls it: within a deadline, with a breaker, and few repeats."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Generic, TypeVar

import msgspec
from pyreqwest.client import Client
from pyreqwest.exceptions import RequestError

from mercato.adapters.http.breaker import BreakerState, CircuitOpen
from mercato.adapters.http.client import DEADLINE_HEADER, close, http_client
from mercato.adapters.http.dependency import Dependency, Outcome
from mercato.adapters.http.retries import ATTEMPTS, pause
from mercato.adapters.http.spans import answered_with, calling, trace_headers
from mercato.adapters.identity.service_tokens import PLATFORM, ClusterSecret
from mercato.clients.refusals import NeighbourFailed, refusal
from mercato.kernel.errors import Kind, MercatoError, Overloaded, Unavailable
from mercato.kernel.passing import request_id, seconds_left
from mercato.kernel.tenancy import TenantId
from mercato.kernel.tracing import Span

T = TypeVar("T")

TIMEOUT_S = 1.5
"""Shorter than what services give their neighbours, so that it is the breaker that learns of it."""
_HOP_S = 0.02
"""How much earlier than the caller each further service gives up."""


def _plain(value: object) -> object:
    """Return what to write for an amount as a request carried it, whose type is not a contract's."""
    if isinstance(value, Decimal):
        return Decimal(value)
    raise NotImplementedError(f"contracts carry no {type(value).__name__}")


_ENCODER = msgspec.json.Encoder(enc_hook=_plain)


@dataclass(frozen=True, slots=True)
class _Asked:
    """One call, whatever the number of attempts."""

    path: str
    content: bytes
    tenant: TenantId
    until: float
    repeatable: bool
    background: bool


class _Answer(msgspec.Struct, Generic[T], frozen=True):
    data: T


class Neighbour:
    """Calls the internal endpoints of one service."""

    def __init__(
        self,
        name: str,
        url: str,
        *,
        caller: str,
        secret: ClusterSecret | None,
        dependency: Dependency | None = None,
    ) -> None:
        """`caller` is the service that calls. Nothing is connected before the first call.

        Without a secret to sign calls with, none is made.
        """
        self.name = name
        self._url = url.rstrip("/")
        self._caller = caller
        self._secret = secret
        self._dependency = dependency or Dependency(name)
        self._client: Client | None = None

    @property
    def state(self) -> BreakerState:
        """Whether calls go through."""
        return self._dependency.state

    async def ask(  # noqa: PLR0913  all but the first three are named
        self,
        path: str,
        body: msgspec.Struct,
        kind: type[T],
        *,
        tenant: TenantId = PLATFORM,
        repeatable: bool = False,
        background: bool = False,
        timeout_s: float = TIMEOUT_S,
    ) -> T:
        """Call an endpoint and return what it answers, as a `kind`; None where it answers nothing.

        `repeatable` is what does the same however often it is done. `background` is what is asked all
        the time: it opens no circuit and is stopped by none, so that who starts before its neighbour does
        not leave it alone when it has come, and it helps to close one. Raises what the service refused the
        call with, and Unavailable.
        """
        if self._secret is None:
            raise Unavailable(f"The {self.name} service cannot be asked: MERCATO_CLUSTER_SECRET is not set.")
        left = seconds_left(timeout_s)
        if left <= _HOP_S:
            raise Unavailable(f"There is no time left to ask the {self.name} service.")
        content = _ENCODER.encode(body)
        self._dependency.budget.called()
        asked = _Asked(path, content, tenant, time.monotonic() + left, repeatable, background)
        try:
            async with asyncio.timeout(left):
                answered = await self._attempts(asked)
        except TimeoutError:
            raise self._away() from None
        return self._read(answered, kind)

    async def _attempts(self, asked: _Asked) -> bytes:
        for attempt in range(1, ATTEMPTS + 1):
            try:
                return await self._attempt(asked)
            except (CircuitOpen, Overloaded):
                raise
            except Unavailable:
                wait = pause(attempt)
                late = time.monotonic() + wait + _HOP_S >= asked.until
                if not asked.repeatable or late or attempt == ATTEMPTS or not self._dependency.budget.take():
                    raise
                await asyncio.sleep(wait)
        raise AssertionError("the last attempt returns or raises")

    async def _attempt(self, asked: _Asked) -> bytes:
        """Call once, and take note of what became of it."""
        permit = await self._dependency.enter(background=asked.background)
        outcome = Outcome.ABANDONED
        try:
            answered = await self._send(asked)
            outcome = Outcome.OK
        except asyncio.CancelledError:
            # Whose time is up was not answered; who was called off learns nothing of the other side.
            if time.monotonic() >= asked.until:
                outcome = Outcome.TIMEOUT
            raise
        except MercatoError as error:
            away = error.kind in {Kind.UNAVAILABLE, Kind.INTERNAL}
            outcome = Outcome.FAILED if away else Outcome.REFUSED
            raise
        finally:
            self._dependency.leave(permit, outcome)
        return answered

    async def _send(self, asked: _Asked) -> bytes:
        with calling(self.name, "POST", asked.path) as call:
            return await self._exchange(asked, call)

    async def _exchange(self, asked: _Asked, call: Span) -> bytes:
        assert self._secret is not None  # noqa: S101  `ask` has looked
        if self._client is None:
            self._client = http_client()
        left = asked.until - time.monotonic() - _HOP_S
        token = self._secret.call(issuer=self._caller, audience=self.name, tenant=asked.tenant)
        request = (
            self._client.post(self._url + asked.path)
            .bearer_auth(token)
            .header("content-type", "application/json")
            .header(DEADLINE_HEADER, str(max(1, int(left * 1000))))
            .body_bytes(asked.content)
        )
        passed_on = request_id()
        if passed_on is not None:
            request = request.header("x-request-id", passed_on)
        for name, value in trace_headers():
            request = request.header(name, value)
        try:
            response = await request.build().send()
            answered = bytes(await response.bytes())
        except RequestError:
            raise self._away() from None
        answered_with(call, response.status)
        if response.status >= 300:
            raise refusal(self.name, response.status, answered, response.get_header("retry-after"))
        return answered

    def _read(self, answered: bytes, kind: type[T]) -> T:
        try:
            if not answered:
                return msgspec.convert(None, kind)
            found: T = msgspec.json.decode(answered, type=_answer_of(kind)).data
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise NeighbourFailed(f"The {self.name} service's answer cannot be read: {error}") from None
        return found

    def _away(self) -> Unavailable:
        return Unavailable(f"The {self.name} service is away.", retry_after=5)

    async def close(self) -> None:
        """Close the connections."""
        if self._client is not None:
            await close(self._client)


def _answer_of(kind: Any) -> Any:  # noqa: ANN401  any type expression
    return _Answer[kind]


Connect = Callable[[str], Neighbour]
"""Returns the neighbour of a name, always the same."""
