"""The connections to PostgreSQL: lent to whoever waits longest, and never lost, whoever goes away."""

import asyncio
import random

import asyncpg
import pytest

from mercato.adapters.sql import postgres_pool
from mercato.adapters.sql.database import StorageUnavailable
from mercato.adapters.sql.postgres import PostgresDatabase
from mercato.adapters.sql.postgres_pool import Connection, Pool, PoolSettings, is_open
from mercato.kernel.errors import Overloaded
from mercato.kernel.tenancy import TenantId
from tests.conftest import OpenDatabase
from tests.engines import POSTGRES
from tests.measured import figures
from tests.waiting import until

pytestmark = POSTGRES

SIZE = 3
STORES = [TenantId("one"), TenantId("two"), None]


@pytest.fixture
async def pool(open_database: OpenDatabase) -> Pool:
    database = await open_database("orders")
    assert isinstance(database, PostgresDatabase)
    return Pool(database.system_url, PoolSettings(SIZE))


async def use(pool: Pool, tenant: TenantId | None, statement: str = "SELECT 1") -> None:
    connection = await pool.acquire(tenant)
    good = False
    try:
        await connection.fetchval(statement)
        good = True
    finally:
        await pool.release(tenant, connection, good=good)


async def take_all(pool: Pool) -> list[Connection]:
    """Take as many connections as there may be: none was lost."""
    async with asyncio.timeout(10):
        return [await pool.acquire(None) for _ in range(SIZE)]


async def test_who_is_cut_off_at_any_moment_loses_no_connection(pool: Pool) -> None:
    chance = random.Random(7)
    for _ in range(20):
        tasks = [asyncio.create_task(use(pool, chance.choice(STORES))) for _ in range(30)]
        for _ in range(chance.randrange(20)):
            await asyncio.sleep(0)
        for task in chance.sample(tasks, 12):
            task.cancel()
        ended = await asyncio.gather(*tasks, return_exceptions=True)
        assert {type(each) for each in ended} <= {type(None), asyncio.CancelledError}
    for connection in await take_all(pool):
        assert await connection.fetchval("SELECT 1") == 1
        await pool.release(None, connection, good=True)
    await pool.close()


async def test_who_waits_longest_is_served_first(pool: Pool) -> None:
    held = await take_all(pool)
    served: list[int] = []

    async def wait(number: int) -> None:
        connection = await pool.acquire(None)
        served.append(number)
        await pool.release(None, connection, good=True)

    waiting = [asyncio.create_task(wait(number)) for number in range(6)]
    await asyncio.sleep(0)
    waiting[0].cancel()
    for connection in held:
        await pool.release(None, connection, good=True)
    await asyncio.gather(*waiting, return_exceptions=True)
    assert served == [1, 2, 3, 4, 5]
    await pool.close()


async def test_a_connection_that_the_server_ended_is_made_anew(pool: Pool) -> None:
    held = await take_all(pool)
    ends = [await each.fetchval("SELECT pg_backend_pid()") for each in held]
    for each in held[1:]:
        await pool.release(None, each, good=True)
    for number in ends[1:]:
        await held[0].fetchval("SELECT pg_terminate_backend($1)", number)
    await until(lambda: not any(is_open(each) for each in held[1:]))
    await pool.release(None, held[0], good=True)
    await asyncio.gather(*(use(pool, None) for _ in range(10)))
    for connection in await take_all(pool):
        await pool.release(None, connection, good=True)
    await pool.close()


async def test_an_idle_connection_of_the_same_store_is_preferred(pool: Pool) -> None:
    one, two = [await pool.acquire(tenant) for tenant in STORES[:2]]
    numbers = [await each.fetchval("SELECT pg_backend_pid()") for each in (one, two)]
    await pool.release(STORES[0], one, good=True)
    await pool.release(STORES[1], two, good=True)
    again = await pool.acquire(STORES[0])
    assert await again.fetchval("SELECT pg_backend_pid()") == numbers[0]
    await pool.release(STORES[0], again, good=True)
    await pool.close()


