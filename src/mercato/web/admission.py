"""Admission: how many requests a process works on at once, whose it takes next, and when it takes no more.

The number follows what the process can do (additive increase, multiplicative decrease, as TCP's window,
RFC 5681): it grows while all of it is in use and nothing is behind; it shrinks while the event loop runs
late, or a database has more waiting than it can take next. Beyond it requests wait in a queue for each store,
and the stores are served in turn (fair queuing, Nagle, RFC 970), so that the burst of one leaves the others
their share. A store with more waiting than can be served in time at the pace of now gets no more in: 503,
before any work. That is CoDel's measure (RFC 8289): for how long requests wait, not how many do, tells an
overload from a burst.

Requests that only wait, for a slow client or another service, are worked on, too. They make nothing run late,
so the number grows beyond them.
"""

import asyncio
from collections import deque
from collections.abc import Callable

from mercato.kernel.errors import Overloaded

LEAST = 16
FIRST = 64
MOST = 1_000
MOST_WAITING = 2_000
TICK_S = 0.01
LATE_S = 0.01
"""How late the event loop may run. Whatever is refused is refused within a few times that."""
_PACE_S = 0.5
"""Over about which time the pace is measured."""
_SHRINK = 0.9
_GROW = 1 / 16


def _never() -> bool:
    """Nothing else can be behind."""
    return False


class Admission:
    """Lets requests in. All of it happens in the event loop's thread."""

    def __init__(self, delay_s: float, is_behind: Callable[[], bool] = _never) -> None:
        """Let no more in of a store whose requests wait for longer than `delay_s`; 0 lets all in.

        `is_behind` says whether anything has more to do than it can.
        """
        self._delay_s = delay_s
        self._is_behind = is_behind
        self.limit: float = FIRST
        """How many requests are worked on at once."""
        self.in_use = 0
        self.waiting = 0
        self._queues: dict[str, deque[asyncio.Future[None]]] = {}
        """By whose they are; the one to be served next comes first."""
        self._looks_since = self._busy_since = 0.0
        """Since when some have waited, at each look."""
        self._left = 0
        self._pace = 0.0
        """How many requests leave in a second."""
        self._looked = self._due = 0.0
        self._timer: asyncio.TimerHandle | None = None

    def check(self, whose: str) -> None:
        """Refuse a request that would wait for too long. Raises Overloaded.

        `whose` tells one that may not crowd out the others from the next.
        """
        queue = self._queues.get(whose)
        if self.waiting < MOST_WAITING and (queue is None or not self._is_long(queue)):
            return
        raise Overloaded("Too many requests are waiting; try again soon.", reason="overload")

    def _is_long(self, queue: deque["asyncio.Future[None]"]) -> bool:
        """Say whether one more would wait too long. What has not been busy for that long may be a burst."""
        is_busy = asyncio.get_running_loop().time() - self._busy_since > self._delay_s
        return is_busy and len(queue) * len(self._queues) > self._pace * self._delay_s

    async def enter(self, whose: str) -> None:
        """Wait until a request may be worked on. Raises Overloaded. Whoever has entered leaves again."""
        if self.in_use < self.limit or not self._delay_s:
            self.in_use += 1
            if self.in_use >= LEAST and self._timer is None and self._delay_s:
                self._begin_to_look()
            return
        self.check(whose)
        place: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._queues.setdefault(whose, deque()).append(place)
        self.waiting += 1
        try:
            await place
        except asyncio.CancelledError:
            if not place.cancelled():
                # It was let in at the very moment of going away.
                self.leave()
            raise

    def leave(self) -> None:
        """Count a request out, and let the next one in."""
        self.in_use -= 1
        self._left += 1
        if self._queues:
            self._let_in()

    def _let_in(self) -> None:
        while self._queues and self.in_use < self.limit:
            whose, queue = next(iter(self._queues.items()))
            place = queue.popleft()
            self.waiting -= 1
            del self._queues[whose]
            if queue:
                self._queues[whose] = queue
            # Whoever went away, or was cut off for the time, has no use for it.
            if not place.done():
                self.in_use += 1
                place.set_result(None)

    def _begin_to_look(self) -> None:
        now = asyncio.get_running_loop().time()
        self._looks_since = self._busy_since = self._looked = now
        self._left, self._pace = 0, 0.0
        self._set_timer()

    def _set_timer(self) -> None:
        loop = asyncio.get_running_loop()
        self._due = loop.time() + TICK_S
        self._timer = loop.call_at(self._due, self._look, loop)

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        """Find out whether there is room for more, or less. While little is asked for nobody looks."""
        now, self._timer = loop.time(), None
        if now - self._due > LATE_S or self._is_behind():
            self.limit = max(LEAST, min(self.limit, self.in_use) * _SHRINK)
        elif self.in_use >= self.limit:
            self.limit = min(MOST, self.limit * (1 + _GROW))
        weight = (now - self._looked) / min(now - self._looks_since, _PACE_S)
        self._pace += min(weight, 1) * (self._left / (now - self._looked) - self._pace)
        self._looked, self._left = now, 0
        if not self._queues:
            self._busy_since = now
        self._let_in()
        if self._queues or self.in_use >= LEAST:
            self._set_timer()
