"""Operations as event streams: GraphQL over Server-Sent Events (github.com/enisdenjo/graphql-sse).

One request, one operation: the protocol's distinct connections mode.
"""

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing

from mercato.gateway.live.counts import Counts
from mercato.gateway.live.executes import Result
from mercato.gateway.live.failures import answer_of
from mercato.gateway.live.session import Session, Sessions
from mercato.kernel.acting import act_for
from mercato.kernel.errors import MercatoError
from mercato.kernel.passing import passing
from mercato.web.call import Call
from mercato.web.errors import InternalError
from mercato.web.http import Chunks, Response
from mercato.web.places import Places

log = logging.getLogger(__name__)

EVENT_STREAM = "text/event-stream"
KEEP_ALIVE_S = 15.0
LONGEST_S = 3_300.0
"""After so long a stream ends, and its client comes again: no request lasts for ever."""
_LOOK_S = 0.5
_SILENCE = b":\n\n"
_COMPLETE = b"event: complete\ndata:\n\n"


class EventStreams:
    """Answers operations with event streams."""

    def __init__(
        self,
        sessions: Sessions,
        *,
        places: Places,
        counts: Counts,
        closing: asyncio.Event,
        keep_alive_s: float = KEEP_ALIVE_S,
    ) -> None:
        """Answer until `closing` is set: the process stops."""
        self._sessions = sessions
        self._places = places
        self._counts = counts
        self._closing = closing
        self._keep_alive_s = keep_alive_s

    def answer(self, call: Call, results: AsyncGenerator[Result, None]) -> Response:
        """Answer a call, which was counted, with all that comes of its operation. Raises TooMany."""
        place = self._places.take(call.client)
        gone = asyncio.Event()
        return Response(
            200,
            content_type=EVENT_STREAM,
            headers=[("cache-control", "no-store"), ("x-accel-buffering", "no")],
            stream=self._stream(call, results, gone),
            close=place.give_back,
            left=gone.set,
        )

    async def _stream(self, call: Call, results: AsyncGenerator[Result, None], gone: asyncio.Event) -> Chunks:
        # Something at once: proxies and clients see that it has begun.
        yield _SILENCE
        try:
            with self._counts.following("sse"):
                session = await self._sessions.open(call.headers, call.client)
                async with aclosing(results), aclosing(self._bodies(call, results, session, gone)) as bodies:
                    async for body in bodies:
                        yield body
        except MercatoError as error:
            yield _next(answer_of(error)) + _COMPLETE
        except Exception:
            log.exception("operation failed", extra={"request_id": call.request_id})
            yield _next(answer_of(InternalError("Something went wrong on our side."))) + _COMPLETE

    async def _bodies(
        self, call: Call, results: AsyncIterator[Result], session: Session, gone: asyncio.Event
    ) -> Chunks:
        """Yield what is sent, until the operation, the client, the token or the process comes to its end."""
        loop = asyncio.get_running_loop()
        latest, spoken = loop.time() + LONGEST_S, loop.time()
        coming = asyncio.ensure_future(_following(call, results))
        try:
            while not self._closing.is_set() and not gone.is_set() and loop.time() < latest:
                await asyncio.wait([coming], timeout=self._pause(session))
                await session.check()
                if coming.done():
                    result = coming.result()
                    if result is None:
                        yield _COMPLETE
                        return
                    yield _next(result.body)
                    spoken = loop.time()
                    coming = asyncio.ensure_future(_following(call, results))
                elif loop.time() - spoken >= self._keep_alive_s:
                    yield _SILENCE
                    spoken = loop.time()
        finally:
            coming.cancel()
            # What came of it is nobody's any more.
            await asyncio.gather(coming, return_exceptions=True)

    def _pause(self, session: Session) -> float:
        if session.expires_at is None:
            return _LOOK_S
        left = (session.expires_at - self._sessions.clock()).total_seconds()
        return min(max(left, 0.0), _LOOK_S)


async def _following(call: Call, results: AsyncIterator[Result]) -> Result | None:
    """Return the next answer, made for the call as in its own request; None at the end."""
    act_for(call.tenant)
    with passing(call.request_id, None):
        return await anext(results, None)


def _next(body: bytes) -> bytes:
    """Return the event with an answer. JSON has no line ends, unless somebody put them there."""
    return b"event: next\ndata: " + body.replace(b"\n", b" ") + b"\n\n"
