"""PostgreSQL that dies, is away, refuses or is crowded: nothing is lost, and all comes back by itself."""

import asyncio
import contextlib
import random
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from mercato.adapters.sql.database import StorageUnavailable, Tx
from mercato.adapters.sql.postgres import PostgresDatabase
from mercato.contracts.products import OutOfStock, WantedLine
from mercato.kernel.errors import MercatoError
from mercato.kernel.ids import uuid7
from tests import postgres_server
from tests.behaviour.products_shop import open_shop
from tests.commands import wait_until
from tests.conftest import OpenDatabase
from tests.engines import POSTGRES, need
from tests.postgres_server import ROLES, PostgresServer
from tests.running import Answer, Down, Platform, Shopper, Store, add_product, open_store, order_of
from tests.waiting import until

KILLS, BUYERS, STOCK = 10, 8, 1_000_000
QUICKLY_S = 3.0


@pytest.fixture
def server() -> Iterator[PostgresServer]:
    """A server of the test's own, whose commits are on disk."""
    need("postgres")
    own = PostgresServer(durable=True)
    own.start()
    yield own
    own.stop()


@pytest.fixture
def platform(server: PostgresServer, tmp_path: Path) -> Iterator[Platform]:
    """A platform on it, not started yet."""
    running = Platform(tmp_path, server.environ_of_platform())
    yield running
    if running.process is not None and running.process.poll() is None:
        running.stop()


async def ask(shop: Shopper, product: str, key: str) -> Answer:
    return await shop.post("/api/v1/orders", order_of(product), key=key)


async def test_ten_kills_of_the_database_under_load_lose_no_order(
    server: PostgresServer, platform: Platform
) -> None:
    platform.start()
    store = await open_store(platform, "killed")
    async with platform.client(store.admin) as admin:
        product = await add_product(admin, store, "ANVIL", stock=STOCK)
    acknowledged: dict[str, str] = {}
    refused: list[Answer] = []
    stopping = asyncio.Event()
    buyers = [
        asyncio.create_task(_buy(platform, store, product, acknowledged, refused, stopping))
        for _ in range(BUYERS)
    ]
    async with platform.client(store.customer) as shop:
        page = f"/api/v1/products/{product}"
        assert (await shop.get(page)).status == 200
        for _ in range(KILLS):
            await asyncio.sleep(random.uniform(0.2, 0.5))
            await asyncio.to_thread(server.kill)
            began = time.monotonic()
            down = await ask(shop, product, uuid7())
            assert (down.status, down.code) == (503, "SERVICE_UNAVAILABLE"), down.body
            assert int(down.headers["retry-after"]) >= 1
            assert time.monotonic() - began < QUICKLY_S
            assert (await shop.get(page)).status == 200, "what is remembered is still told"
            assert (await shop.get("/health/live")).status == 200
            assert (await shop.get("/health/ready")).status == 503
            await asyncio.to_thread(server.serve)
        await _until_ready(shop)
        before = len(acknowledged)
        # A key whose call broke off is free when its lease has ended, which is seconds later.
        await asyncio.to_thread(wait_until, lambda: len(acknowledged) >= before + BUYERS, 20.0)
        stopping.set()
        await asyncio.gather(*buyers)
        assert {each.status for each in refused} <= {409, 503}, refused
        for order_id in acknowledged.values():
            assert (await shop.get(f"/api/v1/orders/{order_id}")).status == 200
        listed = await shop.get("/api/v1/orders?page_size=1")
        assert listed.json["meta"]["total_count"] == len(acknowledged), "one order for each key, and no other"
    assert len(acknowledged) > KILLS, "the load was too small to mean anything"
    assert platform.assert_balanced()["orders"] == len(acknowledged)


async def _buy(
    platform: Platform,
    store: Store,
    product: str,
    acknowledged: dict[str, str],
    refused: list[Answer],
    stopping: asyncio.Event,
) -> None:
    """Place orders, each repeated with its key until it is placed."""
    async with platform.client(store.customer) as shop:
        while not stopping.is_set():
            key = uuid7()
            while (answer := await ask(shop, product, key)).status != 201:
                refused.append(answer)
                await asyncio.sleep(0.02)
            acknowledged[key] = answer.data["id"]


async def _until_ready(shop: Shopper) -> dict[str, Any]:
    deadline = time.monotonic() + 30
    while True:
        try:
            answer = await shop.get("/health/ready")
        except Down:
            answer = Answer(0, {}, b"{}")
        if answer.status == 200:
            return dict(answer.json)
        assert time.monotonic() < deadline, answer.body
        await asyncio.sleep(0.05)


async def test_a_process_that_starts_before_its_database_comes_alive_with_it_and_tells_when_it_goes(
    server: PostgresServer, platform: Platform
) -> None:
    server.kill()
    starting = asyncio.create_task(asyncio.to_thread(platform.start))
    await asyncio.to_thread(wait_until, lambda: "waiting to start" in platform.log())
    assert not starting.done()
    await asyncio.to_thread(server.serve)
    await starting
    store = await open_store(platform, "patient")
    assert store.admin

    async with platform.client() as operator:

        async def told(figure: int) -> bool:
            metrics = (await operator.get("/metrics")).body.decode()
            return f'mercato_source_up{{source="orders"}} {figure}.0\n' in metrics

        await until(lambda: told(1))
        server.kill()
        await until(lambda: told(0))


