"""Finding products by words, on each engine's own index.

Either yields the positions of matches in the order in which products were made, and costs by the
products of the store alone. A category is one more word, so that both are found together.
"""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Protocol

from mercato.adapters.sql.database import Dialect, Row, Transacting, Tx, Value
from mercato.kernel.tenancy import TenantId

_DOT = "\N{MIDDLE DOT}"
# No letter or digit, but part of a word to SQLite's index, to which all is that is not ASCII.

_REINDEXED_AT_ONCE = 500


class WordIndex(Protocol):
    """An index of the words of products. `text` is what a product's row has, words between spaces."""

    @property
    def position(self) -> str:
        """The expression of a match's position."""
        ...

    def matches(
        self, tenant: TenantId, words: Sequence[str], category: str | None
    ) -> tuple[str, tuple[Value, ...]]:
        """Return the FROM and WHERE of products with all of the words, and of the category if given."""
        ...

    async def put(self, tx: Tx, tenant: TenantId, position: int, text: str, category: str | None) -> None:
        """Index a product by the words of its row."""
        ...

    async def drop(self, tx: Tx, tenant: TenantId, position: int, text: str, category: str | None) -> None:
        """Take a product out of the index, given exactly what it was put in with."""
        ...

    async def clear(self, tx: Tx) -> None:
        """Forget all products."""
        ...


class FullText:
    """SQLite's full-text index. A word of a store is `store·word`, its categories `store··digest`."""

    position = "product_words.rowid"

    def matches(
        self, tenant: TenantId, words: Sequence[str], category: str | None
    ) -> tuple[str, tuple[Value, ...]]:
        """Ask the index; what is quoted is a word, whatever it looks like."""
        query = " AND ".join(f'"{token}"' for token in _tokens(tenant, words, category))
        return " FROM product_words WHERE product_words MATCH ?", (query,)

    async def put(self, tx: Tx, tenant: TenantId, position: int, text: str, category: str | None) -> None:
        """Index a product by the words of its row."""
        await tx.execute(
            "INSERT INTO product_words (rowid, words) VALUES (?, ?)",
            (position, " ".join(_tokens(tenant, text.split(), category))),
        )

    async def drop(self, tx: Tx, tenant: TenantId, position: int, text: str, category: str | None) -> None:
        """Take a product out of the index, which keeps no texts and must be told what to forget."""
        await tx.execute(
            "INSERT INTO product_words (product_words, rowid, words) VALUES ('delete', ?, ?)",
            (position, " ".join(_tokens(tenant, text.split(), category))),
        )

    async def clear(self, tx: Tx) -> None:
        """Forget all products."""
        await tx.execute("INSERT INTO product_words (product_words) VALUES ('delete-all')")


class Terms:
    """A table of who has which word: an inverted index that is any engine's.

    PostgreSQL's own full-text index yields no order, so the first of a million matches would cost
    as much as all of them.
    """

    position = "t.position"

    def matches(
        self, tenant: TenantId, words: Sequence[str], category: str | None
    ) -> tuple[str, tuple[Value, ...]]:
        """Walk along the longest word, which is the rarest as a rule, and look for the others."""
        first, *others = sorted(_terms(words, category), key=len, reverse=True)
        where = " FROM product_terms t WHERE t.tenant_id = ? AND t.term = ?"
        params: list[Value] = [tenant, first]
        for other in others:
            where += (
                " AND EXISTS (SELECT 1 FROM product_terms o"
                " WHERE o.tenant_id = ? AND o.term = ? AND o.position = t.position)"
            )
            params += [tenant, other]
        return where, tuple(params)

    async def put(self, tx: Tx, tenant: TenantId, position: int, text: str, category: str | None) -> None:
        """Index a product by the words of its row."""
        await tx.execute(
            "INSERT INTO product_terms (tenant_id, term, position)"
            " SELECT CAST(? AS TEXT), term, CAST(? AS BIGINT) FROM string_to_table(?, ' ') AS term",
            (tenant, position, " ".join(_terms(text.split(), category))),
        )

    async def drop(self, tx: Tx, tenant: TenantId, position: int, text: str, category: str | None) -> None:
        """Take a product out of the index."""
        await tx.execute(
            "DELETE FROM product_terms WHERE tenant_id = ? AND position = ?"
            " AND term = ANY (string_to_array(?, ' '))",
            (tenant, position, " ".join(_terms(text.split(), category))),
        )

    async def clear(self, tx: Tx) -> None:
        """Forget all products."""
        await tx.execute("DELETE FROM product_terms")


INDEXES: Mapping[Dialect, WordIndex] = {"sqlite": FullText(), "postgres": Terms()}


async def reindex(db: Transacting) -> None:
    """Write the whole index anew from the products' rows, some at a time."""
    index = INDEXES[db.dialect]
    last = -1

    async def step(tx: Tx) -> list[Row]:
        rows = await tx.fetch_all(
            "SELECT position, tenant_id, words, category FROM products WHERE position > ? AND shelf > 0"
            " ORDER BY position LIMIT ?",
            (last, _REINDEXED_AT_ONCE),
        )
        for position, tenant, text, category in rows:
            await index.put(tx, TenantId(tenant), position, text, category)
        return rows

    await db.transact(index.clear)
    while rows := await db.transact(step):
        last = rows[-1][0]


def _tokens(tenant: TenantId, words: Sequence[str], category: str | None) -> list[str]:
    prefix = tenant.replace("-", _DOT) + _DOT
    return [prefix + term for term in _terms(words, category)]


def _terms(words: Sequence[str], category: str | None) -> list[str]:
    """Return the words, and one that stands for the category: no word of a product begins like it."""
    if category is None:
        return list(words)
    digest = hashlib.blake2b(category.encode(), digest_size=8).hexdigest()
    return [*words, f"{_DOT}{digest}"]
