"""An instance on PostgreSQL, as its file tells it: by the tables and columns that both engines have."""

import sqlite3
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, closing
from typing import TYPE_CHECKING, NamedTuple

import asyncpg

from mercato.adapters.sql.postgres_faults import ERRORS, server_of
from mercato.payments.providers import sandbox
from mercato.runtime.databases import Unusable
from mercato.runtime.folder import SCHEMAS
from mercato.runtime.instance import databases

if TYPE_CHECKING:  # it is generic to type checkers alone
    Connection = asyncpg.Connection[asyncpg.Record]
else:
    Connection = asyncpg.Connection

CONNECT_S = 10.0
DEADLINE_S = 60.0
"""How long one statement may take."""
_LOST = (asyncpg.PostgresError, asyncpg.InterfaceError, ConnectionError, TimeoutError)
"""What the driver raises of a connection that was there: other errors of the system are of files."""
_OURS_ALONE = frozenset({"alembic_version", databases.LEASE})
"""Tables of the database itself, and of the processes at work on it."""
_TABLES = "SELECT tablename::text FROM pg_tables WHERE schemaname = $1 ORDER BY tablename"


class Place(NamedTuple):
    """Where a database of an instance is: in which service's database, and in which schema."""

    service: str
    schema: str

    def named(self, table: str) -> str:
        """Return a table's name in a statement. Names are our own."""
        return f'"{self.schema}"."{table}"'


PLACES: Mapping[str, Place] = {
    **{name: Place(name, "public") for name in SCHEMAS},
    "sandbox": Place("payments", "sandbox"),
}


@asynccontextmanager
async def connected(url: str) -> AsyncIterator[Connection]:
    """Connect for a while, by whatever pooler. What is not committed in the end is not done.

    Raises Unusable for whatever the driver raises.
    """
    try:
        connection = await asyncpg.connect(
            url, timeout=CONNECT_S, command_timeout=DEADLINE_S, statement_cache_size=0
        )
    except ERRORS as error:
        raise _unusable(url, error) from error
    try:
        yield connection
    except _LOST as error:
        raise _unusable(url, error) from error
    finally:
        connection.terminate()


def _unusable(url: str, error: Exception) -> Unusable:
    cause = " ".join(str(error).split()) or type(error).__name__
    return Unusable(f"{server_of(url)} cannot be used: {cause.rstrip('.')}.")


async def tables_at(connection: Connection, place: Place) -> list[str]:
    """Return the tables there that hold rows of the instance, or what is derived from them."""
    found = [name for (name,) in await connection.fetch(_TABLES, place.schema)]
    return [name for name in found if name not in _OURS_ALONE]


def places_in(service: str) -> Iterator[Place]:
    """Yield the places in a service's database."""
    yield from (place for place in PLACES.values() if place.service == service)


class Described(NamedTuple):
    """A table as both engines have it."""

    columns: Mapping[str, str]
    """The kind of each column, in order."""
    is_counted: bool
    """Whether a number is never given twice."""


def described(name: str) -> dict[str, Described]:
    """Return the tables of a database of an instance, as the newest schema has them."""
    schema = sandbox.SCHEMA if name in databases.BOOKS else SCHEMAS[name].snapshot()
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.executescript(schema)
        counted = "SELECT name FROM sqlite_master WHERE sql LIKE '%AUTOINCREMENT%'"
        found = {table for (table,) in connection.execute(counted)}
        return {
            table: Described(databases.columns(connection, table), table in found)
            for table in databases.tables(connection)
        }