async def test_a_process_that_waits_for_its_database_can_be_stopped(
    server: PostgresServer, platform: Platform
) -> None:
    server.kill()
    starting = asyncio.create_task(asyncio.to_thread(platform.start))
    await asyncio.to_thread(wait_until, lambda: "waiting to start" in platform.log())
    assert await asyncio.to_thread(platform.stop) == 0
    with pytest.raises(AssertionError, match="it ended with 0"):
        await starting
    assert "Traceback" not in platform.log()


async def test_a_crowded_server_is_told_and_outlived(server: PostgresServer, platform: Platform) -> None:
    platform.start()
    store = await open_store(platform, "crowded")
    outside = await asyncpg.connect(server.url("postgres"))
    async with platform.client(store.customer) as shop:
        await outside.execute(f"ALTER ROLE {ROLES.serving} CONNECTION LIMIT 0")
        await outside.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = $1", ROLES.serving
        )
        refused = await shop.get("/api/v1/orders")
        assert (refused.status, refused.code) == (503, "SERVICE_UNAVAILABLE")
        await outside.execute(f"ALTER ROLE {ROLES.serving} CONNECTION LIMIT -1")
        assert (await shop.get("/api/v1/orders")).status == 200
    await outside.close()


@pytest.fixture
async def orders(open_database: OpenDatabase) -> PostgresDatabase:
    opened = await open_database("orders")
    assert isinstance(opened, PostgresDatabase)
    return opened


@POSTGRES
@pytest.mark.parametrize(
    "code",
    ["53100", "53200", "53300", "57P01", "57014", "58030", "25006", "42P01", "28000", "55P03", "40001"],
)
async def test_what_the_server_cannot_do_now_is_unavailable_and_undone(
    orders: PostgresDatabase, code: str
) -> None:
    async def step(tx: Tx) -> None:
        await tx.execute("INSERT INTO inbox_positions (key, sequence) VALUES ('a/b/c', 1)")
        await tx.execute(f"DO $$ BEGIN RAISE EXCEPTION 'now' USING ERRCODE = '{code}'; END $$")

    with pytest.raises(StorageUnavailable) as failed:
        await orders.transact(step)
    assert failed.value.retry_after is not None
    assert "now" not in failed.value.message.split(), "the server's own words are for the log"
    assert await orders.fetch_all("SELECT key FROM inbox_positions") == []


@POSTGRES
async def test_connections_that_the_server_ends_are_replaced(orders: PostgresDatabase) -> None:
    outside = await asyncpg.connect(postgres_server.shared().url("postgres"))
    ending = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1"

    async def call(number: int) -> None:
        if number % 2:
            await orders.fetch_one("SELECT 1")
        else:
            await orders.transact(lambda tx: tx.fetch_one("SELECT 1"))

    for some in range(60):
        await outside.execute(ending, orders.name)
        found = await asyncio.gather(
            *(call(number) for number in range(some, some + 6)), return_exceptions=True
        )
        assert {type(each) for each in found} <= {type(None), StorageUnavailable}, found
        # Each of them that was lost has been found out.
        for _ in range(9):
            with contextlib.suppress(StorageUnavailable):
                await call(some)
        await call(some)
    await outside.close()


@POSTGRES
async def test_a_statement_that_takes_too_long_is_given_up_and_its_connection_is_good(
    orders: PostgresDatabase,
) -> None:
    server = postgres_server.shared()
    outside = await asyncpg.connect(server.url(orders.name))
    await outside.execute(
        f"ALTER ROLE {ROLES.system} IN DATABASE {orders.name} SET statement_timeout = '50ms'"
    )
    await outside.close()
    for _ in range(20):
        with pytest.raises(StorageUnavailable):
            await orders.search("SELECT pg_sleep(10)")
        with pytest.raises(StorageUnavailable):
            await orders.transact(lambda tx: tx.fetch_one("SELECT pg_sleep(10)"))
    assert await orders.fetch_one("SELECT 1") == (1,)


@POSTGRES
async def test_of_1600_buys_by_16_on_three_replicas_of_500_exactly_500_succeed(
    open_database: OpenDatabase,
) -> None:
    shops = [open_shop(await open_database("products")) for _ in range(3)]
    product = await shops[0].add("HOT", stock=500)

    async def buy(number: int) -> int:
        bought = 0
        for _ in range(100):
            try:
                await shops[number % 3].reserve([WantedLine(product, 1)])
                bought += 1
            except OutOfStock:
                continue
        return bought

    assert sum(await asyncio.gather(*(buy(number) for number in range(16)))) == 500
    assert await shops[0].stock_of(product) == (500, 500)
    await shops[0].check_books()


@POSTGRES
async def test_carts_in_any_order_never_wait_for_each_other_for_ever(open_database: OpenDatabase) -> None:
    shops = [open_shop(await open_database("products")) for _ in range(3)]
    products = [await shops[0].add(f"P-{number}", stock=60) for number in range(8)]
    outcomes: list[MercatoError | None] = []

    async def shop_around(number: int) -> None:
        chance = random.Random(number)
        for _ in range(15):
            cart = chance.sample(products, 4)
            chance.shuffle(cart)
            try:
                await shops[number % 3].reserve([WantedLine(each, 1) for each in cart])
                outcomes.append(None)
            except OutOfStock as short:
                outcomes.append(short)

    async with asyncio.timeout(60):
        await asyncio.gather(*(shop_around(number) for number in range(16)))
    reserved = sum([(await shops[0].stock_of(each))[1] for each in products])
    assert reserved == 4 * outcomes.count(None)
    await shops[0].check_books()
