"""One time for all processes: that of the server that they share.

Leases, holds, links, tokens and cuts of tokens are made by one process and judged by another. Each of
them takes its time from its database's server or, where it has none, from Redis, and so they agree whatever
their machines' clocks say.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from datetime import timedelta
from typing import TYPE_CHECKING

from mercato.adapters.sql.database import Database
from mercato.kernel import clock, ids
from mercato.kernel.counting import Reading, Values
from mercato.kernel.errors import Unavailable

if TYPE_CHECKING:
    from mercato.runtime.redis import Shared

log = logging.getLogger(__name__)

EVERY_S = 5.0
_AGAIN_S = 0.5
_SLOWEST_S = 0.5
"""An answer that takes longer says too little: the time there may be anything in between."""
_WORTH_S = 0.05
"""What differs by less is left alone: it may be the way there and back."""
_TOLD_S = 1.0
"""From how many seconds on a difference is somebody's business."""

Read = Callable[[], Awaitable[float]]
"""Asks for the time, in seconds since the epoch. Raises Unavailable."""


class Timekeeper:
    """Lets this process's clock follow another's."""

    def __init__(self, dependency: str, read: Read, *, needed: bool) -> None:
        """`dependency` names whose time it is; where that is `needed` nothing begins without it."""
        self.needed = needed
        self.skew_s = 0.0
        """How far this machine's clock is ahead."""
        self._dependency = dependency
        self._read = read

    @property
    def measure(self) -> Reading:
        """How far this machine's clock is ahead, for the metrics."""
        return Reading(
            "gauge",
            "mercato_clock_skew_seconds",
            "How far this machine's clock is ahead of the one that the process follows.",
            ("dependency",),
            self._told,
        )

    def _told(self) -> Mapping[Values, float]:
        return {(self._dependency,): self.skew_s}

    async def look(self) -> None:
        """Compare the clocks, and set this process's right. Raises Unavailable."""
        here, began = time.time(), time.monotonic()
        there = await self._read()
        took = time.monotonic() - began
        if took > _SLOWEST_S:
            return
        skew = here + took / 2 - there
        if abs(skew - self.skew_s) < _WORTH_S:
            return
        if abs(skew) >= _TOLD_S and abs(skew - self.skew_s) >= _TOLD_S:
            about = {"dependency": self._dependency, "ahead_s": round(skew, 1)}
            log.warning("this machine's clock is wrong, and is not followed", extra=about)
        if skew > self.skew_s:
            # What was made by the wrong time must not draw what is made now with it.
            ids.begin_anew()
        self.skew_s = skew
        clock.follow(ahead=timedelta(seconds=skew))

    async def run(self) -> None:
        """Look every so often, for ever. While nobody tells the time, the last difference stands."""
        while True:
            pause = EVERY_S
            try:
                await self.look()
            except Unavailable:
                pause = _AGAIN_S
            await asyncio.sleep(pause)


def timekeeper(databases: list[Database], shared: "Shared | None") -> Timekeeper | None:
    """Return who sets a process's clock; None for one whose data are on its own machine."""
    on_server = next((each for each in databases if each.dialect == "postgres"), None)
    if on_server is not None:
        return Timekeeper("database", lambda: _time_of(on_server), needed=True)
    return None if shared is None else Timekeeper("redis", shared.time, needed=False)


async def _time_of(database: Database) -> float:
    row = await database.fetch_one("SELECT extract(epoch FROM clock_timestamp())")
    assert row is not None  # noqa: S101  it has one
    return float(row[0])
