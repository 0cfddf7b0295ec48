"""What every test may use."""

import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Literal

import pytest
from hypothesis import HealthCheck, settings

from mercato.adapters.sql.database import Database
from mercato.adapters.sql.schema import Schema, prepare
from mercato.adapters.sql.sqlite import SqliteDatabase
from tests import postgres_server, redis_server
from tests.engines import need
from tests.redis_server import RedisServer
from tests.running import Platform

# How fast it is depends on what else the machine does; the bench measures that.
settings.register_profile("mercato", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("mercato")

# The tests' servers have no TLS. Asking for it leaves a future behind in asyncpg if the connection is cut.
os.environ.setdefault("PGSSLMODE", "disable")

# What is run in the background of a script ignores it, and so would every process that the tests interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)

OpenDatabase = Callable[[str], Awaitable[Database]]
Engine = Literal["sqlite", "postgres"]


@pytest.fixture
def anyio_backend() -> str:
    """Mercato runs on asyncio alone."""
    return "asyncio"


@pytest.fixture(params=["sqlite", "postgres"])
def engine(request: pytest.FixtureRequest) -> Engine:
    """Run the test on each database engine, on a private server where there is one."""
    name: Engine = request.param
    if name == "postgres":
        need("postgres")
        postgres_server.shared()
    return name


@pytest.fixture
async def open_database(tmp_path: Path, engine: Engine) -> AsyncIterator[OpenDatabase]:
    """Open the database of a service by name, migrated; opening it again opens the same one."""
    opened: list[Database] = []
    made: dict[str, str] = {}

    async def open_one(service: str) -> Database:
        schema = Schema(service, f"mercato.{service}.migrations")
        database: Database
        if engine == "postgres":
            server = postgres_server.shared()
            if service not in made:
                made[service] = await server.new_database(schema)
            database = server.open(made[service])
        else:
            path = tmp_path / f"{service}.db"
            prepare(path, schema)
            database = SqliteDatabase(path)
        opened.append(database)
        return database

    yield open_one
    for database in opened:
        await database.close()
    for name in made.values():
        await postgres_server.shared().drop(name)


@pytest.fixture
def redis() -> RedisServer:
    """The Redis of this test run; what a test keeps there has a prefix of its own."""
    need("redis")
    return redis_server.shared()


@pytest.fixture
def own_redis() -> Iterator[RedisServer]:
    """A Redis of one's own, to be killed, frozen and emptied."""
    need("redis")
    server = RedisServer()
    server.start()
    yield server
    server.stop()


@pytest.fixture
def own_platform(tmp_path: Path) -> Iterator[Platform]:
    """A platform of one's own, not started yet."""
    running = Platform(tmp_path)
    yield running
    running.discard()
