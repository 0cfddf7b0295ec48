"""Deleting all that is kept of a store that was closed, in every service's database.

Rows go in bounded steps, each of which may be the last before a crash: run again, it goes on. The
store itself is deleted last; then its id is free. The sandbox's own book is its provider's, but it
forgets the store's charges too, so that the books still balance.

On SQLite nothing else runs meanwhile. On PostgreSQL the platform goes on, and what it still had to do
for the store may leave rows behind those that are deleted: what was under way as the store was closed
ends first, its events arrive, and tables are gone through until nothing is found any more.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import timedelta

from mercato.adapters.sql.database import Database, Tx
from mercato.adapters.sql.tenant_rows import Table, delete_rows, tables
from mercato.kernel.cause import Note
from mercato.kernel.clock import utc_now
from mercato.kernel.errors import Conflict, NotFound, Unavailable
from mercato.kernel.tenancy import StoreStatus, TenantId
from mercato.products.stores.word_index import INDEXES
from mercato.runtime.arrivals import under_way
from mercato.runtime.embedded import Embedded
from mercato.users.domain import Tenant
from mercato.users.stores import search
from mercato.users.stores.sql_tenants import lock_of

BATCH = 500
"""How many rows one step deletes."""
ARRIVAL_S = 30.0
"""How long events may take to arrive."""
ROUNDS = 20
"""How often tables are gone through at most."""
_PAUSE_S = 1.0
_LAST = "tenants"
_EVENTS = frozenset({"outbox", "outbox_sequences", "inbox_parked", "inbox_positions"})
"""Tables of events, which go after what makes them."""

Clear = Callable[[TenantId], Awaitable[int]]
"""Deletes some rows of a store, and returns how many."""

Told = Callable[[str, int, int], None]
"""Is told a table or what is waited for, how much of it is done, and of how much."""


class StoreOpen(Conflict):
    """A store that was not closed is not purged."""


class PurgeUnderWay(Conflict):
    """Another command purges the store."""


class NotQuiet(Unavailable):
    """Something about the store is still under way; the message says what."""


async def purge(
    platform: Embedded, tenant: TenantId, told: Told, *, note: Note, ends_within: timedelta
) -> Counter[str]:
    """Delete everything of a store; return how many rows there were, by table. Idempotent and resumable.

    `note` is told before anything is gone, once for each time that it is begun. `ends_within` is how long
    a request may take that came before the store was closed. On SQLite the caller holds the lock of the
    databases. Raises StoreOpen unless the store was offboarded, PurgeUnderWay, and NotQuiet with what it
    has deleted so far deleted.
    """
    purging = _Purging(platform, tenant, told)
    async with _alone(platform, tenant):
        try:
            store = await platform.users.stores.store(tenant)
        except NotFound:
            # Something may have come late to a store that is gone.
            await purging.things()
            await purging.events()
            return +purging.deleted
        if store.status is not StoreStatus.OFFBOARDED:
            raise StoreOpen(f"The store {tenant} is {store.status}; `mercato tenants offboard` closes it.")
        if purging.is_shared:
            await _wait_for_the_last_request(store, ends_within, told)
            await purging.arrived()
        await platform.users.parts.steps.tell(note)
        await purging.everything()
        await purging.table("users", _LAST)
    return +purging.deleted


@asynccontextmanager
async def _alone(platform: Embedded, tenant: TenantId) -> AsyncIterator[None]:
    """Let nobody else purge the store, or open one with its id. Raises PurgeUnderWay."""
    db = platform.users.parts.steps.db
    if db.dialect == "sqlite":
        yield
        return
    from mercato.adapters.sql.postgres import PostgresDatabase  # noqa: PLC0415  an extra's driver
    from mercato.adapters.sql.postgres_lock import held  # noqa: PLC0415

    assert isinstance(db, PostgresDatabase)  # noqa: S101  there are two engines
    async with held(db, lock_of(tenant)) as is_ours:
        if not is_ours:
            raise PurgeUnderWay(f"Another command is purging the store {tenant}.")
        yield


async def _wait_for_the_last_request(store: Tenant, ends_within: timedelta, told: Told) -> None:
    """Wait until what was under way as the store was closed has ended. A closed store changes no more."""
    while (left := ends_within - (utc_now() - store.updated_at)) > timedelta():
        # A clock that is ahead must not make it longer.
        left = min(left, ends_within)
        told(
            "requests under way", int((ends_within - left).total_seconds()), int(ends_within.total_seconds())
        )
        await asyncio.sleep(min(left.total_seconds(), _PAUSE_S))


class _Purging:
    """One store, being purged."""

    def __init__(self, platform: Embedded, tenant: TenantId, told: Told) -> None:
        self.deleted: Counter[str] = Counter()
        self._platform = platform
        self._tenant = tenant
        self._told = told
        services = platform.process.composition.services
        self._databases = {name: parts.steps.db for name, parts in services.items()}
        self._found: dict[str, list[Table]] = {}

    @property
    def is_shared(self) -> bool:
        """Whether other processes may be at work on the databases."""
        return not self._platform.process.composition.is_alone

    async def everything(self) -> None:
        """Delete all but the store itself, until nothing comes any more. Raises NotQuiet."""
        for _ in range(ROUNDS):
            before = self.deleted.total()
            await self.things()
            if self.is_shared:
                await self.arrived()
            await self.events()
            if not self.is_shared or self.deleted.total() == before:
                return
            await asyncio.sleep(_PAUSE_S)
        raise NotQuiet(
            f"Rows of the store {self._tenant} keep coming; stop the platform, or purge it again later."
        )

    async def arrived(self) -> None:
        """Wait until each service has the store's events. Raises NotQuiet."""
        services = self._platform.process.composition.services
        deadline = asyncio.get_running_loop().time() + ARRIVAL_S
        while missing := await under_way(services, self._tenant):
            if asyncio.get_running_loop().time() > deadline:
                raise NotQuiet(
                    f"Events of the store {self._tenant} have not arrived at {', '.join(missing)} yet: let it"
                    " run, with the broker, and purge the store again."
                )
            self._told("events under way", 0, missing.total())
            await asyncio.sleep(_PAUSE_S)

    async def things(self) -> None:
        """Delete what the store has, and its people."""
        for name, clear in self._first().items():
            while count := await clear(self._tenant):
                self._count(name, count)
        for service, found in (await self._tables()).items():
            for table in found:
                if table.name not in {*_EVENTS, _LAST}:
                    await self._clear(service, table)

    async def events(self) -> None:
        """Delete what was told of the store, what was heard of it, and the numbers of that."""
        for service, found in (await self._tables()).items():
            for table in found:
                if table.name in _EVENTS:
                    await self._clear(service, table)

    async def table(self, service: str, name: str) -> None:
        """Delete the store's rows of one table."""
        for table in (await self._tables())[service]:
            if table.name == name:
                await self._clear(service, table)

    async def _tables(self) -> dict[str, list[Table]]:
        if not self._found:
            self._found = {
                service: [table for table in await tables(db) if table.is_scoped]
                for service, db in self._databases.items()
            }
        return self._found

    async def _clear(self, service: str, table: Table) -> None:
        count = await delete_rows(self._databases[service], table, self._tenant, BATCH)
        self._count(f"{service}.{table.name}", count)

    def _count(self, name: str, count: int) -> None:
        self.deleted[name] += count
        self._told(name, self.deleted[name], self.deleted[name])

    def _first(self) -> dict[str, Clear]:
        """Return what deletes rows on which something else hangs, some of each table at a time."""
        found: dict[str, Clear] = {
            "payments.payments": lambda tenant: _payments(self._platform, tenant),
        }
        users, products = self._databases["users"], self._databases["products"]
        # Elsewhere the index is a table like any other.
        if users.dialect == "sqlite":
            found["users.user_documents"] = lambda tenant: _found_users(users, tenant)
        if products.dialect == "sqlite":
            found["products.products"] = lambda tenant: _products(products, tenant)
        return found


