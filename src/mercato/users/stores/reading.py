"""Users as they are read, straight from their rows."""

from collections.abc import Sequence

from mercato.adapters.sql.batches import SHALLOW, among, joined
from mercato.adapters.sql.database import Database, Row
from mercato.contracts.user_reading import User
from mercato.kernel.clock import from_micros
from mercato.kernel.paging import Window
from mercato.kernel.principal import Role
from mercato.kernel.tenancy import TenantId
from mercato.users.ports import UserFilter
from mercato.users.stores.sql_users import page
from mercato.users.stores.user_rows import KEPT

# Calling an enum costs ten times as much.
_ROLE = {each.value: each for each in Role}


class SqlUserReads:
    """See users.ports.UserReads."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._many = (
            f"SELECT {KEPT} FROM users WHERE tenant_id = ? AND id {among(db.dialect)}"
            " AND email_key IS NOT NULL"
        )

    async def page(self, tenant: TenantId, wanted: UserFilter, window: Window) -> list[User]:
        """Return a window of the store's users, newest first."""
        statement = page(self._db.dialect, tenant, wanted, window)
        if statement is None:
            return []
        shallow = wanted.search is None and window.offset <= SHALLOW
        rows = await (self._db.fetch_all if shallow else self._db.search)(*statement)
        return [_load(row[:-1]) for row in rows]

    async def many(self, tenant: TenantId, user_ids: Sequence[str]) -> list[User]:
        """Return those of the users that are there."""
        rows = await self._db.fetch_all(self._many, (tenant, joined(self._db.dialect, user_ids)))
        return [_load(row) for row in rows]


def _load(row: Row) -> User:
    tenant, user_id, email, first, last, role, is_active, verified, created_at, updated_at, version = row
    return User(
        user_id,
        tenant,
        email,
        first,
        last,
        _ROLE[role],
        bool(is_active),
        bool(verified),
        from_micros(created_at),
        from_micros(updated_at),
        version,
    )
