"""Writing an instance on PostgreSQL into one file, also while it runs: the same file as of a data folder.

Its databases are read as of one moment, for the reason that `cut` gives, and in its way: while a lock
keeps writers of all of them waiting, a snapshot of each is taken, and then the locks are let go.
"""

import asyncio
import math
from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import asyncpg

from mercato import __version__
from mercato.adapters.identity.keys import files_of
from mercato.adapters.sql.postgres_faults import fault_of
from mercato.kernel.clock import utc_now
from mercato.runtime.broker import CONSUMERS
from mercato.runtime.databases import Unusable, url_of
from mercato.runtime.folder import SCHEMAS
from mercato.runtime.instance import databases
from mercato.runtime.instance.cut import NeverStill
from mercato.runtime.instance.export import Lines, Told, Write, key_of
from mercato.runtime.instance.form import FORMAT, End, Header, Table
from mercato.runtime.instance.server import (
    PLACES,
    Connection,
    Described,
    Place,
    connected,
    described,
    places_in,
    tables_at,
)
from mercato.runtime.settings import Settings, variable

_Row = tuple[Any, ...]

STILL_S = 30.0
"""How long it is tried to have all databases still."""
_LOCK_MS = 2_000
"""How long a lock is waited for, and writers with it: longer than a vacuum takes to step aside."""
_PAUSE_S = 0.2
_BATCH = 500
_SYSTEM = "database_system_url"
_OUTBOX = "outbox"
_TAKEN = """
SELECT key, sequence FROM inbox_positions WHERE key = ANY ($1) UNION ALL
SELECT key, count(*) FROM inbox_parked WHERE key = ANY ($1) AND state IN ('failed', 'waiting') GROUP BY key
"""
"""What a service has of some keys' events: those that were handled, and those that are parked."""
_IN_THE_WAY = (asyncpg.LockNotAvailableError, asyncpg.DeadlockDetectedError)


async def write_server_instance(settings: Settings, write: Write, told: Told) -> End:
    """Write all that is in the databases, as of one moment, and the keys; return what was written.

    `write` is given it in order and in pieces. Raises NeverStill, Unportable, Unusable.
    """
    await _check(settings)
    lines = Lines(write)
    async with _snapshots(settings) as snapshots:
        revisions: dict[str, str | None] = {name: schema.head for name, schema in SCHEMAS.items()}
        lines.add(Header(FORMAT, __version__, utc_now(), revisions | dict.fromkeys(databases.BOOKS)))
        keys = [key_of(path) for path in files_of(settings.folder / databases.KEYS)]
        for key in keys:
            lines.add(key)
        rows: dict[str, int] = {}
        for name, place in PLACES.items():
            snapshot = snapshots[place.service]
            there = await tables_at(snapshot, place)
            for table, kind in described(name).items():
                if table in there:
                    counter = await _counter(snapshot, place, table, kind)
                    line = Table(name, table, dict(kind.columns), counter)
                    lines.add(line)
                    kept = _rows(snapshot, place, line)
                    if table == _OUTBOX:
                        kept = _to_be_sent(kept, line, snapshots)
                    rows[line.full_name] = await _write_rows(lines, line, kept, told)
    end = End(rows, len(keys), lines.digest())
    lines.add(end)
    return end


async def _check(settings: Settings) -> None:
    """Refuse databases that cannot be read, or are not of this version's schemas."""
    for name, schema in SCHEMAS.items():
        url = url_of(settings, _SYSTEM, name)
        fault = await fault_of(url, schema, variable(_SYSTEM))
        if fault is not None:
            raise Unusable(fault.sentence)
        async with connected(url) as connection:
            found = await connection.fetchval("SELECT version_num FROM alembic_version")
        if found != schema.head:
            raise Unusable(f"The {name} database is at {found}: use the newer Mercato that wrote it.")


@asynccontextmanager
async def _snapshots(settings: Settings) -> AsyncIterator[dict[str, Connection]]:
    """Open a snapshot of each service's database, all of one moment. Raises NeverStill, Unusable."""
    async with AsyncExitStack() as opened:

        async def all_of() -> dict[str, Connection]:
            return {
                name: await opened.enter_async_context(connected(url_of(settings, _SYSTEM, name)))
                for name in SCHEMAS
            }

        lockers, readers = await all_of(), await all_of()
        statements = {name: await _locking(name, locker) for name, locker in lockers.items()}
        try:
            await _lock(lockers, statements)
            for reader in readers.values():
                # A snapshot begins with the first read.
                await reader.execute(
                    "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SELECT count(*) FROM alembic_version"
                )
        finally:
            for locker in lockers.values():
                locker.terminate()
        yield readers


