"""Search of users by SQLite's full-text index, FTS5. Another engine brings its own module.

Every word is indexed as `store_word`, so a store's search costs by its own users alone; the dash of
a store's id and the underscore are characters of a word here. Words that begin with an underscore
say role and standing, since no user's own word holds one. Documents are numbered as users come, so
the newest have the highest numbers.
"""

import re
import unicodedata

from mercato.adapters.sql.database import Database, Row, Tx, Value
from mercato.kernel.ids import UserId
from mercato.kernel.principal import Role
from mercato.kernel.tenancy import TenantId
from mercato.users.domain import User
from mercato.users.ports import UserFilter
from mercato.users.stores.user_rows import USER, load_user

FOUND = (
    "user_words CROSS JOIN user_documents d ON d.number = user_words.rowid"
    " CROSS JOIN users u ON u.tenant_id = d.tenant_id AND u.id = d.user_id"
)
"""What a page of found users is selected from, with `MATCHES` as its condition."""
MATCHES = "user_words MATCH ?"
NEWEST_FIRST = "user_words.rowid DESC"
COUNT = f"SELECT count(*) FROM user_words WHERE {MATCHES}"

_DOCUMENTED = ", ".join(f"u.{column}" for column in USER.split(", "))
_REINDEXED_AT_ONCE = 500

_word = re.compile(r"[^\W_]+").findall


def words(text: str) -> list[str]:
    """Return the words of a text as they are compared: without case and accents, each once."""
    folded = unicodedata.normalize("NFKD", text.casefold())
    bare = "".join(char for char in folded if not unicodedata.combining(char))
    return list(dict.fromkeys(_word(bare.casefold())))


def expression(tenant: TenantId, wanted: UserFilter) -> str | None:
    """Return the FTS5 query of a search; None if it holds no word, and so finds nothing."""
    sought = words(wanted.search or "")
    if not sought:
        return None
    if wanted.role is not None:
        sought.append(f"_{wanted.role.value}")
    if wanted.active is not None:
        sought.append(_standing(wanted.active))
    # Within quotes nothing is an operator, and a word holds no quote.
    found = " AND ".join(f'"{tenant}_{word}"' for word in sought)
    return found if wanted.operators else f'({found}) NOT "{tenant}__{Role.OPERATOR.value}"'


def after(tenant: TenantId, user_id: str) -> tuple[str, list[Value]]:
    """Return the condition for what follows that user, who may have been deleted, in a page."""
    number = "SELECT number FROM user_documents WHERE tenant_id = ? AND user_id = ?"
    return f"user_words.rowid < ({number})", [tenant, user_id]


async def write_document(tx: Tx, user: User) -> None:
    """Index a user, or index one anew, in the step that writes the row."""
    number = await _number(tx, user.tenant_id, user.id)
    if number is None:
        row = await tx.fetch_one(
            "INSERT INTO user_documents (tenant_id, user_id) VALUES (?, ?) RETURNING number",
            (user.tenant_id, user.id),
        )
        assert row is not None  # noqa: S101  INSERT … RETURNING has a row
        number = row[0]
    else:
        await tx.execute("DELETE FROM user_words WHERE rowid = ?", (number,))
    await _write(tx, number, user)


async def reindex(db: Database) -> None:
    """Write the whole index anew from the users' rows, some at a time."""

    async def clear(tx: Tx) -> None:
        await tx.execute("DELETE FROM user_words")

    last = -1

    async def step(tx: Tx) -> list[Row]:
        rows = await tx.fetch_all(
            f"SELECT d.number, {_DOCUMENTED} FROM user_documents d"
            " JOIN users u ON u.tenant_id = d.tenant_id AND u.id = d.user_id"
            " WHERE d.number > ? AND u.email_key IS NOT NULL ORDER BY d.number LIMIT ?",
            (last, _REINDEXED_AT_ONCE),
        )
        for number, *row in rows:
            await _write(tx, number, load_user(tuple(row)))
        return rows

    await db.transact(clear)
    while rows := await db.transact(step):
        last = rows[-1][0]


async def drop_document(tx: Tx, tenant: TenantId, user_id: UserId) -> None:
    """Let a user no longer be found. The number stays: a cursor may stand there."""
    number = await _number(tx, tenant, user_id)
    await tx.execute("DELETE FROM user_words WHERE rowid = ?", (number,))


async def _write(tx: Tx, number: int, user: User) -> None:
    own = words(f"{user.email} {user.first_name} {user.last_name}")
    marks = [f"_{user.role.value}", _standing(user.is_active)]
    document = " ".join(f"{user.tenant_id}_{word}" for word in (*marks, *own))
    await tx.execute("INSERT INTO user_words (rowid, words) VALUES (?, ?)", (number, document))


async def _number(tx: Tx, tenant: TenantId, user_id: UserId) -> int | None:
    row = await tx.fetch_one(
        "SELECT number FROM user_documents WHERE tenant_id = ? AND user_id = ?", (tenant, user_id)
    )
    return None if row is None else int(row[0])


def _standing(active: bool) -> str:  # noqa: FBT001  it is a user's own field
    return "_active" if active else "_disabled"
