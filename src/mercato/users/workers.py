"""What users does by the clock."""

import asyncio
import logging
from collections.abc import Awaitable
from datetime import datetime, timedelta
from typing import Protocol

from mercato.adapters.identity.cut_list import CutList
from mercato.adapters.identity.revocations import Cut
from mercato.adapters.service import Worker
from mercato.adapters.sweeps import sweep
from mercato.kernel.clock import Clock
from mercato.kernel.errors import Unavailable

log = logging.getLogger(__name__)

_EVERY_S = 300.0
_BATCH = 1_000


class Purge(Protocol):
    """Deletes what has expired."""

    def __call__(self, *, before: datetime, limit: int) -> Awaitable[int]:
        """Delete up to `limit` things that had expired by then; return how many."""
        ...


def purger(what: str, purge: Purge, *, clock: Clock) -> Worker:
    """Return the worker that deletes what has expired, now and then, in batches."""
    return sweep(
        lambda: purge(before=clock(), limit=_BATCH),
        batch=_BATCH,
        every_s=_EVERY_S,
        log=log,
        failing="what has expired cannot be purged",
        what=what,
    )


_LOOK_EVERY_S = 1.0
_RECENT = timedelta(minutes=2)
"""So long after it was decided on, a cut that is being made is durable or never will be."""
_MAX_UNTOLD = 10_000


class KeptCuts(Protocol):
    """The cuts in the database."""

    async def load(self, *, at: datetime) -> list[Cut]:
        """Take up here the cuts that matter then, and return them. Raises Unavailable."""
        ...


class CutSharing:
    """Takes up the cuts that other replicas have made, and keeps the list for other services complete."""

    def __init__(self, kept: KeptCuts, shared: CutList | None, *, matters: timedelta, clock: Clock) -> None:
        """`matters` is how long a cut does. `shared` is the list for other services, where there are any."""
        self._kept = kept
        self._shared = shared
        self._matters = matters
        self._clock = clock
        self._untold: list[Cut] = []
        self._told: set[Cut] = set()
        self._wake = asyncio.Event()
        self._incomplete = True
        """Something may be missing from the list."""

    def made(self, cut: Cut) -> None:
        """Tell of a cut that was made here, soon."""
        if len(self._untold) < _MAX_UNTOLD:
            self._untold.append(cut)
        else:
            self._incomplete = True
        self._wake.set()

    async def run(self) -> None:
        """Tell at once of what is made here, and look each second at what others made, for ever."""
        loop = asyncio.get_running_loop()
        look_at = loop.time()
        while True:
            try:
                await self._tell()
                if loop.time() >= look_at:
                    look_at = loop.time() + _LOOK_EVERY_S
                    await self.look()
            except Unavailable as error:
                log.warning("cuts of tokens cannot be shared", extra={"cause": repr(error)})
            try:
                async with asyncio.timeout(max(look_at - loop.time(), 0)):
                    await self._wake.wait()
            except TimeoutError:
                continue

    async def look(self) -> None:
        """Take up what other replicas have cut, and mend the list. Raises Unavailable."""
        recent = await self._kept.load(at=self._clock() + self._matters - _RECENT)
        if self._shared is None:
            return
        if self._incomplete or not await self._shared.is_whole():
            self._incomplete = True
            await self._shared.fill(await self._kept.load(at=self._clock()))
            self._incomplete = False
        else:
            # A replica that was killed may not have come to tell of what it had made.
            await self._shared.add([cut for cut in recent if cut not in self._told])
        self._told = set(recent)

    async def _tell(self) -> None:
        self._wake.clear()
        if self._shared is None or not self._untold:
            self._untold.clear()
            return
        some, self._untold = self._untold, []
        try:
            await self._shared.add(some)
        except Unavailable:
            self._incomplete = True
            raise
        self._told.update(some)
