"""The ceiling of durable writes: one-row steps through the platform's own group writer."""

import asyncio
import itertools
import sqlite3
import time
from contextlib import closing
from pathlib import Path

from mercato.adapters.sql.database import Tx
from mercato.adapters.sql.sqlite import SqliteDatabase


async def grouped_inserts(path: Path, *, writers: int, seconds: float) -> float:
    """Return how many rows per second are durable, each inserted by a step of its own.

    As many `writers` as the load has connections each wait for their row before the next.
    """
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE IF NOT EXISTS rows (id INTEGER PRIMARY KEY, body TEXT NOT NULL)")
    database = SqliteDatabase(path)
    inserted = itertools.count()
    started = time.perf_counter()

    async def insert(tx: Tx) -> None:
        await tx.execute("INSERT INTO rows (body) VALUES (?)", ("x" * 200,))

    async def write() -> None:
        while time.perf_counter() - started < seconds:
            await database.transact(insert)
            next(inserted)

    await asyncio.gather(*(write() for _ in range(writers)))
    took = time.perf_counter() - started
    await database.close()
    return next(inserted) / took