async def _found_users(db: Database, tenant: TenantId) -> int:
    """Delete users' entries in the full-text index, with what numbers them."""

    async def step(tx: Tx) -> int:
        rows = await tx.fetch_all(
            "SELECT number FROM user_documents WHERE tenant_id = ? LIMIT ?", (tenant, BATCH)
        )
        for (number,) in rows:
            await search.INDEXES[tx.dialect].drop(tx, tenant, number)
            await tx.execute("DELETE FROM user_documents WHERE number = ?", (number,))
        return len(rows)

    return await db.transact(step)


async def _products(db: Database, tenant: TenantId) -> int:
    """Delete products with their entries in the full-text index."""

    async def step(tx: Tx) -> int:
        rows = await tx.fetch_all(
            "SELECT position, words, category, shelf FROM products WHERE tenant_id = ? LIMIT ?",
            (tenant, BATCH),
        )
        for position, text, category, shelf in rows:
            if shelf:
                await INDEXES[tx.dialect].drop(tx, tenant, position, text, category)
            await tx.execute("DELETE FROM products WHERE position = ?", (position,))
        return len(rows)

    return await db.transact(step)


async def _payments(platform: Embedded, tenant: TenantId) -> int:
    """Delete payments, after what the sandbox has of them: it knows them by the payments' ids alone."""
    db = platform.payments.parts.steps.db
    rows = await db.search("SELECT id FROM payments WHERE tenant_id = ? LIMIT ?", (tenant, BATCH))
    await platform.payments.sandbox.forget([payment for (payment,) in rows])

    async def step(tx: Tx) -> int:
        gone = [
            await tx.execute("DELETE FROM payments WHERE tenant_id = ? AND id = ?", (tenant, *row))
            for row in rows
        ]
        return sum(gone)

    await db.transact(step)
    return len(rows)
