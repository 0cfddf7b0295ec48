"""Rows of users. One whose `email_key` is empty has been deleted."""

from mercato.adapters.sql.database import Row, Tx
from mercato.kernel.clock import from_micros
from mercato.kernel.ids import UserId
from mercato.kernel.principal import Role
from mercato.kernel.tenancy import TenantId
from mercato.users.domain import NO_PASSWORD, Account, User

KEPT = (
    "tenant_id, id, email, first_name, last_name, role, is_active, email_verified, created_at, updated_at,"
    " version"
)
"""The columns that hold a user."""
USER = f"{KEPT}, password_hash = '{NO_PASSWORD}'"
"""What `load_user` reads."""
ONE = f"SELECT {USER}, password_hash FROM users WHERE tenant_id = ? AND id = ? AND email_key IS NOT NULL"
"""Selects the account of a user by store and id."""


async def find_user(tx: Tx, tenant: TenantId, user_id: UserId) -> User | None:
    """Return a user, whom nobody else changes until the step ends."""
    row = await tx.lock_one(ONE, (tenant, user_id))
    return None if row is None else load_account(row).user


def load_account(row: Row) -> Account:
    """Read a row of users that has the password's hash besides."""
    return Account(load_user(row[:-1]), row[-1])


def load_user(row: Row) -> User:
    """Read a row of users."""
    (
        tenant,
        user_id,
        email,
        first_name,
        last_name,
        role,
        is_active,
        email_verified,
        created_at,
        updated_at,
        version,
        is_invited,
    ) = row
    return User(
        id=user_id,
        tenant_id=tenant,
        email=email,
        first_name=first_name,
        last_name=last_name,
        role=Role(role),
        is_active=bool(is_active),
        email_verified=bool(email_verified),
        is_invited=bool(is_invited),
        created_at=from_micros(created_at),
        updated_at=from_micros(updated_at),
        version=version,
    )
