"""What every test may use."""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path

import pytest

from mercato.adapters.sql.schema import Schema, prepare
from mercato.adapters.sql.sqlite import SqliteDatabase
from tests.running import Platform

OpenDatabase = Callable[[str], Awaitable[SqliteDatabase]]


@pytest.fixture
def anyio_backend() -> str:
    """Mercato runs on asyncio alone."""
    return "asyncio"


@pytest.fixture
async def open_database(tmp_path: Path) -> AsyncIterator[OpenDatabase]:
    """Open the database of a service by name, migrated; opening it again opens the same file."""
    opened: list[SqliteDatabase] = []

    async def open_one(service: str) -> SqliteDatabase:
        path = tmp_path / f"{service}.db"
        prepare(path, Schema(service, f"mercato.{service}.migrations"))
        database = SqliteDatabase(path)
        opened.append(database)
        return database

    yield open_one
    for database in opened:
        await database.close()


@pytest.fixture
def own_platform(tmp_path: Path) -> Iterator[Platform]:
    """A platform of one's own, not started yet."""
    running = Platform(tmp_path)
    yield running
    if running.process is not None and running.process.poll() is None:
        running.stop()
