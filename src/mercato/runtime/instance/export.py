"""Writing an instance into one file, also while it runs."""

import hashlib
import sqlite3
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from mercato import __version__
from mercato.adapters.identity.keys import files_of
from mercato.kernel.clock import utc_now
from mercato.runtime.instance import databases
from mercato.runtime.instance.cut import cut
from mercato.runtime.instance.form import FORMAT, MAX_LINE, End, Header, Key, Line, Table

_BATCH = 500
_KINDS: dict[str, tuple[type, ...]] = {
    "integer": (int,),
    "text": (str,),
    "bytes": (bytes,),
    "number": (int, float),
}

Write = Callable[[bytes], object]

Told = Callable[[str, int, int], None]
"""Is told a table, how many of its rows are done, and how many there are."""


class Unportable(Exception):
    """A value cannot be told in the file; the message says which, in a sentence."""


def write_instance(folder: Path, write: Write, told: Told) -> End:
    """Write all that is in a data folder, as of one moment; return what was written.

    `write` is given it in order and in pieces. Raises NeverStill, NotADatabase, Unportable.
    """
    paths = databases.found_in(folder)
    lines = Lines(write)
    with cut(paths) as snapshots:
        revisions = {name: databases.revision_of(each) for name, each in snapshots.items()}
        lines.add(Header(FORMAT, __version__, utc_now(), revisions))
        keys = [key_of(path) for path in files_of(folder / databases.KEYS)]
        for key in keys:
            lines.add(key)
        rows: dict[str, int] = {}
        for name, snapshot in snapshots.items():
            for table in _tables(name, snapshot):
                lines.add(table)
                rows[table.full_name] = _write_rows(lines, snapshot, table, told)
    end = End(rows, len(keys), lines.digest())
    lines.add(end)
    return end


class Lines:
    """Writes a file's lines, and digests them."""

    def __init__(self, write: Write) -> None:
        self._out = write
        self._digest = hashlib.sha256()
        self._encoder = msgspec.json.Encoder()

    def add(self, line: Line) -> None:
        """Write an object."""
        self._write(self._encoder.encode(line) + b"\n")

    def add_rows(self, rows: list[tuple[object, ...]], table: Table) -> None:
        """Write a table's rows."""
        encoded = self._encoder.encode_lines(rows)
        if len(encoded) > MAX_LINE and max(map(len, encoded.splitlines())) > MAX_LINE:
            raise Unportable(f"{table.full_name} has a row of more than {MAX_LINE} bytes.")
        self._write(encoded)

    def digest(self) -> str:
        """Return the digest of what has been written."""
        return self._digest.hexdigest()

    def _write(self, data: bytes) -> None:
        self._digest.update(data)
        self._out(data)


def key_of(path: Path) -> Key:
    """Return the line of a key's file."""
    changed = datetime.fromtimestamp(path.stat().st_mtime, UTC)
    return Key(path.name, changed, path.read_bytes())


def _tables(name: str, snapshot: sqlite3.Connection) -> Iterator[Table]:
    counters = _counters(snapshot)
    for table in databases.tables(snapshot):
        yield Table(name, table, databases.columns(snapshot, table), counters.get(table))


def _counters(snapshot: sqlite3.Connection) -> dict[str, int]:
    """Return the highest number given, of the tables that never give one twice."""
    if snapshot.execute("SELECT 1 FROM sqlite_master WHERE name = 'sqlite_sequence'").fetchone() is None:
        return {}
    return dict(snapshot.execute("SELECT name, seq FROM sqlite_sequence"))


def _write_rows(lines: Lines, snapshot: sqlite3.Connection, table: Table, told: Told) -> int:
    (total,) = snapshot.execute(f'SELECT count(*) FROM "{table.name}"').fetchone()
    names = ", ".join(f'"{column}"' for column in table.columns)
    cursor = snapshot.execute(f'SELECT {names} FROM "{table.name}"')
    known: set[tuple[type, ...]] = set()
    done = 0
    while rows := cursor.fetchmany(_BATCH):
        _check(rows, table, known)
        lines.add_rows(rows, table)
        done += len(rows)
        told(table.full_name, done, total)
    return done


def _check(rows: Iterable[tuple[object, ...]], table: Table, known: set[tuple[type, ...]]) -> None:
    """Refuse what an import would: a database lets a column hold what it is not declared for."""
    for row in rows:
        types = tuple(map(type, row))
        if types in known:
            continue
        for value, (column, kind) in zip(row, table.columns.items(), strict=True):
            if value is not None and not isinstance(value, _KINDS[kind]):
                found = type(value).__name__
                raise Unportable(f"{table.full_name} holds {found} in the column {column}, which is {kind}.")
        known.add(types)
