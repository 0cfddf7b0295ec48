"""One moment of all databases, read at leisure while the platform goes on.

Each service has a database of its own and events connect them: read at different moments, they would
lose or double some. So the write locks of all are held for as long as it takes to open a snapshot of
each, which is milliseconds. What is read then is what a crash at that moment would have left.
"""

import sqlite3
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

from mercato.adapters.sql.schema import NotADatabase
from mercato.adapters.sql.sqlite import connect

DEADLINE_S = 30.0
HOLD_S = 1.0
"""How long locks are held while others are still missing. A platform waits longer than that for its own."""
_PAUSE_S = 0.0005


class NeverStill(Exception):
    """The databases could not be locked all at once; the message is a sentence."""


@contextmanager
def cut(
    paths: Mapping[str, Path], *, deadline_s: float = DEADLINE_S
) -> Iterator[dict[str, sqlite3.Connection]]:
    """Open a snapshot of each database, all of one moment. Raises NeverStill, NotADatabase.

    Writers wait while it is opened and no longer.
    """
    with ExitStack() as opened:

        def all_of(*, writer: bool) -> dict[str, sqlite3.Connection]:
            return {
                name: opened.enter_context(closing(_connected(path, writer=writer)))
                for name, path in paths.items()
            }

        lockers, readers = all_of(writer=True), all_of(writer=False)
        _lock(lockers, time.monotonic() + deadline_s)
        try:
            for reader in readers.values():
                reader.execute("BEGIN")
                # A snapshot begins with the first read.
                reader.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchall()
        finally:
            _release(lockers.values())
        yield readers


def _connected(path: Path, *, writer: bool) -> sqlite3.Connection:
    try:
        return connect(path, writer=writer)
    except sqlite3.DatabaseError as error:
        raise NotADatabase(f"{path} cannot be read as a database: {error}.") from error


def _lock(databases: Mapping[str, sqlite3.Connection], deadline: float) -> None:
    """Take every write lock, in order; begin anew rather than keep some for long."""
    while True:
        missing = _lock_within(databases, min(deadline, time.monotonic() + HOLD_S))
        if missing is None:
            return
        if time.monotonic() > deadline:
            raise NeverStill(f"The database {missing} stays locked by another process; nothing was written.")
        time.sleep(HOLD_S / 10)


def _lock_within(databases: Mapping[str, sqlite3.Connection], until: float) -> str | None:
    """Take every write lock until then; or release all, and return which one was missing."""
    held: list[sqlite3.Connection] = []
    for name, database in databases.items():
        while not _is_taken(database):
            if time.monotonic() > until:
                _release(held)
                return name
            time.sleep(_PAUSE_S)
        held.append(database)
    return None


def _is_taken(database: sqlite3.Connection) -> bool:
    try:
        database.execute("BEGIN IMMEDIATE")
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode != sqlite3.SQLITE_BUSY:
            raise
        return False
    return True


def _release(databases: Iterable[sqlite3.Connection]) -> None:
    for database in databases:
        database.execute("ROLLBACK")
