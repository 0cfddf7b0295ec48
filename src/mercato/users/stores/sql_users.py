"""Users and their sessions in a relational database."""

from mercato.adapters.sql.database import Row, Tx, Value
from mercato.adapters.sql.steps import Steps
from mercato.contracts.events import Events
from mercato.kernel.cause import Cause
from mercato.kernel.clock import from_micros, to_micros
from mercato.kernel.errors import FieldError
from mercato.kernel.ids import UserId
from mercato.kernel.principal import Role
from mercato.kernel.tenancy import TenantId
from mercato.users.domain import Account, DuplicateEmail, RefreshToken, User, email_key

_USER = "tenant_id, id, email, first_name, last_name, role, is_active, created_at, updated_at, version"


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
            await insert_user(tx, account)
            if session is not None:
                await insert_session(tx, session)
            return account.user, events

        return await self._steps.run(by, work)

    async def sign_in(self, session: RefreshToken, *, by: Cause) -> None:
        """Store a new session."""

        async def work(tx: Tx) -> tuple[None, Events]:
            await insert_session(tx, session)
            return None, ()

        await self._steps.run(by, work)


async def insert_user(tx: Tx, account: Account) -> None:
    """Insert a user. Raises DuplicateEmail."""
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


async def insert_session(tx: Tx, session: RefreshToken) -> None:
    """Insert a session's refresh token."""
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
