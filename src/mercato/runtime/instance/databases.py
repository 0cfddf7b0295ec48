"""The databases of an instance, and what they are made of: found in the folder, not listed by hand."""

import re
import sqlite3
from collections.abc import Awaitable, Callable, Mapping
from contextlib import closing
from pathlib import Path

from mercato.adapters.sql.database import Transacting
from mercato.adapters.sql.schema import BASE, SchemaTooNew, prepare, upgrade
from mercato.payments.providers import sandbox
from mercato.products.stores import word_index
from mercato.runtime.folder import SCHEMAS, database_path
from mercato.runtime.instance.form import BadExport, is_kept, kind_of
from mercato.users.stores import search

BOOKS: Mapping[str, Callable[[Path], None]] = {"sandbox": sandbox.make_book}
"""Databases that are no service's, and what makes each."""
REINDEX: Mapping[str, Callable[[Transacting], Awaitable[None]]] = {
    "users": search.reindex,
    "products": word_index.reindex,
}
"""What writes a service's full-text index anew from its rows."""
KEYS = "keys"
LEASE = "relay_lease"
"""The table that tells which process relays, and nothing of the instance."""
_STATELESS = re.compile(r".+\.lock|.+\.db-(wal|shm|journal)").fullmatch

_TABLES = "SELECT name FROM pragma_table_list WHERE schema = 'main' AND type = 'table' ORDER BY name"
_COLUMNS = "SELECT name, type FROM pragma_table_info(?) ORDER BY cid"


def found_in(folder: Path) -> dict[str, Path]:
    """Return the databases that a folder holds, by name, in the order in which they are locked."""
    names = (*SCHEMAS, *BOOKS)
    return {name: path for name in names if (path := database_path(folder, name)).exists()}


def strangers_in(folder: Path) -> list[str]:
    """Return the names of what is in a folder and is not part of an instance."""
    own = {database_path(folder, name).name for name in (*SCHEMAS, *BOOKS)} | {KEYS}
    return sorted(
        each.name for each in folder.iterdir() if each.name not in own and not _STATELESS(each.name)
    )


def revision_of(connection: sqlite3.Connection) -> str | None:
    """Return a database's revision, None for one that has none."""
    try:
        row = connection.execute("SELECT version_num FROM alembic_version").fetchone()
    except sqlite3.OperationalError:
        return None
    return BASE if row is None else str(row[0])


def make(folder: Path, name: str, revision: str | None) -> Path:
    """Make an empty database as it was at that revision. Raises BadExport."""
    path = database_path(folder, name)
    if name in BOOKS:
        BOOKS[name](path)
        return path
    schema = SCHEMAS.get(name)
    if schema is None:
        raise BadExport(f"It holds a database {name!r}, which this version does not know.")
    if revision == schema.head:
        prepare(path, schema)
    elif revision is not None and revision.startswith(f"{name}_"):
        try:
            upgrade(path, schema, revision)
        except SchemaTooNew:
            raise BadExport(
                f"It holds the database {name} at {revision!r}, which this version does not know."
            ) from None
    elif revision not in {None, BASE}:
        raise BadExport(f"It holds the database {name} at {revision!r}, which is no revision of it.")
    return path


def tables(connection: sqlite3.Connection) -> list[str]:
    """Return the tables whose rows an instance is made of."""
    return [name for (name,) in connection.execute(_TABLES) if is_kept(name)]


def columns(connection: sqlite3.Connection, table: str) -> dict[str, str]:
    """Return a table's columns in order, each with its kind; none if it is not there."""
    return {name: kind_of(declared) for name, declared in connection.execute(_COLUMNS, (table,))}


def bring_to_head(folder: Path, name: str) -> None:
    """Migrate a service's database, which may be of an older version."""
    if name in SCHEMAS:
        prepare(database_path(folder, name), SCHEMAS[name])


def virtual_tables(path: Path) -> list[str]:
    """Return the tables that are derived from others."""
    with closing(sqlite3.connect(path)) as connection:
        rows = connection.execute("SELECT name FROM pragma_table_list WHERE type = 'virtual'").fetchall()
    return [name for (name,) in rows]
