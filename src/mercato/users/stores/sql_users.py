"""Users in a relational database."""

from datetime import datetime

from mercato.adapters.sql.database import Dialect, Tx, UniqueViolation, Value
from mercato.adapters.sql.steps import Steps, Work
from mercato.contracts.events import Events
from mercato.kernel.cause import Cause
from mercato.kernel.clock import to_micros
from mercato.kernel.errors import Conflict, FieldError, NotFound
from mercato.kernel.ids import UserId
from mercato.kernel.paging import Window
from mercato.kernel.principal import Role
from mercato.kernel.tenancy import TenantId
from mercato.users.domain import (
    NO_PASSWORD,
    Account,
    DuplicateEmail,
    LastAdmin,
    RefreshToken,
    User,
    email_key,
    ends_tokens,
)
from mercato.users.ports import DecideUser, UserFilter
from mercato.users.stores import search
from mercato.users.stores.sql_cuts import SqlCuts
from mercato.users.stores.sql_sessions import end_sessions, insert_session
from mercato.users.stores.user_rows import KEPT, ONE, USER, find_user, load_account, load_user

_FOUND_USER = ", ".join(f"u.{column}" for column in USER.split(", "))


class SqlUsers:
    """See users.ports.UserStore."""

    def __init__(self, steps: Steps, cuts: SqlCuts) -> None:
        self._steps = steps
        self._db = steps.db
        self._cuts = cuts

    async def find(self, tenant: TenantId, user_id: UserId) -> User | None:
        """Return one user, read fresh."""
        found = await self.account_of(tenant, user_id)
        return None if found is None else found.user

    async def account_of(self, tenant: TenantId, user_id: UserId) -> Account | None:
        """Return a user's account, read fresh."""
        row = await self._db.fetch_one(ONE, (tenant, user_id))
        return None if row is None else load_account(row)

    async def account(self, tenant: TenantId, email: str) -> Account | None:
        """Return the account with that email, however it is spelt."""
        row = await self._db.fetch_one(
            f"SELECT {USER}, password_hash FROM users WHERE tenant_id = ? AND email_key = ?",
            (tenant, email_key(email)),
        )
        return None if row is None else load_account(row)

    async def search(self, tenant: TenantId, wanted: UserFilter, window: Window) -> list[User]:
        """Return a window of the store's users, newest first."""
        statement = page(self._db.dialect, tenant, wanted, window)
        if statement is None:
            return []
        rows = await self._db.search(*statement)
        return [load_user(row) for row in rows]

    async def count(self, tenant: TenantId, wanted: UserFilter) -> int:
        """Return how many users there are: found ones are counted, others have been."""
        if wanted.search is not None:
            found = search.found(self._db.dialect, tenant, wanted)
            if found is None:
                return 0
            rows = await self._db.search(found.count, found.params)
            return int(rows[0][0])
        rows = await self._db.fetch_all(
            "SELECT role, is_active, users FROM user_counts WHERE tenant_id = ?", (tenant,)
        )
        return sum(
            users
            for role, is_active, users in rows
            if (wanted.operators or role != Role.OPERATOR)
            and wanted.role in (None, role)
            and wanted.active in (None, bool(is_active))
        )

    async def add(self, account: Account, session: RefreshToken | None, events: Events, *, by: Cause) -> User:
        """Store a new user, signed in where there is a session, in one step. Raises DuplicateEmail."""

        async def work(tx: Tx) -> tuple[User, Events]:
            await insert_user(tx, account)
            if session is not None:
                await insert_session(tx, session)
            return account.user, events

        return await self._steps.run(by, work)

    async def change(self, tenant: TenantId, user_id: UserId, decide: DecideUser, *, by: Cause) -> User:
        """Load a user, decide, and store them with the events, in one step."""

        async def work(tx: Tx) -> tuple[User, Events]:
            before = await _user_to_change(tx, tenant, user_id)
            after, events = decide(before)
            if after is before:
                return after, events
            await _recount(tx, before, after)
            await _update(tx, before, after)
            await search.write_document(tx, after)
            if ends_tokens(before, after):
                await self._cuts.cut(tx, tenant, user_id, at=after.updated_at)
            return after, events

        return await self._unique(by, work)

    async def delete(self, tenant: TenantId, user_id: UserId, decide: DecideUser, *, by: Cause) -> User:
        """Delete a user as `decide` has it, in one step: sessions end, and the email is free."""

        async def work(tx: Tx) -> tuple[User, Events]:
            before = await _user_to_change(tx, tenant, user_id)
            after, events = decide(before)
            await _recount(tx, before, None)
            await tx.execute(
                "UPDATE users SET email_key = NULL, password_hash = '', is_active = 0, updated_at = ?,"
                " version = ? WHERE tenant_id = ? AND id = ?",
                (to_micros(after.updated_at), after.version, tenant, user_id),
            )
            await search.drop_document(tx, tenant, user_id)
            await end_sessions(tx, tenant, user_id)
            await self._cuts.cut(tx, tenant, user_id, at=after.updated_at)
            return after, events

        return await self._steps.run(by, work)

    async def change_password(
        self,
        account: Account,
        new_hash: str,
        session: RefreshToken | None,
        *,
        also: DecideUser | None = None,
        at: datetime,
        by: Cause,
    ) -> bool:
        """Replace the password of an account, unless it is no longer as `account` says."""
        user = account.user

        async def work(tx: Tx) -> tuple[bool, Events]:
            changed = await tx.execute(
                "UPDATE users SET password_hash = ? WHERE tenant_id = ? AND id = ? AND password_hash = ?"
                " AND email_key = ? AND is_active = 1",
                (new_hash, user.tenant_id, user.id, account.password_hash, email_key(user.email)),
            )
            if not changed:
                return False, ()
            events: Events = ()
            if also is not None:
                before = await _user_to_change(tx, user.tenant_id, user.id)
                after, events = also(before)
                if after is not before:
                    await _update(tx, before, after)
            await end_sessions(tx, user.tenant_id, user.id)
            await self._cuts.cut(tx, user.tenant_id, user.id, at=at)
            if session is not None:
                await insert_session(tx, session)
            return True, events

        return await self._steps.run(by, work)

    async def _unique(self, by: Cause, work: Work[User]) -> User:
        """Run a step that may give a user an email which is another's. Raises DuplicateEmail."""
        try:
            return await self._steps.run(by, work)
        except UniqueViolation:
            raise _duplicate() from None


