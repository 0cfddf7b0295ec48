"""Filling empty databases on PostgreSQL with an instance, each wholly or not at all."""

import sqlite3
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, closing
from pathlib import Path

import asyncpg

from mercato.adapters.sql.database import Dialect, Step, T
from mercato.adapters.sql.postgres_tx import PostgresTx
from mercato.runtime.databases import Unusable, migrate_on_server, url_of
from mercato.runtime.folder import SCHEMAS
from mercato.runtime.instance import databases
from mercato.runtime.instance.export import Told
from mercato.runtime.instance.server import (
    PLACES,
    Connection,
    Place,
    connected,
    places_in,
    tables_at,
)
from mercato.runtime.settings import Settings

_BATCH = 500
_OWNER = "database_owner_url"
_LOCK_MS = 3_000
_TYPES = {"integer": "bigint", "text": "text", "bytes": "bytea", "number": "double precision"}
_EMPTY = "empty these with `mercato migrate down --service SERVICE --to base`"
_SERIALS = """
SELECT a.attname::text, pg_get_serial_sequence($1, a.attname) FROM pg_attribute a
WHERE a.attrelid = $1::regclass AND a.attnum > 0 AND pg_get_serial_sequence($1, a.attname) IS NOT NULL
"""
_RELAYED = (
    f"SELECT EXISTS (SELECT 1 FROM {databases.LEASE}"
    " WHERE expires_at > extract(epoch FROM clock_timestamp()) * 1000000)"
)


class Filled:
    """The databases of a server, filled and not committed yet."""

    def __init__(self, connections: Mapping[str, Connection]) -> None:
        self._connections = connections

    async def commit(self) -> None:
        """Let it be there, users last: without stores there is nothing for anybody. Raises Unusable."""
        done: list[str] = []
        for service in sorted(self._connections, key=lambda name: name == "users"):
            try:
                await self._connections[service].execute("COMMIT")
            except Exception as error:
                if not done:
                    raise
                raise Unusable(
                    f"PostgreSQL went away when only {', '.join(done)} had their data; {_EMPTY}, and import"
                    " again."
                ) from error
            done.append(service)


@asynccontextmanager
async def filled(settings: Settings, folder: Path, told: Told) -> AsyncIterator[Filled]:
    """Fill a server's databases with those of a folder, at the same schemas; yields what commits that.

    They are made and migrated if need be. Whatever goes wrong before, they are as they were. Raises
    Unusable, WrongSetting, Unavailable.
    """
    for service in SCHEMAS:
        await migrate_on_server(settings, service, "upgrade", "head")
    async with AsyncExitStack() as opened:
        connections: dict[str, Connection] = {}
        holding: dict[str, list[str]] = {}
        for service in SCHEMAS:
            owner = await opened.enter_async_context(connected(url_of(settings, _OWNER, service)))
            if found := await _take(service, owner):
                holding[service] = found
            connections[service] = owner
        if holding:
            raise Unusable(_occupied(holding))
        for name, path in databases.found_in(folder).items():
            place = PLACES[name]
            await _fill(path, connections[place.service], place, told)
        for service, reindex in databases.REINDEX.items():
            await reindex(_Within(connections[service]))
        yield Filled(connections)


async def _take(service: str, connection: Connection) -> list[str]:
    """Have a database to oneself; return the tables that hold something. Raises Unusable if it is in use."""
    if await connection.fetchval(_RELAYED):
        raise Unusable(f"A Mercato runs on the {service} database: stop it, and import again.")
    there = [(place, table) for place in places_in(service) for table in await tables_at(connection, place)]
    names = [place.named(table) for place, table in there]
    await connection.execute(f"BEGIN; SET LOCAL lock_timeout = {_LOCK_MS}")
    try:
        await connection.execute(f"LOCK TABLE {', '.join(names)} IN EXCLUSIVE MODE")
    except (asyncpg.LockNotAvailableError, asyncpg.DeadlockDetectedError):
        raise Unusable(f"Somebody is at work on the {service} database: stop it, and import again.") from None
    return [
        table
        for (_, table), name in zip(there, names, strict=True)
        if await connection.fetchval(f"SELECT EXISTS (SELECT 1 FROM {name})")
    ]


def _occupied(holding: Mapping[str, Sequence[str]]) -> str:
    some = ", ".join(f"{service}.{tables[0]}" for service, tables in holding.items())
    return f"The databases hold data already ({some}); where that may go, {_EMPTY}, and import again."


async def _fill(path: Path, connection: Connection, place: Place, told: Told) -> None:
    with closing(sqlite3.connect(path)) as source:
        there = await tables_at(connection, place)
        counters = _counters(source)
        for table in databases.tables(source):
            if table in there:
                await _copy(source, table, connection, place, told)
                await _count_on(connection, place.named(table), counters.get(table, 0))


def _counters(source: sqlite3.Connection) -> dict[str, int]:
    if source.execute("SELECT 1 FROM sqlite_master WHERE name = 'sqlite_sequence'").fetchone() is None:
        return {}
    return dict(source.execute("SELECT name, seq FROM sqlite_sequence"))


async def _copy(
    source: sqlite3.Connection, table: str, connection: Connection, place: Place, told: Told
) -> None:
    kinds = databases.columns(source, table)
    names = ", ".join(f'"{column}"' for column in kinds)
    arrays = ", ".join(f"${number}::{_TYPES[kind]}[]" for number, kind in enumerate(kinds.values(), 1))
    insert = f"INSERT INTO {place.named(table)} ({names}) SELECT * FROM unnest({arrays})"
    (total,) = source.execute(f'SELECT count(*) FROM "{table}"').fetchone()
    cursor, done = source.execute(f'SELECT {names} FROM "{table}"'), 0
    while rows := cursor.fetchmany(_BATCH):
        try:
            await connection.execute(insert, *zip(*rows, strict=True))
        except (asyncpg.DataError, asyncpg.IntegrityConstraintViolationError) as error:
            told_by = " ".join(str(error).split()).rstrip(".")
            raise Unusable(
                f"PostgreSQL refuses one of rows {done + 1} to {done + len(rows)} of {place.service}.{table}:"
                f" {told_by}."
            ) from None
        done += len(rows)
        told(f"{place.service}.{table}", done, total)


async def _count_on(connection: Connection, table: str, counter: int) -> None:
    """Let no number of the table's rows be given again."""
    for column, sequence in await connection.fetch(_SERIALS, table):
        most = await connection.fetchval(f'SELECT max("{column}") FROM {table}')
        last = max(most or 0, counter)
        if last:
            await connection.execute("SELECT setval($1::regclass, $2)", sequence, last)


class _Within:
    """The owner's one transaction, to write the full-text index in: see Transacting."""

    dialect: Dialect = "postgres"

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def transact(self, step: Step[T], *, patient: bool = True) -> T:  # noqa: ARG002  nobody is in the way
        """Run a step, which is durable with all the others."""
        # A pool's connection, or one's own: it speaks the same.
        tx = PostgresTx(self._connection, begun=True, one_by_one=True)  # type: ignore[arg-type]
        return await step(tx)
