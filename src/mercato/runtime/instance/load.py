"""Making databases of an instance's file. Only tables and columns that this version knows are written."""

import os
import sqlite3
from collections.abc import Iterable, Mapping
from contextlib import ExitStack, closing
from datetime import UTC
from pathlib import Path

import msgspec

from mercato.adapters.identity.keys import is_key_name
from mercato.adapters.sql.sqlite import SqliteDatabase
from mercato.runtime.folder import database_path
from mercato.runtime.instance import databases
from mercato.runtime.instance.form import MAX_KEY, UNREADABLE, Header, Key, Table
from mercato.runtime.instance.reading import Reading

_BATCH = 500
_TYPES = {
    "integer": int | None,
    "text": str | None,
    "bytes": bytes | None,
    "number": int | float | None,
}


def load(reading: Reading, folder: Path) -> Header:
    """Fill a folder that nobody else sees with what a file holds; return the file's header.

    Databases come at the revision they were exported at. Raises BadExport, sqlite3.Error.
    """
    header = reading.header()
    rows: dict[str, int] = {}
    keys = 0
    with ExitStack() as opened:
        filled = {
            name: opened.enter_context(closing(_opened(databases.make(folder, name, revision))))
            for name, revision in header.databases.items()
        }
        table: _Filling | None = None
        for part in reading.parts():
            if isinstance(part, bytes):
                if table is None:
                    raise reading.bad("there is a row before the first table")
                table.add(part)
                continue
            if table is not None:
                rows[table.name] = table.finish()
                table = None
            if isinstance(part, Key):
                _write_key(folder, part, reading)
                keys += 1
            else:
                table = _filling(part, filled, rows, reading)
        if table is not None:
            rows[table.name] = table.finish()
        for database in filled.values():
            database.execute("COMMIT")
    if (rows, keys) != (reading.end.rows, reading.end.keys):
        raise reading.bad("it counts other rows than there were")
    return header


async def complete(folder: Path, header: Header) -> None:
    """Bring what was loaded to this version, and write anew what is derived from it."""
    for name in header.databases:
        databases.bring_to_head(folder, name)
    for name, reindex in databases.REINDEX.items():
        if name in header.databases:
            database = SqliteDatabase(database_path(folder, name))
            try:
                await reindex(database)
            finally:
                await database.close()


def _opened(path: Path) -> sqlite3.Connection:
    """Open a database that is thrown away if anything goes wrong: it is put on disk in the end."""
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA synchronous = OFF")
    connection.execute("PRAGMA temp_store = MEMORY")
    connection.execute("BEGIN IMMEDIATE")
    return connection


def _write_key(folder: Path, key: Key, reading: Reading) -> None:
    if not is_key_name(key.name):
        raise reading.bad("it is a key's file by a name that no key has")
    if len(key.content) > MAX_KEY:
        raise reading.bad("it is longer than a key's file is")
    keys = folder / databases.KEYS
    keys.mkdir(mode=0o700, exist_ok=True)
    path = keys / key.name
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        raise reading.bad(f"the key {key.name} is there twice") from None
    with open(descriptor, "wb") as file:  # noqa: PTH123  it is open already
        file.write(key.content)
    # When it was made says whether others have had the time to read it.
    try:
        moment = key.modified_at.astimezone(UTC).timestamp()
        os.utime(path, (moment, moment))
    except (ValueError, OverflowError):
        raise reading.bad(f"the key {key.name} was changed at no time that a file has") from None


def _filling(
    table: Table, filled: Mapping[str, sqlite3.Connection], done: Mapping[str, int], reading: Reading
) -> "_Filling":
    """Return what fills a table. Raises BadExport for one that is not known, or was there already."""
    database = filled.get(table.database)
    if database is None:
        raise reading.bad(f"the database {table.database!r} is not one that the file begins with")
    if table.name not in databases.tables(database):
        raise reading.bad(f"this version knows no table {table.name!r} in {table.database}")
    if table.full_name in done:
        raise reading.bad(f"the table {table.full_name} is there twice")
    known = databases.columns(database, table.name)
    unknown = [column for column in table.columns if column not in known]
    if unknown:
        raise reading.bad(f"this version knows no column {unknown[0]!r} in {table.full_name}")
    if not table.columns:
        raise reading.bad(f"the table {table.full_name} has no columns")
    return _Filling(table, database, known, reading)


class _Filling:
    """One table, being filled."""

    def __init__(
        self, table: Table, database: sqlite3.Connection, known: Mapping[str, str], reading: Reading
    ) -> None:
        self.name = table.full_name
        self._table = table
        self._database = database
        self._reading = reading
        # Every name was found in the database: nothing of the file becomes part of a statement.
        names = ", ".join(f'"{column}"' for column in table.columns)
        marks = ", ".join("?" * len(table.columns))
        self._insert = f'INSERT INTO "{table.name}" ({names}) VALUES ({marks})'
        types = tuple(_TYPES[known[column]] for column in table.columns)
        self._decoder: msgspec.json.Decoder[tuple[object, ...]] = msgspec.json.Decoder(tuple[types])  # type: ignore[valid-type]
        self._waiting: list[tuple[object, ...]] = []
        self._count = 0

    def add(self, row: bytes) -> None:
        """Add a row."""
        try:
            self._waiting.append(self._decoder.decode(row))
        except UNREADABLE as error:
            raise self._reading.bad(f"in {self.name}: {error}") from None
        if len(self._waiting) == _BATCH:
            self._write(self._waiting)

    def finish(self) -> int:
        """Write what waits; return how many rows there were."""
        self._write(self._waiting)
        if self._table.counter is not None:
            number, name = self._table.counter, self._table.name
            # The row of the counter is there once the table has had one.
            changed = self._database.execute(
                "UPDATE sqlite_sequence SET seq = ? WHERE name = ?", (number, name)
            )
            if changed.rowcount == 0:
                self._database.execute(
                    "INSERT INTO sqlite_sequence (name, seq) VALUES (?, ?)", (name, number)
                )
        return self._count

    def _write(self, rows: Iterable[tuple[object, ...]]) -> None:
        try:
            self._database.executemany(self._insert, rows)
        except (sqlite3.IntegrityError, OverflowError, UnicodeEncodeError) as error:
            raise self._reading.bad(f"{self.name} refuses a row of the last {_BATCH}: {error}") from None
        self._count += len(self._waiting)
        self._waiting.clear()
