"""Reading for many ids at once, in one statement whose text is the same however many they are.

So it is prepared once. The ids are one parameter, and have the form of ids: nothing in them is to be escaped.
"""

from collections.abc import Iterable, Mapping

from mercato.adapters.sql.database import Database, Dialect, Row, Value

SHALLOW = 1_000
"""Entries of an index that may be walked in the loop."""

_AMONG: Mapping[Dialect, str] = {
    "sqlite": "IN (SELECT value FROM json_each(?))",
    "postgres": "= ANY(string_to_array(?, ','))",
}


def among(dialect: Dialect) -> str:
    """Return the condition, behind a column, that it is one of the ids of a parameter."""
    return _AMONG[dialect]


def joined(dialect: Dialect, ids: Iterable[str]) -> str:
    """Return ids as the parameter for them."""
    return '["' + '","'.join(ids) + '"]' if dialect == "sqlite" else ",".join(ids)


def latest_of_each(dialect: Dialect, table: str, columns: str, where: str, *, limit: str = "?") -> str:
    """Return the statement of the latest rows for each of some ids, in no order.

    `where` compares a column with `wanted.id`, by an index that goes on with `created_at, id`. The
    parameters are the ids, those of `where`, and how many rows of each id are wanted if `limit` does
    not say it.
    """
    latest = f"FROM {table} WHERE {where} ORDER BY created_at DESC, id DESC LIMIT {limit}"
    if dialect == "sqlite":
        # The ids come first, whatever the planner thinks. One row is looked up without making a list of it.
        among_them = "=" if limit == "1" else "IN"
        return (
            f"SELECT {_of('t', columns)} FROM (SELECT value AS id FROM json_each(?)) wanted"
            f" CROSS JOIN {table} t ON t.rowid {among_them} (SELECT rowid {latest})"
        )
    return (
        f"SELECT {_of('t', columns)} FROM unnest(string_to_array(?, ',')) AS wanted(id)"
        f" CROSS JOIN LATERAL (SELECT {columns} {latest}) t"
    )


def _of(table: str, columns: str) -> str:
    return ", ".join(f"{table}.{column}" for column in columns.split(", "))


async def part(db: Database, sql: str, params: tuple[Value, ...], offset: int) -> list[Row]:
    """Return a page along an index: read in the loop, unless it is deep down."""
    return await (db.fetch_all if offset <= SHALLOW else db.search)(sql, params)


async def count(db: Database, source: str, params: tuple[Value, ...]) -> int:
    """Count along an index. In a file that is read in the loop if there are few, apart from it if many."""
    if db.dialect == "sqlite":
        few = await db.fetch_all(f"SELECT count(*) FROM (SELECT 1 FROM {source} LIMIT {SHALLOW})", params)
        if few[0][0] < SHALLOW:
            return int(few[0][0])
    rows = await db.search(f"SELECT count(*) FROM {source}", params)
    return int(rows[0][0])
