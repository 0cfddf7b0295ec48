"""Commits numbered rows with concurrency and prints each number once it is acknowledged.

Run by test_fsync.py under strace, which kills it or fails its disk at a chosen sync.
"""

import asyncio
import os
import sys
from pathlib import Path

from mercato.adapters.sql.database import StorageUnavailable, Tx
from mercato.adapters.sql.sqlite import SqliteDatabase

CALLERS = 4
ROWS_EACH = 30


async def commit_row(database: SqliteDatabase, n: int) -> None:
    async def step(tx: Tx) -> None:
        await tx.execute("INSERT INTO rows (n, body) VALUES (?, ?)", (n, b"x" * 200))

    try:
        await database.transact(step)
    except StorageUnavailable:
        return
    os.write(1, b"%d\n" % n)


async def call(database: SqliteDatabase, caller: int) -> None:
    for n in range(caller, CALLERS * ROWS_EACH, CALLERS):
        await commit_row(database, n)


async def main(path: Path) -> None:
    database = SqliteDatabase(path)

    async def small_log(tx: Tx) -> None:
        # Syncs of the log, of the database and of the log anew all come within fifty.
        await tx.fetch_one("PRAGMA wal_autocheckpoint = 4")

    await database.transact(small_log)
    await asyncio.gather(*(call(database, caller) for caller in range(CALLERS)))
    await database.close()


asyncio.run(main(Path(sys.argv[1])))
