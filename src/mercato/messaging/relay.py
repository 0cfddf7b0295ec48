"""The relay: hands a service's committed events to the bus, in order, until confirmed.

One runs per service database. A commit wakes it; a sweep finds what a wake-up missed, such as
events written by another process.
"""

import asyncio
import logging
from datetime import timedelta

from mercato.kernel.clock import Clock
from mercato.messaging.bus import Publisher
from mercato.messaging.outbox import Outbox

log = logging.getLogger(__name__)

BATCH = 256
SWEEP_S = 1.0
PUBLISH_DEADLINE_S = 30.0
_PURGE_EVERY_S = 600.0
_PURGE_BATCH = 1_000
_RETRY_FIRST_S, _RETRY_MOST_S = 0.05, 5.0


class Relay:
    """Moves one outbox to the bus."""

    def __init__(
        self, name: str, outbox: Outbox, bus: Publisher, *, clock: Clock, retention: timedelta
    ) -> None:
        """`retention` is how long sent events are kept, for consumers that missed some."""
        self._name = name
        self._outbox = outbox
        self._bus = bus
        self._clock = clock
        self._retention = retention
        self._woken = asyncio.Event()
        self._idle = asyncio.Event()
        self._stopping = False
        self._purge_at = 0.0

    def wake(self) -> None:
        """Say that events have been committed."""
        self._idle.clear()
        self._woken.set()

    async def run(self) -> None:
        """Relay until `stop`, outliving every failure of the bus or the database."""
        pause = _RETRY_FIRST_S
        while not self._stopping:
            self._woken.clear()
            try:
                await self._empty()
                await self._purge_now_and_then()
                pause = _RETRY_FIRST_S
            except Exception as error:  # noqa: BLE001  a bus fails in its own library's words
                log.warning("relay cannot go on", extra={"service": self._name, "cause": repr(error)})
                await asyncio.sleep(pause)
                pause = min(pause * 2, _RETRY_MOST_S)
                continue
            await self._wait()

    async def stop(self) -> None:
        """Let `run` end after the batch in hand. What is left is sent after the next start."""
        self._stopping = True
        self._woken.set()

    async def settled(self) -> None:
        """Wait until every event committed so far has been handed over."""
        await self._idle.wait()

    async def _empty(self) -> None:
        while batch := await self._outbox.unsent(BATCH):
            async with asyncio.timeout(PUBLISH_DEADLINE_S):
                confirmed = await self._bus.publish(batch)
            if not confirmed:
                raise TimeoutError("the bus confirmed nothing")
            await self._outbox.mark_sent(confirmed, at=self._clock())
            if self._stopping:
                return
        if not self._woken.is_set():
            self._idle.set()

    async def _wait(self) -> None:
        try:
            async with asyncio.timeout(SWEEP_S):
                await self._woken.wait()
        except TimeoutError:
            return

    async def _purge_now_and_then(self) -> None:
        now = asyncio.get_running_loop().time()
        if now < self._purge_at:
            return
        before = self._clock() - self._retention
        purged = await self._outbox.purge(before=before, limit=_PURGE_BATCH)
        self._purge_at = now if purged == _PURGE_BATCH else now + _PURGE_EVERY_S
