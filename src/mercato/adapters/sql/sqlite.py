"""SQLite: one writer that commits waiting steps in groups, and readers beside it.

The whole database belongs to one process. Point reads run in the event loop, which is some
tens of microseconds; longer ones in a thread of their own.
"""

import asyncio
import sqlite3
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from mercato.adapters.sql import spans
from mercato.adapters.sql.database import Dialect, Row, Step, StorageUnavailable, T, Tx, Value
from mercato.adapters.sql.sqlite_writer import GROUP_STEPS, GroupWriter
from mercato.kernel.counting import Measure
from mercato.kernel.shielding import shielded

SEARCH_DEADLINE_S = 5.0
_OPEN_DEADLINE_S = 5.0


def connect(path: Path, *, writer: bool) -> sqlite3.Connection:
    """Open `path` as Mercato uses it: autocommit, WAL, every commit on disk before it counts."""
    connection = sqlite3.connect(
        path,
        isolation_level=None,
        check_same_thread=False,
        cached_statements=512,
        timeout=_OPEN_DEADLINE_S,
    )
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA foreign_keys = ON")
    connection.execute("PRAGMA temp_store = MEMORY")
    connection.execute("PRAGMA journal_size_limit = 67108864")
    if writer:
        # The writer asks again by itself: waiting inside SQLite would stop the event loop.
        connection.execute("PRAGMA busy_timeout = 0")
    else:
        connection.execute("PRAGMA query_only = ON")
    return connection


class SqliteDatabase:
    """A Database over one SQLite file."""

    dialect: Dialect = "sqlite"

    def __init__(self, path: Path) -> None:
        """Open `path`. The schema must be there already."""
        self.path = path
        self._writer = GroupWriter(connect(path, writer=True), name=path.stem)
        self._reader = connect(path, writer=False)
        self._searcher = connect(path, writer=False)
        self._search_thread = ThreadPoolExecutor(1, thread_name_prefix=f"search-{path.stem}")
        self._closed = False

    @property
    def is_behind(self) -> bool:
        """Whether more steps wait than one group holds."""
        return self._writer.waiting > GROUP_STEPS // 2

    async def transact(self, step: Step[T], *, patient: bool = True) -> T:  # noqa: ARG002  nobody is in the way
        """Run `step` with others that wait, in one group; see Database.transact."""
        with spans.transaction("sqlite", self.path.stem) as begun:
            return await self._writer.transact(spans.observed(step, begun))

    async def write(self, sql: str, params: Sequence[Value] = ()) -> int:
        """Run a step of one statement; return the number of rows it changed."""

        async def step(tx: Tx) -> int:
            return await tx.execute(sql, params)

        with spans.reading("sqlite", self.path.stem, sql):
            return await self._writer.transact(step)

    async def fetch_one(self, sql: str, params: Sequence[Value] = ()) -> Row | None:
        """Return the first committed row, read in the loop."""
        rows = await self.fetch_all(sql, params)
        return rows[0] if rows else None

    async def fetch_all(self, sql: str, params: Sequence[Value] = ()) -> list[Row]:
        """Return committed rows, read in the loop."""
        self._refuse_if_closed()
        try:
            with spans.reading("sqlite", self.path.stem, sql):
                return self._reader.execute(sql, params).fetchall()
        except sqlite3.OperationalError as error:
            raise StorageUnavailable("The database cannot be read.") from error

    async def search(self, sql: str, params: Sequence[Value] = ()) -> list[Row]:
        """Return committed rows, read in the reader thread within a deadline."""
        self._refuse_if_closed()
        loop = asyncio.get_running_loop()
        query = loop.run_in_executor(self._search_thread, self._search, sql, params)
        try:
            with spans.reading("sqlite", self.path.stem, sql):
                async with asyncio.timeout(SEARCH_DEADLINE_S):
                    return await shielded(query)
        except TimeoutError as error:
            self._searcher.interrupt()
            raise StorageUnavailable("The search took too long.") from error

    def _search(self, sql: str, params: Sequence[Value]) -> list[Row]:
        try:
            return self._searcher.execute(sql, params).fetchall()
        except sqlite3.OperationalError as error:
            raise StorageUnavailable("The database cannot be read.") from error

    def measures(self, service: str) -> tuple[Measure, ...]:  # noqa: ARG002  there is nothing to tell
        """Return nothing: there is no pool."""
        return ()

    async def close(self) -> None:
        """Finish the steps under way and close every connection. Idempotent."""
        await self._writer.close()
        self._closed = True
        self._search_thread.shutdown(wait=True)
        self._searcher.close()
        self._reader.close()

    def _refuse_if_closed(self) -> None:
        if self._closed:
            raise StorageUnavailable("The database is closed.")
