"""Search of users by their words, on each engine's own index.

Every index costs by the store's own users alone. Words that begin with an underscore say role and
standing, since no user's own word holds one. Documents are numbered as users come, so the newest have
the highest numbers.
"""

import re
import unicodedata
from collections.abc import Mapping, Sequence
from typing import Protocol

import msgspec

from mercato.adapters.sql.database import Dialect, Row, Transacting, Tx, Value
from mercato.kernel.ids import UserId
from mercato.kernel.principal import Role
from mercato.kernel.tenancy import TenantId
from mercato.users.domain import User
from mercato.users.ports import UserFilter
from mercato.users.stores.user_rows import USER, load_user

_TERM = 64
"""Characters of a word that tell it from others, where the index is a table."""
_DOCUMENTED = ", ".join(f"u.{column}" for column in USER.split(", "))
_REINDEXED_AT_ONCE = 500
_word = re.compile(r"[^\W_]+").findall


class UserIndex(Protocol):
    """An index of the words of users' documents, by number."""

    @property
    def source(self) -> str:
        """What matches are selected from."""
        ...

    @property
    def number(self) -> str:
        """The expression of a match's number."""
        ...

    @property
    def join(self) -> str:
        """The join that keeps the index first."""
        ...

    def matches(self, tenant: TenantId, words: Sequence[str], without: str | None) -> tuple[str, list[Value]]:
        """Return the condition of documents with all of the words, and without that one."""
        ...

    async def put(self, tx: Tx, tenant: TenantId, number: int, words: Sequence[str]) -> None:
        """Index a document."""
        ...

    async def drop(self, tx: Tx, tenant: TenantId, number: int) -> None:
        """Take a document out of the index."""
        ...

    async def clear(self, tx: Tx) -> None:
        """Forget all documents."""
        ...


class FullText:
    """SQLite's full-text index, FTS5: a word is indexed as `store_word`.

    The dash of a store's id and the underscore are characters of a word here.
    """

    source = "user_words"
    number = "user_words.rowid"
    join = "CROSS JOIN"

    def matches(self, tenant: TenantId, words: Sequence[str], without: str | None) -> tuple[str, list[Value]]:
        """Ask the index; within quotes nothing is an operator, and a word holds no quote."""
        found = " AND ".join(f'"{tenant}_{word}"' for word in words)
        query = found if without is None else f'({found}) NOT "{tenant}_{without}"'
        return "user_words MATCH ?", [query]

    async def put(self, tx: Tx, tenant: TenantId, number: int, words: Sequence[str]) -> None:
        """Index a document."""
        document = " ".join(f"{tenant}_{word}" for word in words)
        await tx.execute("INSERT INTO user_words (rowid, words) VALUES (?, ?)", (number, document))

    async def drop(self, tx: Tx, tenant: TenantId, number: int) -> None:  # noqa: ARG002  the number says all
        """Take a document out of the index."""
        await tx.execute("DELETE FROM user_words WHERE rowid = ?", (number,))

    async def clear(self, tx: Tx) -> None:
        """Forget all documents."""
        await tx.execute("DELETE FROM user_words")


class Terms:
    """A table of who has which word: an inverted index that is any engine's.

    Of a very long word its begin counts, since an index's entries are bounded.
    """

    source = "user_terms t"
    number = "t.number"
    join = "JOIN"

    def matches(self, tenant: TenantId, words: Sequence[str], without: str | None) -> tuple[str, list[Value]]:
        """Walk along the longest word, which is the rarest as a rule, and look for the others."""
        first, *others = sorted(_cut(words), key=len, reverse=True)
        where, params = "t.tenant_id = ? AND t.term = ?", list[Value]((tenant, first))
        other = "(SELECT 1 FROM user_terms o WHERE o.tenant_id = ? AND o.term = ? AND o.number = t.number)"
        for word in others:
            where += f" AND EXISTS {other}"
            params += [tenant, word]
        if without is not None:
            where += f" AND NOT EXISTS {other}"
            params += [tenant, without]
        return where, params

    async def put(self, tx: Tx, tenant: TenantId, number: int, words: Sequence[str]) -> None:
        """Index a document."""
        await tx.execute(
            "INSERT INTO user_terms (tenant_id, number, term)"
            " SELECT CAST(? AS TEXT), CAST(? AS BIGINT), term FROM string_to_table(?, ' ') AS term",
            (tenant, number, " ".join(_cut(words))),
        )

    async def drop(self, tx: Tx, tenant: TenantId, number: int) -> None:
        """Take a document out of the index."""
        await tx.execute("DELETE FROM user_terms WHERE tenant_id = ? AND number = ?", (tenant, number))

    async def clear(self, tx: Tx) -> None:
        """Forget all documents."""
        await tx.execute("DELETE FROM user_terms")


