"""A bulkhead: so many calls at once, so many more wait, and the rest is refused."""

import asyncio
from collections import deque

from mercato.kernel.errors import Overloaded, Shortage


class Bulkhead:
    """Places, lent in the order in which they were asked for.

    Whoever waits bounds for how long, by a timeout around `take`.
    """

    def __init__(self, at_once: int, waiting: int) -> None:
        self.at_once = at_once
        self.in_use = 0
        self._most_waiting = waiting
        self._waiting: deque[asyncio.Future[None]] = deque()

    @property
    def waiting(self) -> int:
        """How many wait for a place."""
        return len(self._waiting)

    async def take(self, refusal: str, reason: Shortage) -> None:
        """Take a place. Raises Overloaded, at once, where too many wait already."""
        if self.in_use < self.at_once:
            self.in_use += 1
            return
        if len(self._waiting) >= self._most_waiting:
            raise Overloaded(refusal, reason=reason)
        place: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(place)
        try:
            await place
        except asyncio.CancelledError:
            if place.cancelled():
                self._waiting.remove(place)
            else:
                # It was handed over at the very moment of going away.
                self.give_back()
            raise

    def give_back(self) -> None:
        """Give a place back, or on to whoever has waited longest."""
        for place in self._waiting:
            if not place.done():
                self._waiting.remove(place)
                place.set_result(None)
                return
        self.in_use -= 1
