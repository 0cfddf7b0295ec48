"""The directory of stores, remembered for a second."""

from datetime import datetime, timedelta

from mercato.contracts.stores import Store
from mercato.kernel.clock import Clock
from mercato.kernel.counting import CacheCounts, Measure, measures_of_cache
from mercato.kernel.tenancy import TenantId
from mercato.users.ports import TenantStore

FRESH = timedelta(seconds=1)
"""A store that is suspended or closed is known to be everywhere this soon."""
MAX_REMEMBERED = 10_000


class CachedDirectory:
    """See contracts.stores.StoreDirectory.

    Only stores that exist are remembered: one that opens is found at once, and names that
    strangers make up take no memory.
    """

    def __init__(self, tenants: TenantStore, *, clock: Clock) -> None:
        self._tenants = tenants
        self._clock = clock
        self._counts = CacheCounts()
        self._remembered: dict[TenantId, tuple[Store, datetime]] = {}
        self._changes = 0

    @property
    def measures(self) -> tuple[Measure, ...]:
        """Return what is told of it."""
        return measures_of_cache("stores", self._counts, lambda: len(self._remembered))

    async def find(self, tenant: TenantId) -> Store | None:
        """Return the store as it was at most a second ago, or None."""
        now = self._clock()
        known = self._remembered.get(tenant)
        if known is not None and now < known[1]:
            self._counts.hits += 1
            return known[0]
        self._counts.misses += 1
        changes = self._changes
        found = await self._tenants.find(tenant)
        self._remembered.pop(tenant, None)
        if found is None:
            return None
        if changes != self._changes:
            # It may have been read before the change and be told after it.
            return found.store
        if len(self._remembered) >= MAX_REMEMBERED:
            del self._remembered[next(iter(self._remembered))]
        self._remembered[tenant] = found.store, now + FRESH
        return found.store

    def forget(self, tenant: TenantId) -> None:
        """Read the store afresh from now on: it has changed."""
        self._changes += 1
        self._remembered.pop(tenant, None)

    def forget_all(self) -> None:
        """Read every store afresh from now on: some may have changed."""
        self._changes += 1
        self._remembered.clear()