async def test_nobody_waits_longer_than_the_deadline(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    held = await take_all(pool)
    monkeypatch.setattr(postgres_pool, "ACQUIRE_DEADLINE_S", 0.05)
    with pytest.raises(TimeoutError):
        await pool.acquire(None)
    await pool.release(None, held.pop(), good=True)
    await use(pool, None)
    for connection in held:
        await pool.release(None, connection, good=True)
    await pool.close()


async def test_who_goes_away_waits_no_more(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postgres_pool, "MOST_WAITING", 2)
    held = await take_all(pool)
    for _ in range(3):
        waiting = [asyncio.create_task(use(pool, None)) for _ in range(3)]
        await until(lambda refused=waiting[2]: refused.done())  # type: ignore[misc]  # mypy knows no defaults
        assert isinstance(waiting[2].exception(), Overloaded)
        for each in waiting[:2]:
            each.cancel()
        ended = await asyncio.gather(*waiting[:2], return_exceptions=True)
        assert {type(each) for each in ended} == {asyncio.CancelledError}
    for connection in held:
        await pool.release(None, connection, good=True)
    await use(pool, None)
    await pool.close()


async def test_who_goes_away_while_all_are_closed_keeps_none(
    open_database: OpenDatabase, caplog: pytest.LogCaptureFixture
) -> None:
    database = await open_database("orders")
    assert isinstance(database, PostgresDatabase)
    pool = Pool(database.system_url, PoolSettings(1))
    held = await pool.acquire(None)
    waiting = asyncio.create_task(use(pool, None))
    await until(lambda: bool(pool._waiters))
    # It is handed the connection, and has gone away before it sees that.
    await pool.release(None, held, good=True)
    waiting.cancel()
    await pool.close()
    assert waiting.cancelled()
    assert not caplog.records


async def test_what_is_not_given_back_is_cut_off_when_all_are_closed(
    pool: Pool, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(postgres_pool, "CLOSE_DEADLINE_S", 0.1)
    held = await take_all(pool)
    asleep = asyncio.create_task(held[0].fetchval("SELECT pg_sleep(60)"))
    begun = "SELECT count(*) FROM pg_stat_activity WHERE pid = $1 AND wait_event = 'PgSleep'"
    process = held[0].get_server_pid()

    async def is_asleep() -> bool:
        return bool(await held[1].fetchval(begun, process))

    await until(is_asleep)
    await pool.close()
    with pytest.raises(postgres_pool.DRIVERS):
        await asleep
    assert [(each.message, vars(each)["held"]) for each in caplog.records] == [
        ("connections to the database were cut off", SIZE)
    ]
    for connection in held:
        await pool.release(None, connection, good=True)
    await pool.close()


async def test_the_pool_tells_who_has_a_connection_and_who_waits_for_one(pool: Pool) -> None:
    measures = pool.measures("orders", "system")
    taken = await take_all(pool)
    waiting = [asyncio.create_task(use(pool, None)) for _ in range(2)]
    await until(lambda: ("mercato_pool_waiting", "orders", "system") in figures(measures))
    assert figures(measures) == {
        ("mercato_pool_connections", "orders", "system", "in_use"): SIZE,
        ("mercato_pool_size", "orders", "system"): SIZE,
        ("mercato_pool_waiting", "orders", "system"): 2,
        # Each of them was made.
        ("mercato_pool_wait_seconds", "orders", "system"): SIZE,
    }
    for connection in taken:
        await pool.release(None, connection, good=True)
    await asyncio.gather(*waiting)
    told = figures(measures)
    assert told["mercato_pool_connections", "orders", "system", "idle"] == SIZE
    assert told["mercato_pool_wait_seconds", "orders", "system"] == SIZE + 2
    await pool.close()


async def test_a_call_whose_connection_the_driver_took_back_is_told_that_the_database_is_away(
    open_database: OpenDatabase,
) -> None:
    database = await open_database("orders")
    assert isinstance(database, PostgresDatabase)

    async def use_one_that_ends() -> None:
        async with database._connection() as connection:
            connection.terminate()
            raise asyncpg.InternalClientError("the server has ended the connection")

    for _ in range(2 * SIZE):
        with pytest.raises(StorageUnavailable):
            await use_one_that_ends()
    assert await database.fetch_one("SELECT 1") == (1,)