def _cut(words: Sequence[str]) -> list[str]:
    return list(dict.fromkeys(word[:_TERM] for word in words))


INDEXES: Mapping[Dialect, UserIndex] = {"sqlite": FullText(), "postgres": Terms()}


class Found(msgspec.Struct, frozen=True):
    """The users that a search finds, as pieces of statements with the condition's parameters."""

    index: UserIndex
    tenant: TenantId
    where: str
    params: list[Value]

    @property
    def source(self) -> str:
        """What rows of users are selected from."""
        # In this order: the index comes first, whatever a planner thinks of the other tables.
        join = self.index.join
        return (
            f"{self.index.source} {join} user_documents d ON d.number = {self.index.number}"
            f" {join} users u ON u.tenant_id = d.tenant_id AND u.id = d.user_id"
        )

    @property
    def count(self) -> str:
        """The statement that counts them."""
        return f"SELECT count(*) FROM {self.index.source} WHERE {self.where}"

    @property
    def newest_first(self) -> str:
        """The order of a page."""
        return f"{self.index.number} DESC"

    def after(self, user_id: str) -> tuple[str, list[Value]]:
        """Return the condition for what follows that user, who may have been deleted, in a page."""
        number = "SELECT number FROM user_documents WHERE tenant_id = ? AND user_id = ?"
        return f"{self.index.number} < ({number})", [self.tenant, user_id]


def words(text: str) -> list[str]:
    """Return the words of a text as they are compared: without case and accents, each once."""
    folded = unicodedata.normalize("NFKD", text.casefold())
    bare = "".join(char for char in folded if not unicodedata.combining(char))
    return list(dict.fromkeys(_word(bare.casefold())))


def found(dialect: Dialect, tenant: TenantId, wanted: UserFilter) -> Found | None:
    """Return what a search finds; None if it holds no word, and so finds nothing."""
    sought = words(wanted.search or "")
    if not sought:
        return None
    if wanted.role is not None:
        sought.append(f"_{wanted.role.value}")
    if wanted.active is not None:
        sought.append(_standing(wanted.active))
    without = None if wanted.operators else f"_{Role.OPERATOR.value}"
    return Found(INDEXES[dialect], tenant, *INDEXES[dialect].matches(tenant, sought, without))


async def write_document(tx: Tx, user: User) -> None:
    """Index a user, or index one anew, in the step that writes the row."""
    number = await _number(tx, user.tenant_id, user.id)
    if number is None:
        row = await tx.fetch_one(
            "INSERT INTO user_documents (tenant_id, user_id) VALUES (?, ?) RETURNING number",
            (user.tenant_id, user.id),
        )
        assert row is not None  # noqa: S101  INSERT … RETURNING has a row
        number = int(row[0])
    else:
        await INDEXES[tx.dialect].drop(tx, user.tenant_id, number)
    await _write(tx, number, user)


async def reindex(db: Transacting) -> None:
    """Write the whole index anew from the users' rows, some at a time."""
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

    await db.transact(INDEXES[db.dialect].clear)
    while rows := await db.transact(step):
        last = rows[-1][0]


async def drop_document(tx: Tx, tenant: TenantId, user_id: UserId) -> None:
    """Let a user no longer be found. The number stays: a cursor may stand there."""
    number = await _number(tx, tenant, user_id)
    if number is not None:
        await INDEXES[tx.dialect].drop(tx, tenant, number)


async def _write(tx: Tx, number: int, user: User) -> None:
    own = words(f"{user.email} {user.first_name} {user.last_name}")
    document = [f"_{user.role.value}", _standing(user.is_active), *own]
    await INDEXES[tx.dialect].put(tx, user.tenant_id, number, document)


async def _number(tx: Tx, tenant: TenantId, user_id: UserId) -> int | None:
    row = await tx.fetch_one(
        "SELECT number FROM user_documents WHERE tenant_id = ? AND user_id = ?", (tenant, user_id)
    )
    return None if row is None else int(row[0])


def _standing(active: bool) -> str:  # noqa: FBT001  it is a user's own field
    return "_active" if active else "_disabled"
