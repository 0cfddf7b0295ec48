"""Sessions in a relational database.

A refresh token that was used stays until it expires: used again, it ends its family.
"""

from collections.abc import Callable
from datetime import datetime

from mercato.adapters.sql.database import Tx
from mercato.adapters.sql.steps import Steps
from mercato.contracts.events import Events
from mercato.kernel.cause import Cause
from mercato.kernel.clock import to_micros
from mercato.kernel.ids import UserId
from mercato.kernel.tenancy import TenantId
from mercato.users.domain import Account, RefreshToken, User
from mercato.users.stores.sql_cuts import SqlCuts
from mercato.users.stores.user_rows import find_user

_OF_HASH = "FROM refresh_tokens WHERE tenant_id = ? AND token_hash = ?"


class SqlSessions:
    """See users.ports.SessionStore."""

    def __init__(self, steps: Steps, cuts: SqlCuts) -> None:
        self._steps = steps
        self._cuts = cuts

    async def begin(self, account: Account, session: RefreshToken, *, by: Cause) -> bool:
        """Store a new session, unless the password is no longer as `account` says."""
        user = account.user

        async def work(tx: Tx) -> tuple[bool, Events]:
            as_seen = await tx.lock_one(
                "SELECT 1 FROM users WHERE tenant_id = ? AND id = ? AND password_hash = ?",
                (user.tenant_id, user.id, account.password_hash),
            )
            if as_seen is None:
                return False, ()
            await insert_session(tx, session)
            return True, ()

        return await self._steps.run(by, work)

    async def rotate(
        self,
        tenant: TenantId,
        used: bytes,
        successor: Callable[[User, str], RefreshToken],
        *,
        at: datetime,
        by: Cause,
    ) -> User | None:
        """Replace the refresh token with the hash `used`; return whose it is, or None if worth nothing."""

        async def work(tx: Tx) -> tuple[User | None, Events]:
            row = await tx.fetch_one(f"SELECT family_id, user_id {_OF_HASH}", (tenant, used))
            if row is None:
                return None, ()
            family, user_id = row
            # Whoever adds to a user's sessions, or ends some, holds the user: so no successor is made
            # beside the end of its family.
            user = await find_user(tx, tenant, user_id)
            # Of several that come at once, this lets one through.
            taken = await tx.execute(
                "UPDATE refresh_tokens SET used_at = ?"
                " WHERE tenant_id = ? AND token_hash = ? AND used_at IS NULL AND expires_at > ?",
                (to_micros(at), tenant, used, to_micros(at)),
            )
            if not taken and not await tx.fetch_one(f"SELECT 1 {_OF_HASH} AND used_at > 0", (tenant, used)):
                return None, ()
            if not taken or user is None:
                # Refused, and yet it must last: so the step ends well.
                await _end_family(tx, tenant, family)
                await self._cuts.cut(tx, tenant, user_id, at=at)
                return None, ()
            await insert_session(tx, successor(user, family))
            return user, ()

        return await self._steps.run(by, work)

    async def end(self, tenant: TenantId, token_hash: bytes, *, by: Cause) -> None:
        """End the family of a refresh token. Idempotent."""

        async def work(tx: Tx) -> tuple[None, Events]:
            row = await tx.fetch_one(f"SELECT family_id, user_id {_OF_HASH}", (tenant, token_hash))
            if row is not None:
                # Behind whoever is replacing a token of theirs just now, so that its successor ends too.
                await find_user(tx, tenant, row[1])
                await _end_family(tx, tenant, row[0])
            return None, ()

        await self._steps.run(by, work)

    async def purge(self, *, before: datetime, limit: int) -> int:
        """Delete up to `limit` refresh tokens that have expired by then; return how many."""

        async def step(tx: Tx) -> int:
            return await tx.execute(
                "DELETE FROM refresh_tokens WHERE (tenant_id, token_hash) IN"
                " (SELECT tenant_id, token_hash FROM refresh_tokens WHERE expires_at <= ?"
                " ORDER BY expires_at LIMIT ?)",
                (to_micros(before), limit),
            )

        return await self._steps.db.transact(step)


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


async def end_sessions(tx: Tx, tenant: TenantId, user_id: UserId) -> None:
    """End every session of a user."""
    await tx.execute("DELETE FROM refresh_tokens WHERE tenant_id = ? AND user_id = ?", (tenant, user_id))


async def _end_family(tx: Tx, tenant: TenantId, family: str) -> None:
    await tx.execute("DELETE FROM refresh_tokens WHERE tenant_id = ? AND family_id = ?", (tenant, family))
