"""Deleting all that is kept of a store that was closed, in every service's database.

Rows go in bounded steps, each of which may be the last before a crash: run again, it goes on. The
store itself is deleted last; then its id is free. The sandbox's own book is its provider's, but it
forgets the store's charges too, so that the books still balance.
"""

from collections.abc import Awaitable, Callable

from mercato.adapters.sql.database import Database, Tx
from mercato.adapters.sql.tenant_rows import delete_rows, tables
from mercato.kernel.cause import Note
from mercato.kernel.errors import Conflict, NotFound
from mercato.kernel.tenancy import StoreStatus, TenantId
from mercato.products.stores.word_index import INDEXES
from mercato.runtime.embedded import Embedded
from mercato.users.stores import search

BATCH = 500
"""How many rows one step deletes."""
_LAST = "tenants"

Clear = Callable[[TenantId], Awaitable[int]]
"""Deletes some rows of a store, and returns how many."""

Told = Callable[[str, int], None]
"""Is told a table, and how many of its rows were deleted."""


class StoreOpen(Conflict):
    """A store that was not closed is not purged."""


async def purge(platform: Embedded, tenant: TenantId, told: Told, *, note: Note) -> int:
    """Delete everything of a store; return how many rows there were. Idempotent and resumable.

    `note` is told before anything is gone, once for each time that it is begun.

    The caller holds the lock of the databases: nothing runs on them. Raises StoreOpen unless the store
    was offboarded.
    """
    try:
        store = await platform.users.stores.store(tenant)
    except NotFound:
        return 0
    if store.status is not StoreStatus.OFFBOARDED:
        raise StoreOpen(f"The store {tenant} is {store.status}; `mercato tenants offboard` closes it.")
    await platform.users.parts.steps.tell(note)
    services = platform.process.composition.services
    databases = {name: parts.steps.db for name, parts in services.items()}
    deleted = 0
    for name, clear in _first(platform).items():
        count = await _until_none(clear, tenant)
        told(name, count)
        deleted += count
    for service, db in databases.items():
        for table in await tables(db):
            if table.is_scoped and table.name != _LAST:
                count = await delete_rows(db, table, tenant, BATCH)
                told(f"{service}.{table.name}", count)
                deleted += count
    (last,) = [table for table in await tables(databases["users"]) if table.name == _LAST]
    return deleted + await delete_rows(databases["users"], last, tenant, BATCH)


def _first(platform: Embedded) -> dict[str, Clear]:
    """Return what deletes rows that something else hangs on, by table; each some, until there are none."""
    users, products = platform.users.parts.steps.db, platform.products.parts.steps.db
    return {
        "users.user_documents": lambda tenant: _found_users(users, tenant),
        "products.products": lambda tenant: _products(products, tenant),
        "payments.payments": lambda tenant: _payments(platform, tenant),
    }


async def _until_none(clear: Clear, tenant: TenantId) -> int:
    deleted = 0
    while count := await clear(tenant):
        deleted += count
    return deleted


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

    async def step(tx: Tx) -> None:
        for row in rows:
            await tx.execute("DELETE FROM payments WHERE tenant_id = ? AND id = ?", (tenant, *row))

    await db.transact(step)
    return len(rows)
