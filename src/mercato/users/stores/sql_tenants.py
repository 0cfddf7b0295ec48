"""Stores in a relational database."""

from mercato.adapters.sql.database import Row, Tx, Value
from mercato.adapters.sql.steps import Steps
from mercato.contracts.events import Events
from mercato.kernel.cause import Cause
from mercato.kernel.clock import from_micros, to_micros
from mercato.kernel.errors import FieldError
from mercato.kernel.tenancy import StoreStatus, TenantId, Tier
from mercato.users.domain import Account, RefreshToken, StoreTaken, Tenant
from mercato.users.stores.sql_users import insert_session, insert_user

_TENANT = "tenant_id, name, currency, tier, status, created_at, updated_at, version"


class SqlTenants:
    """See users.ports.TenantStore."""

    def __init__(self, steps: Steps) -> None:
        self._steps = steps
        self._db = steps.db

    async def find(self, tenant: TenantId) -> Tenant | None:
        """Return one store, read fresh."""
        row = await self._db.fetch_one(f"SELECT {_TENANT} FROM tenants WHERE tenant_id = ?", (tenant,))
        return None if row is None else _tenant(row)

    async def after(self, tenant: str, limit: int) -> list[Tenant]:
        """Return up to `limit` stores whose ids follow `tenant`, by id."""
        rows = await self._db.search(
            f"SELECT {_TENANT} FROM tenants WHERE tenant_id > ? ORDER BY tenant_id LIMIT ?", (tenant, limit)
        )
        return [_tenant(row) for row in rows]

    async def add(self, tenant: Tenant, events: Events, *, by: Cause) -> Tenant:
        """Store a new store with its events. Raises StoreTaken."""

        async def work(tx: Tx) -> tuple[Tenant, Events]:
            await _insert_tenant(tx, tenant)
            return tenant, events

        return await self._steps.run(by, work)

    async def onboard(
        self, tenant: Tenant, admin: Account, session: RefreshToken, events: Events, *, by: Cause
    ) -> Tenant:
        """Store a new store, its first admin and their session, in one step. Raises StoreTaken."""

        async def work(tx: Tx) -> tuple[Tenant, Events]:
            await _insert_tenant(tx, tenant)
            await insert_user(tx, admin)
            await insert_session(tx, session)
            return tenant, events

        return await self._steps.run(by, work)


async def _insert_tenant(tx: Tx, tenant: Tenant) -> None:
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
