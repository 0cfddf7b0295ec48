"""Spans on their way out: they wait in a queue that is bounded, and leave in batches.

Nothing that is traced waits for them. What cannot be kept or sent is dropped, and counted.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Sequence
from typing import Protocol

from mercato.kernel.counting import Counter
from mercato.kernel.tracing import Recorded

log = logging.getLogger(__name__)

MOST_WAITING = 4096
BATCH = 128
"""Writing down so many takes the event loop two or three milliseconds."""
EVERY_S = 1.0
"""How long a span waits for others."""
DEADLINE_S = 10.0
ATTEMPTS = 3
_FIRST_PAUSE_S = 1.0
_TELL_EVERY_S = 60.0


class NotExported(Exception):
    """A batch was not taken; the message says why. The same batch may be taken later, if `again` says so."""

    def __init__(self, reason: str, *, again: bool) -> None:
        super().__init__(reason)
        self.again = again


class Exporter(Protocol):
    """Takes batches of spans further."""

    async def export(self, spans: Sequence[Recorded]) -> None:
        """Take a batch. Raises NotExported. The caller sets a deadline."""
        ...

    async def close(self) -> None:
        """Let go of what it holds."""
        ...


class Batches:
    """See kernel.tracing.Recorder."""

    def __init__(
        self, exporter: Exporter, *, every_s: float = EVERY_S, pause_s: float = _FIRST_PAUSE_S
    ) -> None:
        """`pause_s` is how long it waits before it sends a batch again; then twice as long."""
        self._exporter = exporter
        self._every_s = every_s
        self._pause_s = pause_s
        self._waiting: deque[Recorded] = deque()
        self._full = asyncio.Event()
        self._stopping = asyncio.Event()
        self._in_hand = 0
        self._failing = False
        self._told_at = 0.0
        self.spans = Counter(
            "mercato_spans",
            "Spans of recorded traces, by whether they were exported or dropped.",
            ("outcome",),
            [("exported",), ("dropped",)],
        )

    def record(self, span: Recorded) -> None:
        """Take a span, or drop it where too many wait."""
        if len(self._waiting) >= MOST_WAITING:
            self._drop(1, "more spans wait than can be exported")
            return
        self._waiting.append(span)
        if len(self._waiting) >= BATCH:
            self._full.set()

    async def run(self) -> None:
        """Export what comes, until `close`. Outlives every failure of the exporter."""
        while not self._stopping.is_set():
            await _any_of((self._full, self._stopping), self._every_s)
            self._full.clear()
            await self._empty()
        await self._empty()

    async def close(self, running: "asyncio.Task[None]", within_s: float) -> None:
        """End `run`, and export what waits, in that time; what is left then is dropped."""
        self._stopping.set()
        await asyncio.wait([running], timeout=within_s)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        left = self._in_hand + len(self._waiting)
        if left:
            self._waiting.clear()
            self._drop(left, "the process ends")
        await self._exporter.close()

    async def _empty(self) -> None:
        while self._waiting:
            batch = [self._waiting.popleft() for _ in range(min(BATCH, len(self._waiting)))]
            self._in_hand = len(batch)
            reason = await self._export(batch)
            self._in_hand = 0
            if reason is None:
                self.spans.add("exported", by=len(batch))
                self._works()
            else:
                self._drop(len(batch), reason)

    async def _export(self, batch: Sequence[Recorded]) -> str | None:
        """Export a batch, if need be a few times; return why it could not be."""
        pause = self._pause_s
        for attempt in range(1, ATTEMPTS + 1):
            try:
                async with asyncio.timeout(DEADLINE_S):
                    await self._exporter.export(batch)
            except NotExported as error:
                reason, again = str(error), error.again
            except TimeoutError:
                reason, again = f"no answer within {DEADLINE_S:g} s", True
            except Exception as error:  # noqa: BLE001  whatever it is, the process goes on without its spans
                reason, again = f"{type(error).__name__}: {error}", False
            else:
                return None
            self._fails(reason)
            # Who waits for the process to end does not wait for a collector to come back.
            if not again or attempt == ATTEMPTS or self._stopping.is_set():
                return reason
            await _any_of((self._stopping,), pause)
            pause *= 2
        raise AssertionError("the last attempt returns")

    def _drop(self, count: int, reason: str) -> None:
        self.spans.add("dropped", by=count)
        now = asyncio.get_running_loop().time()
        if now - self._told_at >= _TELL_EVERY_S or not self._told_at:
            self._told_at = now
            log.warning("spans are dropped", extra={"cause": reason, "dropped": count})

    def _fails(self, reason: str) -> None:
        if not self._failing:
            self._failing = True
            log.warning("spans cannot be exported", extra={"cause": reason})

    def _works(self) -> None:
        if self._failing:
            self._failing = False
            log.info("spans are exported again")


async def _any_of(events: Sequence[asyncio.Event], within_s: float) -> None:
    """Wait until one of the events is set, for that long at most."""
    waiting = [asyncio.ensure_future(event.wait()) for event in events]
    try:
        await asyncio.wait(waiting, timeout=within_s, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in waiting:
            task.cancel()