def page(
    dialect: Dialect, tenant: TenantId, wanted: UserFilter, window: Window
) -> tuple[str, list[Value]] | None:
    """Return the statement of a window, newest first; None where nothing can be found."""
    if wanted.search is not None:
        found = search.found(dialect, tenant, wanted)
        if found is None:
            return None
        source, where, params = found.source, found.where, list(found.params)
        order = found.newest_first
        condition, more = found.after(window.after or "")
    else:
        source, params = "users u", list[Value]((tenant,))
        where = "u.tenant_id = ? AND u.email_key IS NOT NULL"
        order = "u.id DESC"
        condition, more = "u.id < ?", list[Value]((window.after,))
        if not wanted.operators:
            where += f" AND u.role <> '{Role.OPERATOR.value}'"
        if wanted.role is not None:
            where += " AND u.role = ?"
            params.append(wanted.role.value)
        if wanted.active is not None:
            where += " AND u.is_active = ?"
            params.append(int(wanted.active))
    if window.after is not None:
        where += f" AND {condition}"
        params += more
    statement = f"SELECT {_FOUND_USER} FROM {source} WHERE {where} ORDER BY {order} LIMIT ? OFFSET ?"
    return statement, [*params, window.fetch, window.offset]


async def insert_user(tx: Tx, account: Account) -> None:
    """Insert a user. Raises DuplicateEmail."""
    user = account.user
    values: tuple[Value, ...] = (
        user.tenant_id,
        user.id,
        user.email,
        user.first_name,
        user.last_name,
        user.role.value,
        int(user.is_active),
        int(user.email_verified),
        to_micros(user.created_at),
        to_micros(user.updated_at),
        user.version,
        email_key(user.email),
        account.password_hash,
    )
    added = await tx.execute(
        f"INSERT INTO users ({KEPT}, email_key, password_hash)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (tenant_id, email_key) DO NOTHING",
        values,
    )
    if not added:
        raise _duplicate()
    await _recount(tx, None, user)
    await search.write_document(tx, user)


async def _user_to_change(tx: Tx, tenant: TenantId, user_id: UserId) -> User:
    user = await find_user(tx, tenant, user_id)
    if user is None:
        raise NotFound("There is no such user.")
    return user


async def _update(tx: Tx, before: User, after: User) -> None:
    updated = await tx.execute(
        "UPDATE users SET email = ?, email_key = ?, first_name = ?, last_name = ?, role = ?, is_active = ?,"
        " email_verified = ?, updated_at = ?, version = ? WHERE tenant_id = ? AND id = ? AND version = ?",
        (
            after.email,
            email_key(after.email),
            after.first_name,
            after.last_name,
            after.role.value,
            int(after.is_active),
            int(after.email_verified),
            to_micros(after.updated_at),
            after.version,
            after.tenant_id,
            after.id,
            before.version,
        ),
    )
    if not updated:
        raise Conflict("The user was changed by somebody else.")


async def _recount(tx: Tx, before: User | None, after: User | None) -> None:
    """Keep the store's counts, and its last admin. Raises LastAdmin."""
    if before is not None and after is not None and _place(before) == _place(after):
        return
    for user, change in ((before, -1), (after, 1)):
        if user is not None:
            # Whoever changes a count holds its row, so that of two admins who leave, one is the last.
            await tx.execute(
                "INSERT INTO user_counts (tenant_id, role, is_active, users) VALUES (?, ?, ?, ?)"
                " ON CONFLICT (tenant_id, role, is_active)"
                " DO UPDATE SET users = user_counts.users + excluded.users",
                (user.tenant_id, *_place(user), change),
            )
    if before is None or _place(before) != (Role.ADMIN.value, 1):
        return
    other = await tx.fetch_one(
        "SELECT 1 FROM users WHERE tenant_id = ? AND role = ? AND is_active = 1 AND email_key IS NOT NULL"
        " AND password_hash <> ? AND id <> ? LIMIT 1",
        (before.tenant_id, Role.ADMIN.value, NO_PASSWORD, before.id),
    )
    if other is None:
        raise LastAdmin("This is the last active admin of the store; make another one first.")


def _place(user: User) -> tuple[str, int]:
    return user.role.value, int(user.is_active)


def _duplicate() -> DuplicateEmail:
    return DuplicateEmail("There is an account with this email.", [FieldError("email", "is taken")])
