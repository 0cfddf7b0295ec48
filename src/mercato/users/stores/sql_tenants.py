"""Stores in a relational database."""

from collections.abc import Callable
from itertools import product

from mercato.adapters.sql.database import Row, Tx, Value
from mercato.adapters.sql.steps import Steps
from mercato.contracts.events import Events
from mercato.kernel.acting import as_platform
from mercato.kernel.cause import Cause
from mercato.kernel.clock import from_micros, to_micros
from mercato.kernel.errors import Conflict, FieldError, NotFound
from mercato.kernel.paging import Window
from mercato.kernel.tenancy import StoreStatus, TenantId, Tier
from mercato.users.domain import Account, RefreshToken, StoreTaken, Tenant
from mercato.users.ports import DecideTenant, TenantFilter
from mercato.users.stores.sql_cuts import SqlCuts
from mercato.users.stores.sql_sessions import insert_session
from mercato.users.stores.sql_users import insert_user

_TENANT = "tenant_id, name, currency, tier, status, created_at, updated_at, version"


def lock_of(tenant: TenantId) -> str:
    """Return the name that is locked by whoever opens a store, and by whoever purges one."""
    return f"store/{tenant}"


class SqlTenants:
    """See users.ports.TenantStore."""

    def __init__(self, steps: Steps, cuts: SqlCuts) -> None:
        self._steps = steps
        self._db = steps.db
        self._cuts = cuts
        self._changed: Callable[[TenantId], None] = _nobody

    def on_change(self, changed: Callable[[TenantId], None]) -> None:
        """Call `changed` once a store's change is durable."""
        self._changed = changed

    @as_platform
    async def find(self, tenant: TenantId) -> Tenant | None:
        """Return one store, read fresh."""
        row = await self._db.fetch_one(f"SELECT {_TENANT} FROM tenants WHERE tenant_id = ?", (tenant,))
        return None if row is None else _tenant(row)

    @as_platform
    async def after(self, tenant: str, limit: int) -> list[Tenant]:
        """Return up to `limit` stores whose ids follow `tenant`, by id."""
        rows = await self._db.search(
            f"SELECT {_TENANT} FROM tenants WHERE tenant_id > ? ORDER BY tenant_id LIMIT ?", (tenant, limit)
        )
        return [_tenant(row) for row in rows]

    @as_platform
    async def counts(self, most: int) -> dict[tuple[Tier, StoreStatus], int]:
        """Return how many stores there are of each sort; of all together no more than `most` are counted."""
        rows = await self._db.search(
            "SELECT tier, status, count(*) FROM (SELECT tier, status FROM tenants LIMIT ?) AS counted"
            " GROUP BY tier, status",
            (most,),
        )
        found = {(Tier(tier), StoreStatus(status)): int(count) for tier, status, count in rows}
        return {each: found.get(each, 0) for each in product(Tier, StoreStatus)}

    @as_platform
    async def search(self, wanted: TenantFilter, window: Window) -> list[Tenant]:
        """Return a window of the stores, by id."""
        where, params = _where(wanted)
        if window.after is not None:
            where += " AND tenant_id > ?"
            params.append(window.after)
        rows = await self._db.search(
            f"SELECT {_TENANT} FROM tenants WHERE {where} ORDER BY tenant_id LIMIT ? OFFSET ?",
            (*params, window.fetch, window.offset),
        )
        return [_tenant(row) for row in rows]

    @as_platform
    async def count(self, wanted: TenantFilter) -> int:
        """Return how many stores there are."""
        where, params = _where(wanted)
        rows = await self._db.search(f"SELECT count(*) FROM tenants WHERE {where}", params)
        return int(rows[0][0])

    @as_platform
    async def add(self, tenant: Tenant, events: Events, *, by: Cause) -> Tenant:
        """Store a new store with its events. Raises StoreTaken."""

        async def work(tx: Tx) -> tuple[Tenant, Events]:
            await _insert_tenant(tx, tenant)
            return tenant, events

        return await self._steps.run(by, work)

    @as_platform
    async def change(self, tenant: TenantId, decide: DecideTenant, *, by: Cause) -> Tenant:
        """Load a store, decide, and store it with the events, in one step. Raises NotFound."""

        async def work(tx: Tx) -> tuple[Tenant, Events]:
            row = await tx.lock_one(f"SELECT {_TENANT} FROM tenants WHERE tenant_id = ?", (tenant,))
            if row is None:
                raise NotFound("There is no such store.")
            found = _tenant(row)
            changed, events = decide(found)
            if changed is not found:
                await _update_tenant(tx, changed, expected=found.version)
                tx.after_commit(lambda: self._changed(tenant))
            return changed, events

        return await self._steps.run(by, work)

    @as_platform
    async def onboard(
        self,
        tenant: Tenant,
        admin: Account,
        session: RefreshToken,
        events: Events,
        *,
        first_token: str,
        by: Cause,
    ) -> Tenant:
        """Store a new store, its first admin and their session, in one step. Raises StoreTaken."""

        async def work(tx: Tx) -> tuple[Tenant, Events]:
            await _insert_tenant(tx, tenant)
            await insert_user(tx, admin)
            await insert_session(tx, session)
            await self._cuts.begin(tx, tenant.id, first_token, at=tenant.created_at)
            return tenant, events

        return await self._steps.run(by, work)


async def _insert_tenant(tx: Tx, tenant: Tenant) -> None:
    # Its id may be that of a store of which something is still being deleted.
    await tx.lock_name(lock_of(tenant.id))
    values: tuple[Value, ...] = (
        tenant.id,
        tenant.name,
        tenant.currency,
        tenant.tier,
        tenant.status,
        to_micros(tenant.created_at),
        to_micros(tenant.updated_at),
        tenant.version,
    )
    added = await tx.execute(
        f"INSERT INTO tenants ({_TENANT}) VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (tenant_id) DO NOTHING",
        values,
    )
    if not added:
        raise StoreTaken("There is a store with this id.", [FieldError("id", "is taken")])


async def _update_tenant(tx: Tx, tenant: Tenant, *, expected: int) -> None:
    updated = await tx.execute(
        "UPDATE tenants SET name = ?, tier = ?, status = ?, updated_at = ?, version = ?"
        " WHERE tenant_id = ? AND version = ?",
        (
            tenant.name,
            tenant.tier.value,
            tenant.status.value,
            to_micros(tenant.updated_at),
            tenant.version,
            tenant.id,
            expected,
        ),
    )
    if not updated:
        raise Conflict("The store was changed by somebody else.")


def _where(wanted: TenantFilter) -> tuple[str, list[Value]]:
    where, params = "1 = 1", list[Value]()
    if wanted.status is not None:
        where += " AND status = ?"
        params.append(wanted.status.value)
    if wanted.tier is not None:
        where += " AND tier = ?"
        params.append(wanted.tier.value)
    return where, params


def _nobody(_: TenantId) -> None:
    """Nobody listens."""


def _tenant(row: Row) -> Tenant:
    tenant, name, currency, tier, status, created, updated, version = row
    return Tenant(
        id=tenant,
        name=name,
        currency=currency,
        tier=Tier(tier),
        status=StoreStatus(status),
        created_at=from_micros(created),
        updated_at=from_micros(updated),
        version=version,
    )
