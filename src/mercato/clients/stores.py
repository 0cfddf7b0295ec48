"""contracts.stores.StoreDirectory over HTTP, remembered so that calls go on while users is away."""

import asyncio
import time
from collections.abc import Callable

from mercato.clients.internal import PREFIX, Asked, Internal
from mercato.clients.neighbour import Neighbour
from mercato.contracts.stores import Store, StoreDirectory
from mercato.kernel.counting import CacheCounts, Measure, measures_of_cache
from mercato.kernel.errors import Unavailable
from mercato.kernel.shielding import shielded
from mercato.kernel.tenancy import DEFAULT_TENANT, StoreStatus, TenantId, Tier
from mercato.web.call import Call

_FIND = "/stores/find"

FRESH_S = 1.0
"""A store that is suspended or closed is known to be everywhere about this soon."""
MAX_REMEMBERED = 10_000
_TIMEOUT_S = 1.0


class AskStore(Asked, frozen=True):
    """Which store is asked about."""

    tenant_id: TenantId


class StoreDirectoryClient:
    """See contracts.stores.StoreDirectory.

    Only stores that exist are remembered. While users is away, a store is as it was when last heard of.
    """

    def __init__(self, users: Neighbour, *, clock: Callable[[], float] = time.monotonic) -> None:
        """`clock` tells seconds and never goes back."""
        self._users = users
        self._clock = clock
        self._counts = CacheCounts()
        self._remembered: dict[TenantId, tuple[Store, float]] = {}
        self._asking: dict[TenantId, asyncio.Task[Store | None]] = {}

    @property
    def measures(self) -> tuple[Measure, ...]:
        """Return what is told of it."""
        return measures_of_cache("stores", self._counts, lambda: len(self._remembered))

    async def find(self, tenant: TenantId) -> Store | None:
        """Return the store, whatever its status, or None. Raises Unavailable for one not heard of yet."""
        known = self._remembered.get(tenant)
        if known is not None and self._clock() < known[1]:
            self._counts.hits += 1
            return known[0]
        self._counts.misses += 1
        try:
            return await self._ask_once(tenant)
        except Unavailable:
            if known is None:
                raise
            # As long again, so that not every call waits for who is away.
            self._remember(known[0])
            return known[0]

    async def find_for_call(self, tenant: TenantId) -> Store | None:
        """Return the store of a call; the default one is there even where users never answered."""
        try:
            return await self.find(tenant)
        except Unavailable:
            if tenant != DEFAULT_TENANT:
                raise
            return Store(tenant, "", "", Tier.UNLIMITED, StoreStatus.ACTIVE)

    async def _ask_once(self, tenant: TenantId) -> Store | None:
        """Ask, or wait for whoever asks already."""
        asking = self._asking.get(tenant)
        if asking is None:
            asking = asyncio.create_task(self._ask(tenant))
            self._asking[tenant] = asking
            asking.add_done_callback(lambda _: self._asking.pop(tenant, None))
        return await shielded(asking)

    async def _ask(self, tenant: TenantId) -> Store | None:
        asked = AskStore(tenant_id=tenant)
        kind: type[Store | None] = Store | None  # type: ignore[assignment]  # a type expression
        store = await self._users.ask(PREFIX + _FIND, asked, kind, repeatable=True, timeout_s=_TIMEOUT_S)
        if store is None:
            self._remembered.pop(tenant, None)
        else:
            self._remember(store)
        return store

    def _remember(self, store: Store) -> None:
        self._remembered.pop(store.id, None)
        if len(self._remembered) >= MAX_REMEMBERED:
            del self._remembered[next(iter(self._remembered))]
        self._remembered[store.id] = store, self._clock() + FRESH_S


def serve_stores(internal: Internal, directory: StoreDirectory) -> None:
    """Declare what StoreDirectoryClient calls."""

    async def find(call: Call, body: AskStore) -> Store | None:  # noqa: ARG001  stores are the platform's
        """Find a store."""
        return await directory.find(body.tenant_id)

    internal.on(_FIND, find)
