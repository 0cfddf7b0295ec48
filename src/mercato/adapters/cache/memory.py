"""A cache in this process's memory, bounded by entries, bytes and age."""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable

from mercato.adapters.cache.port import Key, Load
from mercato.kernel.counting import CacheCounts, Measure, measures_of_cache
from mercato.kernel.shielding import shielded


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
        self._loads: dict[Key, asyncio.Task[bytes]] = {}
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
        task = self._loads.get(key)
        if task is None:
            task = asyncio.create_task(self._load(key, load))
            self._loads[key] = task
        return await shielded(task)

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
        this = asyncio.current_task()
        try:
            data = await load()
            if self._loads.get(key) is this:
                self._keep(key, data)
            return data
        finally:
            if self._loads.get(key) is this:
                del self._loads[key]

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
