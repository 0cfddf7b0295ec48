"""Stores, users and sessions in a relational database."""

from mercato.adapters.sql.database import Row, Tx, Value
from mercato.adapters.sql.steps import Steps
from mercato.contracts.events import Events
from mercato.kernel.cause import Cause
from mercato.kernel.clock import from_micros, to_micros
from mercato.kernel.errors import FieldError
from mercato.kernel.ids import UserId
from mercato.kernel.principal import Role
from mercato.kernel.tenancy import StoreStatus, TenantId, Tier
from mercato.users.domain import (
    Account,
    DuplicateEmail,
    RefreshToken,
    StoreTaken,
    Tenant,
    User,
    email_key,
)

_TENANT = "tenant_id, name, currency, tier, status, created_at, updated_at, version"
_USER = "tenant_id, id, email, first_name, last_name, role, is_active, created_at, updated_at, version"


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
            await _insert_user(tx, admin)
            await _insert_session(tx, session)
            return tenant, events

        return await self._steps.run(by, work)


class SqlUsers:
    """See users.ports.UserStore."""

    def __init__(self, steps: Steps) -> None:
        self._steps = steps
        self._db = steps.db

    async def find(self, tenant: TenantId, user_id: UserId) -> User | None:
        """Return one user, read fresh."""
        row = await self._db.fetch_one(
            f"SELECT {_USER} FROM users WHERE tenant_id = ? AND id = ?", (tenant, user_id)
        )
        return None if row is None else _user(row)

    async def account(self, tenant: TenantId, email: str) -> Account | None:
        """Return the account with that email, however it is spelt."""
        row = await self._db.fetch_one(
            f"SELECT {_USER}, password_hash FROM users WHERE tenant_id = ? AND email_key = ?",
            (tenant, email_key(email)),
        )
        return None if row is None else Account(_user(row[:-1]), row[-1])

    async def add(self, account: Account, session: RefreshToken | None, events: Events, *, by: Cause) -> User:
        """Store a new user, signed in where there is a session, in one step. Raises DuplicateEmail."""

        async def work(tx: Tx) -> tuple[User, Events]:
            await _insert_user(tx, account)
            if session is not None:
                await _insert_session(tx, session)
            return account.user, events

        return await self._steps.run(by, work)

    async def sign_in(self, session: RefreshToken, *, by: Cause) -> None:
        """Store a new session."""

        async def work(tx: Tx) -> tuple[None, Events]:
            await _insert_session(tx, session)
            return None, ()

        await self._steps.run(by, work)


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


async def _insert_user(tx: Tx, account: Account) -> None:
    user = account.user
    values: tuple[Value, ...] = (
        user.tenant_id,
        user.id,
        user.email,
        user.first_name,
        user.last_name,
        user.role,
        int(user.is_active),
        to_micros(user.created_at),
        to_micros(user.updated_at),
        user.version,
        email_key(user.email),
        account.password_hash,
    )
    added = await tx.execute(
        f"INSERT INTO users ({_USER}, email_key, password_hash)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (tenant_id, email_key) DO NOTHING",
        values,
    )
    if not added:
        raise DuplicateEmail("There is an account with this email.", [FieldError("email", "is taken")])


async def _insert_session(tx: Tx, session: RefreshToken) -> None:
    await tx.execute(
        "INSERT INTO refresh_tokens (tenant_id, token_hash, family_id, user_id, created_at, expires_at)"
        " VALUES (?, ?, ?, ?, ?, ?)",
        (
            session.tenant_id,
            session.token_hash,
            session.family_id,
            session.user_id,
            to_micros(session.created_at),
            to_micros(session.expires_at),
        ),
    )


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


def _user(row: Row) -> User:
    tenant, user_id, email, first_name, last_name, role, is_active, created, updated, version = row
    return User(
        id=user_id,
        tenant_id=tenant,
        email=email,
        first_name=first_name,
        last_name=last_name,
        role=Role(role),
        is_active=bool(is_active),
        created_at=from_micros(created),
        updated_at=from_micros(updated),
        version=version,
    )
