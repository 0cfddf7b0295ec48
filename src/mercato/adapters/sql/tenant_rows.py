"""Everything that one database keeps of a store, found by the schema, so that no table is forgotten.

A table belongs to stores if it has a column `tenant_id`, or one named `key` with ordering keys, which
begin with the store. How a schema is read is each engine's own; the rest is any database's.
"""

from dataclasses import dataclass

from mercato.adapters.sql.database import Database, Dialect, Row, Tx, Value
from mercato.kernel.tenancy import TenantId

_SCHEMA: dict[Dialect, str] = {
    "sqlite": (
        "SELECT t.name, c.name, c.pk FROM pragma_table_list t JOIN pragma_table_info(t.name) c"
        " WHERE t.schema = 'main' AND t.type = 'table' AND t.name NOT LIKE 'sqlite_%' ORDER BY t.name, c.pk"
    ),
    "postgres": (
        "SELECT c.relname, a.attname, COALESCE((SELECT k.place FROM unnest(i.indkey) WITH ORDINALITY"
        " AS k (attnum, place) WHERE k.attnum = a.attnum), 0) FROM pg_class c"
        " JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped"
        " LEFT JOIN pg_index i ON i.indrelid = c.oid AND i.indisprimary"
        " WHERE c.relnamespace = current_schema()::regnamespace AND c.relkind = 'r' ORDER BY 1, 3"
    ),
}
"""Selects the columns of all tables, and their places in the primary key, 0 outside of it."""
_SECURE = "PRAGMA secure_delete = ON"
"""What is deleted is overwritten, so that it cannot be read from SQLite's file either."""


@dataclass(frozen=True, slots=True)
class Table:
    """One table, and how its rows are told apart."""

    name: str
    columns: frozenset[str]
    primary_key: tuple[str, ...]

    @property
    def is_keyed(self) -> bool:
        """Whether its rows belong to a store by their ordering key alone."""
        return "tenant_id" not in self.columns and "key" in self.columns

    @property
    def is_scoped(self) -> bool:
        """Whether its rows belong to stores."""
        return "tenant_id" in self.columns or self.is_keyed

    def of(self, tenant: TenantId) -> tuple[str, list[Value]]:
        """Return the condition of a store's rows, and its parameters."""
        if self.is_keyed:
            # An ordering key is `store/family/subject`, and 0 is the character after the slash.
            return "key >= ? AND key < ?", [f"{tenant}/", f"{tenant}0"]
        return "tenant_id = ?", [tenant]


async def tables(db: Database) -> list[Table]:
    """Return the database's tables: those with `tenant_id` first, then those that are keyed, then others.

    The numbers of events go after the events.
    """
    columns: dict[str, list[tuple[str, int]]] = {}
    for table, column, place in await db.search(_SCHEMA[db.dialect]):
        columns.setdefault(table, []).append((column, place))
    found = [
        Table(
            name,
            frozenset(column for column, _ in all_of),
            tuple(column for column, place in all_of if place),
        )
        for name, all_of in columns.items()
    ]
    return sorted(found, key=lambda table: (not table.is_scoped, table.is_keyed, table.name))


async def delete_rows(db: Database, table: Table, tenant: TenantId, batch: int) -> int:
    """Delete a store's rows of a table, some `batch` of them in one step; return how many there were.

    Idempotent, and what was deleted stays so if it is broken off.
    """
    where, params = table.of(tenant)
    key = ", ".join(f'"{column}"' for column in table.primary_key)
    marks = ", ".join("?" * len(table.primary_key))
    last: Row = ()

    async def step(tx: Tx) -> tuple[int, Row]:
        if tx.dialect == "sqlite":
            await tx.execute(_SECURE)
        # It goes on where it was, so a table is gone through once, whatever its indexes are.
        following = f" AND ({key}) > ({marks})" if last else ""
        rows = await tx.fetch_all(
            f'SELECT {key} FROM "{table.name}" WHERE {where}{following} ORDER BY {key} LIMIT ?',
            (*params, *last, batch),
        )
        if not rows:
            return 0, ()
        up_to = f"{following} AND ({key}) <= ({marks})"
        gone = await tx.execute(
            f'DELETE FROM "{table.name}" WHERE {where}{up_to}', (*params, *last, *rows[-1])
        )
        return gone, rows[-1]

    deleted = 0
    while True:
        gone, last = await db.transact(step)
        deleted += gone
        if not last:
            return deleted
