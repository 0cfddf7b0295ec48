"""Sockets: conversations in messages, both ways, whatever server carries them (WebSocket, RFC 6455).

A path is declared with what speaks at it. Whoever may not come in is answered like any other request;
each conversation leaves a line in the log when it is over, and counts in the metrics.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from mercato.kernel.clock import Clock
from mercato.kernel.errors import BadRequest, Forbidden, MercatoError, Unavailable
from mercato.kernel.ids import uuid7
from mercato.web.access_log import AccessLine, AccessLog
from mercato.web.cors import Cors
from mercato.web.errors import HeadersTooLarge, enveloped_error, error_response
from mercato.web.handshake import asks_for_socket, check_handshake, offered
from mercato.web.http import Header, Request, Response
from mercato.web.limits import Limiter
from mercato.web.metrics import RequestMetrics
from mercato.web.places import Place, Places
from mercato.web.shell import MAX_HEADER_BYTES, MAX_LOGGED_PATH, check_framing, usable_request_id

log = logging.getLogger(__name__)

GOING_AWAY = 1001
ABNORMAL = 1006
INTERNAL = 1011
_TOLD = frozenset({1000, GOING_AWAY, 1002, 1003, 1005, ABNORMAL, 1007, 1008, 1009, INTERNAL, 1012, 1013})
_OURS = range(4400, 4500)
"""The log and the metrics tell these codes apart. A client may send any other, so they tell of none."""


@dataclass(frozen=True, slots=True)
class SocketTerms:
    """How long a client is waited for, in seconds."""

    ping_s: float = 20.0
    """After so long without a word a client is asked whether it is there, and gets as long to answer."""
    send_s: float = 10.0
    """For room to send a message."""
    close_s: float = 3.0
    """For the client to agree that it is over."""


class SocketClosed(Exception):
    """The conversation is over: the code, and whether the other side has ended it."""

    def __init__(self, code: int) -> None:
        super().__init__(f"closed with {code}")
        self.code = code


class Socket(Protocol):
    """One conversation. All of its methods may be called by several tasks, `receive` by one at a time."""

    @property
    def code(self) -> int | None:
        """What it was closed with; None while it is open. 1006 stands for a connection that broke."""
        ...

    async def receive(self) -> str | bytes:
        """Return the next message, which is no longer than was allowed. Raises SocketClosed."""
        ...

    async def send(self, text: bytes) -> None:
        """Send a message, text in UTF-8. Returns when there is room for the next. Raises SocketClosed.

        Whoever takes nothing for too long is cut off.
        """
        ...

    async def close(self, code: int, reason: str = "") -> None:
        """Say that it is over, and wait a little for the other side to agree. Idempotent. Raises nothing."""
        ...


@dataclass(slots=True)
class Opening:
    """How a conversation began, and what the log tells of it in the end."""

    request: Request
    request_id: str
    at: datetime
    route: str
    closing: asyncio.Event
    """Set when the process stops: the conversation is to end."""
    tenant: str | None = None
    user: str | None = None
    operations: int = 0
    """How many things were asked for."""


Converse = Callable[[Socket, Opening], Awaitable[None]]
"""Speaks with one client until one of the two ends it. May raise SocketClosed."""


@dataclass(frozen=True, slots=True)
class SocketRoute:
    """What speaks at a path, in which subprotocols, the best first, and how long a message it takes."""

    path: str
    subprotocols: Sequence[str]
    converse: Converse
    max_message: int


@dataclass(slots=True)
class Admitted:
    """A request that may become a socket, once its place is given back."""

    route: SocketRoute
    opening: Opening
    subprotocol: str
    headers: list[Header]
    """What the answer 101 says."""
    place: Place
    began: float = field(default_factory=time.perf_counter)


class Sockets:
    """Lets clients in, and has a conversation with each."""

    def __init__(  # noqa: PLR0913  each is one collaborator
        self,
        routes: Sequence[SocketRoute],
        *,
        cors: Cors,
        limits: Limiter,
        places: Places,
        access_log: AccessLog,
        metrics: RequestMetrics,
        clock: Clock,
        closing: asyncio.Event,
        terms: SocketTerms = SocketTerms(),
        locate: Callable[[Request], str] = lambda request: request.headers.get("host", ""),
    ) -> None:
        """End all conversations once `closing` is set.

        `locate` makes the request's client who it is, behind proxies, and returns the host it called.
        """
        self._routes: Mapping[str, SocketRoute] = {route.path: route for route in routes}
        self._cors = cors
        self._limits = limits
        self._places = places
        self._access_log = access_log
        self._metrics = metrics
        self._clock = clock
        self._locate = locate
        self.terms = terms
        self._closing = closing
        self._running: set[asyncio.Task[None]] = set()

    def __len__(self) -> int:
        """Return how many conversations go on."""
        return len(self._running)

    def wanted(self, request: Request) -> bool:
        """Say whether a request asks for a socket at a path where one is.

        Anywhere else the wish is ignored, as HTTP allows (RFC 9110, section 7.8).
        """
        return request.path in self._routes and asks_for_socket(request)

    async def admit(self, request: Request) -> Admitted | Response:
        """Take a request in, or return the answer that refuses it. What is admitted is to be run, or left."""
        given = request.headers.get("x-request-id", "")
        request_id = given if usable_request_id(given) else uuid7()
        route = self._routes[request.path]
        opening = Opening(request, request_id, self._clock(), f"SOCKET {route.path}", self._closing)
        began = time.perf_counter()
        try:
            return await self._admit(route, opening)
        except MercatoError as error:
            response = error_response(error, enveloped_error(error, request_id))
            response.headers.append(("x-request-id", request_id))
            if isinstance(error, BadRequest):
                response.headers.append(("sec-websocket-version", "13"))
            self._tell(opening, response.status, error.code, time.perf_counter() - began)
            return response

    async def _admit(self, route: SocketRoute, opening: Opening) -> Admitted:
        request = opening.request
        host = self._locate(request)
        if request.header_bytes > MAX_HEADER_BYTES:
            raise HeadersTooLarge(f"The headers must not exceed {MAX_HEADER_BYTES} bytes.")
        check_framing(request.headers)
        told = self._limits.of_address(request.client, opening.at)
        if not isinstance(told, list):
            await told
        accept = check_handshake(request)
        spoken = offered(request)
        subprotocol = next((each for each in route.subprotocols if each in spoken), None)
        if subprotocol is None:
            raise BadRequest(f"The subprotocol here is {' or '.join(route.subprotocols)}.")
        if not self._cors.allows(request, host):
            # Browsers let every page open a socket, and tell only here which page it is.
            raise Forbidden("Pages of this origin may not open a socket here.")
        if self._closing.is_set():
            raise Unavailable("The process is stopping.")
        headers: list[Header] = [
            ("connection", "Upgrade"),
            ("upgrade", "websocket"),
            ("sec-websocket-accept", accept),
            ("sec-websocket-protocol", subprotocol),
            ("x-request-id", opening.request_id),
        ]
        return Admitted(route, opening, subprotocol, headers, self._places.take(request.client))

    def leave(self, admitted: Admitted) -> None:
        """Give up what was admitted: its connection was gone before it began."""
        admitted.place.give_back()
        self._tell(admitted.opening, 101, str(ABNORMAL), time.perf_counter() - admitted.began)

    def start(self, admitted: Admitted, socket: Socket) -> "asyncio.Task[None]":
        """Begin the conversation, which goes on in a task of its own."""
        task = asyncio.create_task(self._run(admitted, socket), name="socket")
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        return task

    async def _run(self, admitted: Admitted, socket: Socket) -> None:
        opening = admitted.opening
        code = INTERNAL
        try:
            await admitted.route.converse(socket, opening)
            code = 1000
        except SocketClosed as closed:
            code = closed.code
        except Exception:
            log.exception("socket failed", extra={"request_id": opening.request_id})
        finally:
            admitted.place.give_back()
            await socket.close(code)
            self._tell(opening, 101, _told(socket.code or code), time.perf_counter() - admitted.began)

    async def close(self, within_s: float) -> None:
        """Let nobody in any more, and end every conversation; those that take too long are cut off."""
        self._closing.set()
        if not self._running:
            return
        _, late = await asyncio.wait(self._running, timeout=within_s)
        for task in late:
            task.cancel()
        if late:
            log.warning("sockets were cut off", extra={"open": len(late)})
            await asyncio.gather(*late, return_exceptions=True)

    def _tell(self, opening: Opening, status: int, code: str, seconds: float) -> None:
        request = opening.request
        self._metrics.observe(opening.route, status, code, seconds)
        self._access_log.add(
            AccessLine(
                ts=opening.at,
                level="warning" if code == str(INTERNAL) else "info",
                event="socket",
                request_id=opening.request_id,
                method=request.method[:16],
                path=request.path[:MAX_LOGGED_PATH],
                route=opening.route,
                status=status,
                ms=round(seconds * 1000, 3),
                client=request.client,
                tenant=opening.tenant,
                user=opening.user,
                code=code,
                operations=opening.operations,
            )
        )


def _told(code: int) -> str:
    return str(code) if code in _TOLD or code in _OURS else "other"
