"""Finding products by words: SQLite's full-text index. All of it that is SQLite's own is here.

The index holds words of a store as `store·word`, so a search costs by the products of its own
store alone, and `store··digest` for the category, so that both are found together. Its rows are
the products' positions, so it yields matches in the order in which products were made.
"""

import hashlib
import unicodedata
from collections.abc import Sequence

from mercato.adapters.sql.database import Database, Row, Tx
from mercato.kernel.tenancy import TenantId

NAME_KEY = 100
"""Characters of a name that a list is sorted by."""
_WORD = 64
"""Characters of a word that tell it from others."""
_DOT = "\N{MIDDLE DOT}"
# No letter or digit, but part of a word to the index, to which all is that is not ASCII.

_REINDEXED_AT_ONCE = 500

INDEX = "product_words"
MATCHES = f"{INDEX} MATCH ?"


def name_key(name: str) -> str:
    """Return what a name is sorted by: without case and accents."""
    return _plain(name)[:NAME_KEY]


def words_of(*texts: str | None) -> tuple[str, ...]:
    """Return the words of the texts, each once, without case and accents."""
    plain = _plain(" ".join(text for text in texts if text))
    spaced = "".join(each if each.isalnum() else " " for each in plain)
    return tuple(dict.fromkeys(word[:_WORD] for word in spaced.split()))


def as_text(words: Sequence[str]) -> str:
    """Return the words as the product's row has them: each between spaces."""
    return f" {' '.join(words)} "


def pattern(word: str) -> str:
    """Return the LIKE pattern of rows with this word; it has no character that means something there."""
    return f"% {word} %"


def query(tenant: TenantId, words: Sequence[str], category: str | None) -> str:
    """Return the index's query for products with all of these words, and of the category if given."""
    # What is quoted is a word, whatever it looks like.
    return " AND ".join(f'"{token}"' for token in _tokens(tenant, words, category))


async def put(tx: Tx, tenant: TenantId, position: int, text: str, category: str | None) -> None:
    """Index a product by the words of its row."""
    await tx.execute(
        f"INSERT INTO {INDEX} (rowid, words) VALUES (?, ?)", (position, _indexed(tenant, text, category))
    )


async def drop(tx: Tx, tenant: TenantId, position: int, text: str, category: str | None) -> None:
    """Take a product out of the index, given exactly what it was put in with."""
    # The index keeps no texts, and must be told which words to forget.
    await tx.execute(
        f"INSERT INTO {INDEX} ({INDEX}, rowid, words) VALUES ('delete', ?, ?)",
        (position, _indexed(tenant, text, category)),
    )


async def reindex(db: Database) -> None:
    """Write the whole index anew from the products' rows, some at a time."""

    async def clear(tx: Tx) -> None:
        await tx.execute(f"INSERT INTO {INDEX} ({INDEX}) VALUES ('delete-all')")

    last = -1

    async def step(tx: Tx) -> list[Row]:
        rows = await tx.fetch_all(
            "SELECT position, tenant_id, words, category FROM products WHERE position > ? AND shelf > 0"
            " ORDER BY position LIMIT ?",
            (last, _REINDEXED_AT_ONCE),
        )
        for position, tenant, text, category in rows:
            await put(tx, TenantId(tenant), position, text, category)
        return rows

    await db.transact(clear)
    while rows := await db.transact(step):
        last = rows[-1][0]


def _indexed(tenant: TenantId, text: str, category: str | None) -> str:
    return " ".join(_tokens(tenant, text.split(), category))


def _tokens(tenant: TenantId, words: Sequence[str], category: str | None) -> list[str]:
    prefix = tenant.replace("-", _DOT) + _DOT
    tokens = [prefix + word for word in words]
    if category is not None:
        digest = hashlib.blake2b(category.encode(), digest_size=8).hexdigest()
        tokens.append(f"{prefix}{_DOT}{digest}")
    return tokens


def _plain(text: str) -> str:
    folded = unicodedata.normalize("NFKD", text).casefold()
    return "".join(each for each in folded if not unicodedata.combining(each))
