"""Who is at the other end of something that goes on, and whether they may still be."""

import base64
import binascii
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import msgspec

from mercato.kernel.acting import as_platform
from mercato.kernel.clock import Clock
from mercato.kernel.errors import Unauthenticated
from mercato.kernel.principal import Principal
from mercato.kernel.tenancy import TenantId
from mercato.web.auth import TENANT_HEADER, Acting, Authenticator, Stores, caller_of
from mercato.web.call import Call
from mercato.web.http import Chunks, Request
from mercato.web.limits import Limiter

_AUTHORIZATION = "authorization"
_BARE = "token"


class _Claims(msgspec.Struct, frozen=True):
    exp: int | None = None


class Session:
    """One client, for as long as its token holds."""

    def __init__(self, sessions: "Sessions", request: Request, acting: Acting) -> None:
        self._sessions = sessions
        self._request = request
        self._acting = acting
        self.expires_at = _expiry(request)
        """When the token ends; None without a token."""

    @property
    def caller(self) -> Principal | None:
        """Who it is, acting in the store; None where nobody signed in."""
        return self._acting.caller

    @property
    def tenant(self) -> TenantId:
        """The store that it acts in."""
        return self._acting.tenant

    @as_platform
    async def check(self) -> None:
        """Make sure that the token holds, and the store is open. It costs little: both are remembered.

        Raises Unauthenticated, Forbidden, NotFound, and Unavailable where that cannot be known.
        """
        if self.expires_at is not None and self._sessions.clock() >= self.expires_at:
            raise Unauthenticated("The token has expired.")
        self._acting = await self._sessions.acting(self._request)

    async def call(self, request_id: str) -> Call:
        """Return a call of the client's now, counted as a request is. Raises RateLimited."""
        caller, store = self._acting.caller, self._acting.store
        call = Call(
            request_id,
            self._acting.tenant,
            self._sessions.clock(),
            self._request.client,
            caller,
            headers=self._request.headers,
            limits=self._sessions.limits,
            tier=None if caller is None or caller.names_store or store is None else store.tier,
        )
        await call.count(1)
        return call


class Sessions:
    """Begins sessions, by the rules of requests."""

    def __init__(self, authenticator: Authenticator, stores: Stores, limits: Limiter, clock: Clock) -> None:
        self._authenticator = authenticator
        self._stores = stores
        self.limits = limits
        self.clock = clock

    @as_platform
    async def open(
        self, headers: Mapping[str, str], client: str, told: Mapping[str, Any] | None = None
    ) -> Session:
        """Begin a session for whoever sent these headers, or says who it is in what is `told` besides.

        Raises Unauthenticated, Forbidden, NotFound and Unavailable as a request with these headers would.
        """
        request = _request({**headers, **_headers(told or {})}, client)
        session = Session(self, request, await self.acting(request))
        await session.check()
        return session

    async def acting(self, request: Request) -> Acting:
        """Return in which store a request acts, and as whom."""
        return await self._stores.acting_in(request, await caller_of(request, self._authenticator))


def _request(headers: Mapping[str, str], client: str) -> Request:
    """Return a request that has nothing but a head."""

    async def read(_: int) -> bytes:
        return b""

    async def stream(_: int) -> Chunks:
        yield b""

    return Request("GET", "", "", headers, client, secure=False, read_body=read, stream_body=stream)


def _headers(told: Mapping[str, Any]) -> dict[str, str]:
    """Return the headers that a client told otherwise, since browsers let no page set those of a socket.

    A token may be written as in the header, or bare. Names are in any case.
    """
    found = {name.lower(): value for name, value in told.items() if isinstance(value, str)}
    given = {name: found[name] for name in (_AUTHORIZATION, TENANT_HEADER) if name in found}
    if _AUTHORIZATION not in given and _BARE in found:
        given[_AUTHORIZATION] = found[_BARE]
    token = given.get(_AUTHORIZATION)
    if token is not None and " " not in token.strip():
        given[_AUTHORIZATION] = f"Bearer {token.strip()}"
    return given


def _expiry(request: Request) -> datetime | None:
    """Return when a token ends that was verified: at the second that it names, without any leeway."""
    token = request.headers.get(_AUTHORIZATION, "").partition(" ")[2]
    segment = token.split(".")[1] if token.count(".") == 2 else ""
    try:
        payload = base64.urlsafe_b64decode(segment + "=" * (-len(segment) % 4))
        exp = msgspec.json.decode(payload, type=_Claims).exp
    except (msgspec.MsgspecError, binascii.Error, UnicodeDecodeError):
        return None
    return None if exp is None else datetime.fromtimestamp(exp, UTC)
