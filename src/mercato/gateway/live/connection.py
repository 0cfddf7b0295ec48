"""One client on a socket: carries out what the protocol says, for as long as the client may be there."""

import asyncio
import logging
from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress
from dataclasses import dataclass
from typing import assert_never

from mercato.gateway.live import messages
from mercato.gateway.live.counts import Counts
from mercato.gateway.live.executes import Executes, Operation, Result
from mercato.gateway.live.failures import errors_in, errors_of
from mercato.gateway.live.protocol import Act, Close, Conversation, Identify, Phase, Refuse, Send, Start, Stop
from mercato.gateway.live.session import Session, Sessions
from mercato.kernel.acting import act_for
from mercato.kernel.errors import Kind, MercatoError
from mercato.kernel.passing import passing
from mercato.web.errors import InternalError
from mercato.web.handshake import offered
from mercato.web.sockets import GOING_AWAY, Opening, Socket, SocketClosed

log = logging.getLogger(__name__)

TRY_AGAIN_LATER = 1013
_STOP_S = 5.0
"""How long an operation gets to end that nobody wants any more."""


@dataclass(frozen=True, slots=True)
class LiveTerms:
    """What a client may do, and how it is watched. Times are in seconds."""

    most_operations: int = 50
    """At once, of one client."""
    init_s: float = 10.0
    """For a client to say who it is."""
    check_s: float = 0.5
    """How often it is looked whether its token still holds."""


class Connection:
    """See above. `run` is all of its life."""

    def __init__(
        self,
        socket: Socket,
        opening: Opening,
        *,
        executes: Executes,
        sessions: Sessions,
        terms: LiveTerms,
        counts: Counts,
    ) -> None:
        self._socket = socket
        self._opening = opening
        self._executes = executes
        self._sessions = sessions
        self._terms = terms
        self._counts = counts
        self._conversation = Conversation(
            terms.most_operations, may_be_old=messages.FORERUNNER in offered(opening.request)
        )
        self._session: Session | None = None
        self._running: dict[str, asyncio.Task[None]] = {}

    async def run(self) -> None:
        """Speak until one of the two ends it. Raises SocketClosed."""
        watching = asyncio.create_task(self._watch(), name="socket-watch")
        try:
            while True:
                await self._do(self._conversation.received(await self._socket.receive()))
        finally:
            watching.cancel()
            await self._end([watching, *self._running.values()])

    async def _do(self, act: Act) -> None:
        match act:
            case None:
                return
            case Identify(told):
                await self._identify(told)
            case Send(message):
                await self._socket.send(message)
            case Start(operation_id, operation):
                task = asyncio.create_task(self._operate(operation_id, operation), name="operation")
                self._running[operation_id] = task
            case Refuse(operation_id, error):
                await self._socket.send(self._conversation.dialect.failed(operation_id, errors_of(error)))
            case Stop(operation_id):
                await self._end([self._running.pop(operation_id)])
            case Close(code, reason):
                await self._socket.close(code, reason)
            case _:
                assert_never(act)

    async def _identify(self, told: dict[str, object]) -> None:
        request = self._opening.request
        try:
            session = await self._sessions.open(request.headers, request.client, told)
        except MercatoError as error:
            await self._refuse(error)
            return
        self._opening.tenant = session.tenant
        self._opening.user = None if session.caller is None else session.caller.user_id
        self._session = session
        await self._do(self._conversation.acknowledged())

    async def _refuse(self, error: MercatoError) -> None:
        """Close the socket to a client that may not be there. It may try again, such as with a new token."""
        code = TRY_AGAIN_LATER if error.kind is Kind.UNAVAILABLE else messages.FORBIDDEN
        await self._socket.close(code, error.message)

    async def _watch(self) -> None:
        """Close the socket once the client is too slow to say who it is, or may not be there any more."""
        loop = asyncio.get_running_loop()
        latest = loop.time() + self._terms.init_s
        while True:
            await asyncio.sleep(self._pause())
            if self._opening.closing.is_set():
                await self._socket.close(GOING_AWAY, "The process is stopping.")
            elif self._session is not None:
                await self._holds(self._session)
            elif self._conversation.phase is Phase.OPEN and loop.time() >= latest:
                await self._socket.close(messages.INIT_TIMEOUT, "Connection initialisation timeout")

    def _pause(self) -> float:
        """Return how long to wait until the next look: not beyond the end of the token."""
        if self._session is None or self._session.expires_at is None:
            return self._terms.check_s
        left = (self._session.expires_at - self._sessions.clock()).total_seconds()
        return min(max(left, 0.0), self._terms.check_s)

    async def _holds(self, session: Session) -> bool:
        """Say whether the client may still be there; close the socket if not."""
        try:
            await session.check()
        except MercatoError as error:
            await self._refuse(error)
            return False
        return True

    async def _operate(self, operation_id: str, operation: Operation) -> None:
        """Carry out an operation, and tell all that comes of it."""
        assert self._session is not None  # noqa: S101  nothing is begun before it is known who asks
        self._opening.operations += 1
        last = b""
        try:
            call = await self._session.call(self._opening.request_id)
            act_for(call.tenant)
            with passing(call.request_id, None):
                last = await self._follow(operation_id, self._executes.run(operation, call), self._session)
        except SocketClosed:
            return
        except MercatoError as error:
            last = self._conversation.dialect.failed(operation_id, errors_of(error))
        except Exception:
            log.exception("operation failed", extra={"request_id": self._opening.request_id})
            last = self._conversation.dialect.failed(
                operation_id, errors_of(InternalError("Something went wrong on our side."))
            )
        finally:
            if self._running.get(operation_id) is asyncio.current_task():
                del self._running[operation_id]
                self._conversation.ended(operation_id)
        with suppress(SocketClosed):
            if last:
                await self._socket.send(last)

    async def _follow(
        self, operation_id: str, results: AsyncGenerator[Result, None], session: Session
    ) -> bytes:
        """Send what comes of an operation; return what is to be said last. Raises SocketClosed."""
        with self._counts.following("socket"):
            async with aclosing(results):
                async for result in results:
                    if not await self._holds(session):
                        return b""
                    if not result.executed:
                        return self._conversation.dialect.failed(operation_id, errors_in(result.body))
                    await self._socket.send(self._conversation.dialect.following(operation_id, result.body))
        return self._conversation.dialect.completed(operation_id)

    async def _end(self, tasks: "list[asyncio.Task[None]]") -> None:
        """Cancel tasks, and wait until they are over."""
        for task in tasks:
            task.cancel()
        _, late = await asyncio.wait(tasks, timeout=_STOP_S)
        if late:
            log.warning("operations do not end", extra={"request_id": self._opening.request_id})