async def _locking(service: str, connection: Connection) -> str:
    """Return what keeps the writers of a database waiting, and no reader."""
    tables = [
        place.named(table) for place in places_in(service) for table in await tables_at(connection, place)
    ]
    return f"BEGIN; SET LOCAL lock_timeout = {_LOCK_MS}; LOCK TABLE {', '.join(tables)} IN SHARE MODE"


async def _lock(lockers: Mapping[str, Connection], statements: Mapping[str, str]) -> None:
    """Take the locks of all databases at once; or let go of all, and try again. Raises NeverStill."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + STILL_S
    while True:
        taking = (locker.execute(statements[name]) for name, locker in lockers.items())
        outcomes = dict(zip(lockers, await asyncio.gather(*taking, return_exceptions=True), strict=True))
        missing = [name for name, outcome in outcomes.items() if isinstance(outcome, _IN_THE_WAY)]
        for outcome in outcomes.values():
            if isinstance(outcome, BaseException) and not isinstance(outcome, _IN_THE_WAY):
                raise outcome
        if not missing:
            return
        for locker in lockers.values():
            await locker.execute("ROLLBACK")
        if loop.time() > deadline:
            raise NeverStill(f"The database {missing[0]} stays locked by a transaction; nothing was written.")
        await asyncio.sleep(_PAUSE_S)


async def _counter(snapshot: Connection, place: Place, table: str, kind: Described) -> int | None:
    """Return the highest number given, of the tables that never give one twice."""
    if not kind.is_counted:
        return None
    last: int | None = await snapshot.fetchval(
        "SELECT last_value FROM pg_sequences WHERE schemaname = $1 AND sequencename LIKE $2 || '\\_%'",
        place.schema,
        table,
    )
    return last


async def _rows(snapshot: Connection, place: Place, table: Table) -> AsyncIterator[list[_Row]]:
    """Yield a table's rows, some at a time."""
    names = ", ".join(f'"{column}"' for column in table.columns)
    await snapshot.execute(f"DECLARE kept NO SCROLL CURSOR FOR SELECT {names} FROM {place.named(table.name)}")
    while rows := await snapshot.fetch(f"FETCH {_BATCH} FROM kept"):
        yield [tuple(row) for row in rows]
    await snapshot.execute("CLOSE kept")


async def _to_be_sent(
    kept: AsyncIterator[list[_Row]], table: Table, snapshots: Mapping[str, Connection]
) -> AsyncIterator[list[_Row]]:
    """Yield the events of an outbox, of which those are to be sent again that a service has not heard of yet.

    They were in the broker at that moment, which is no part of the file. Whoever knows one drops it.
    """
    key, sequence, sent_at = (list(table.columns).index(name) for name in ("key", "sequence", "sent_at"))
    async for rows in kept:
        heard = await _heard({str(row[key]) for row in rows}, snapshots)
        yield [
            row if row[sequence] <= heard[str(row[key])] else (*row[:sent_at], None, *row[sent_at + 1 :])
            for row in rows
        ]


async def _heard(keys: Collection[str], snapshots: Mapping[str, Connection]) -> dict[str, float]:
    """Return by ordering key up to which number every service that is to hear of its events has them."""
    found: dict[str, float] = dict.fromkeys(keys, math.inf)
    for name, families in CONSUMERS.items():
        own = [key for key in keys if key.split("/", 2)[1] in families]
        if own:
            taken = dict.fromkeys(own, 0)
            for key, count in await snapshots[name].fetch(_TAKEN, own):
                taken[key] += count
            found |= {key: min(found[key], number) for key, number in taken.items()}
    return found


async def _write_rows(lines: Lines, table: Table, kept: AsyncIterator[list[_Row]], told: Told) -> int:
    done = 0
    async for rows in kept:
        lines.add_rows(rows, table)
        done += len(rows)
        told(table.full_name, done, done)
    return done
