"""Cached lists: all those of a store are forgotten at once, by beginning a new generation of them."""

from collections import OrderedDict

from mercato.adapters.cache.port import Cache, Load
from mercato.kernel.counting import Measure

_MAX_STORES = 10_000


class ListCache:
    """Keeps encoded lists, each for its store and query, until anything in the store changes.

    A list belongs to the generation in which its loading began, so that one whose loading a
    change overtook is kept where nobody looks for it any more.
    """

    def __init__(self, cache: Cache) -> None:
        """`cache` keeps the lists, and lets those of past generations go in its own time."""
        self._cache = cache
        self._generations: OrderedDict[str, int] = OrderedDict()
        self._last = 0

    def measures(self, name: str) -> tuple[Measure, ...]:
        """Return what is told of it, under its name."""
        return self._cache.measures(name)

    def get(self, tenant: str, query: str) -> bytes | None:
        """Return the list if it is kept and nothing has changed since."""
        return self._cache.get((tenant, self._key(tenant, query)))

    async def load(self, tenant: str, query: str, load: Load) -> bytes:
        """Load the list, once for all who ask at the same time, and keep it. Raises what `load` raises."""
        return await self._cache.load((tenant, self._key(tenant, query)), load)

    def invalidate(self, tenant: str) -> None:
        """Begin a new generation of a store's lists."""
        self._last += 1
        self._generations[tenant] = self._last
        self._generations.move_to_end(tenant)
        if len(self._generations) > _MAX_STORES:
            self._generations.popitem(last=False)

    def clear(self) -> None:
        """Forget every list of every store."""
        # No number is given twice, so what is still under way is kept where nobody looks for it.
        self._generations.clear()
        self._cache.clear()

    def bound_age(self, most_s: float | None) -> None:
        """Keep what is loaded from now on for no longer than that; None: for as long as was meant."""
        self._cache.bound_age(most_s)

    def _key(self, tenant: str, query: str) -> str:
        generation = self._generations.get(tenant)
        if generation is None:
            # No number is given twice: what a forgotten store had is not found again.
            self.invalidate(tenant)
            generation = self._last
        return f"{generation} {query}"
