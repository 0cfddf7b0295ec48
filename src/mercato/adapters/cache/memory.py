"""A cache in this process's memory, bounded by entries, bytes and age."""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable

from mercato.adapters.cache.port import Key, Load
from mercato.kernel.counting import CacheCounts, Measure, measures_of_cache


class MemoryCache:
    """See adapters.cache.port.Cache. What was not used for longest goes first."""

    def __init__(
        self,
        *,
        ttl_s: float,
        max_entries: int,
        max_bytes: int,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        """`now` returns seconds that never run backwards."""
        self._ttl_s = self._full_ttl_s = ttl_s
        self._max_entries = max_entries
        self._max_bytes = max_bytes
        self._now = now
        self._entries: OrderedDict[Key, tuple[bytes, float]] = OrderedDict()
        self._bytes = 0
        self._counts = CacheCounts()
        self._loads: dict[Key, _Loading] = {}
        """The load of each key's present generation. A load that is no longer here is stale."""

    def measures(self, name: str) -> tuple[Measure, ...]:
        """Return what is told of it, under its name."""
        return measures_of_cache(name, self._counts, self._entries.__len__)

    def get(self, key: Key) -> bytes | None:
        """Return what is kept under `key`."""
        entry = self._entries.get(key)
        if entry is None:
            self._counts.misses += 1
            return None
        if entry[1] <= self._now():
            self._counts.misses += 1
            self._drop(key)
            return None
        self._counts.hits += 1
        self._entries.move_to_end(key)
        return entry[0]

    async def load(self, key: Key, load: Load) -> bytes:
        """Load and keep, once for all who ask at the same time."""
        while (theirs := self._loads.get(key)) is not None:
            data = await theirs.join()
            if data is not None:
                return data
        return await self._load(key, load)

    def invalidate(self, key: Key) -> None:
        """Forget `key`, and begin a new generation of it: a load under way is not kept."""
        self._loads.pop(key, None)
        self._drop(key)

    def clear(self) -> None:
        """Forget everything, and begin a new generation of every key."""
        self._loads.clear()
        self._entries.clear()
        self._bytes = 0

    def bound_age(self, most_s: float | None) -> None:
        """Keep what is loaded from now on for no longer than that; None: for as long as was meant."""
        self._ttl_s = self._full_ttl_s if most_s is None else min(most_s, self._full_ttl_s)

    async def _load(self, key: Key, load: Load) -> bytes:
        # By the caller itself, since a task for it costs a tenth of an answer that was not kept.
        mine = self._loads[key] = _Loading()
        try:
            data = await load()
        except Exception as error:
            self._end(key, mine)
            mine.failed(error)
            raise
        except BaseException:
            self._end(key, mine)
            mine.ended(None)
            raise
        if self._end(key, mine):
            self._keep(key, data)
        mine.ended(data)
        return data

    def _end(self, key: Key, mine: "_Loading") -> bool:
        """Say whether a load that is over was of the present generation."""
        is_present = self._loads.get(key) is mine
        if is_present:
            del self._loads[key]
        return is_present

    def _keep(self, key: Key, data: bytes) -> None:
        self._drop(key)
        if len(data) > self._max_bytes:
            return
        self._entries[key] = (data, self._now() + self._ttl_s)
        self._bytes += len(data)
        while self._bytes > self._max_bytes or len(self._entries) > self._max_entries:
            self._drop(next(iter(self._entries)))

    def _drop(self, key: Key) -> None:
        entry = self._entries.pop(key, None)
        if entry is not None:
            self._bytes -= len(entry[0])


class _Loading:
    """A load under way, and who waits for what comes of it."""

    __slots__ = ("_waiters",)

    def __init__(self) -> None:
        self._waiters: list[asyncio.Future[bytes | None]] = []

    async def join(self) -> bytes | None:
        """Wait for it; return None if whoever loads was cancelled. Raises what the load raises."""
        waiter: asyncio.Future[bytes | None] = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        return await waiter

    def ended(self, data: bytes | None) -> None:
        """Tell what was loaded; None: another has to load it."""
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(data)

    def failed(self, error: Exception) -> None:
        """Tell why nothing was loaded."""
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_exception(error)
