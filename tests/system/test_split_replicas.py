"""Two whole platforms on the same databases, broker and Redis: no race between them gets more than one."""

import asyncio
import re
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import ExitStack, asynccontextmanager

import asyncpg
import pytest

from mercato.kernel.ids import uuid7
from tests.buying import answered, until_ordered
from tests.engines import need
from tests.modes import OWN_PROCESSES
from tests.postgres_server import ROLES
from tests.running import Answer, Shopper, add_product, open_store, order_of
from tests.split_engines import engines
from tests.system.test_split import Split, asked, split
from tests.waiting import until

pytestmark = OWN_PROCESSES

Pair = tuple[Split, Split]
SERVICES = ("users", "products", "orders", "payments", "notifications")
CLIENTS, BUYS, STOCK = 16, 320, 100
UNDER_WAY = 4711
"""The advisory lock that new orders wait for."""


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    """Two platforms that share all that replicas share: servers, the secret and the signing keys."""
    need("postgres", "rabbitmq", "redis")
    first, second = tmp_path_factory.mktemp("first"), tmp_path_factory.mktemp("second")
    (second / "data").symlink_to(first / "data")
    shared = engines()
    with split(first, **shared) as one, split(second, **shared) as two:
        yield one, two
        one.assert_balanced()
    assert (one.process.returncode, two.process.returncode) == (0, 0)


@asynccontextmanager
async def shoppers(pair: Pair, token: str, count: int = 2) -> AsyncIterator[Sequence[Shopper]]:
    """Connect so many clients, by turns to either gateway."""
    clients = [pair[number % 2].client(token) for number in range(count)]
    await asyncio.gather(*(each.__aenter__() for each in clients))
    yield clients
    await asyncio.gather(*(each.__aexit__() for each in clients))


def port_of(running: Split, service: str) -> int:
    return int(running.url_of(service).rpartition(":")[2])


def served(pair: Pair, service: str, route: str) -> list[int]:
    """Return how many requests of a route either process of a service has answered, as each says itself."""
    line = re.compile(rf'^mercato_http_requests_total{{.*route="{re.escape(route)}".*}} (\S+)$', re.MULTILINE)
    ports = [port_of(running, service) for running in pair]
    return [int(sum(map(float, line.findall(asked(port, "/metrics")[1].decode())))) for port in ports]


async def test_of_320_buys_by_16_on_both_of_100_in_stock_exactly_100_succeed(pair: Pair) -> None:
    """An order that products had no time for is accepted, and cancelled if there is nothing left for it."""
    store = await open_store(pair[0], "hot")
    async with shoppers(pair, store.customer, CLIENTS) as clients:
        product = await add_product(clients[0], store, "HOT", stock=STOCK)

        async def buy(shop: Shopper) -> list[Answer]:
            each = order_of(product)
            return [await answered(shop, "/api/v1/orders", each, uuid7()) for _ in range(BUYS // CLIENTS)]

        answers = [each for some in await asyncio.gather(*map(buy, clients)) for each in some]

        accepted = sum(each.status == 201 for each in answers)
        assert {each.code for each in answers if each.status != 201} == {"OUT_OF_STOCK"}
        assert await until_ordered(clients[0], "pending", STOCK) == STOCK
        assert await until_ordered(clients[1], "cancelled", accepted - STOCK) == accepted - STOCK
        for shop in clients[:2]:
            held = (await shop.get(f"/api/v1/products/{product}/inventory")).data
            assert (held["on_hand"], held["reserved"], held["available"]) == (STOCK, STOCK, 0)
    assert all(served(pair, "users", "POST /internal/v1/stores/find"))
    assert all(served(pair, "products", "POST /internal/v1/stock/reserve"))
    assert all(served(pair, "orders", "POST /api/v1/orders"))


async def test_of_12_payments_and_12_processings_on_both_one_charge_comes(pair: Pair) -> None:
    store = await open_store(pair[0], "charge")
    async with shoppers(pair, store.customer) as clients:
        product = await add_product(clients[0], store, "LAMP", stock=5)
        placed = await answered(clients[0], "/api/v1/orders", order_of(product), uuid7())
        order = placed.data["id"]
        await clients[0].until(f"/api/v1/products/{product}/inventory", "reserved", 1)
        wanted = {"order_id": order, "method": "card", "token": "tok_visa"}

        opened = await asyncio.gather(
            *(clients[number % 2].post("/api/v1/payments", wanted) for number in range(12))
        )
        assert Counter(answer.status for answer in opened) == {201: 1, 409: 11}
        payment = next(answer for answer in opened if answer.status == 201).data["id"]
        processed = await asyncio.gather(
            *(clients[number % 2].post(f"/api/v1/payments/{payment}/process") for number in range(12))
        )

        assert {answer.status for answer in processed} == {200}
        assert {answer.data["status"] for answer in processed} == {"success"}
        for shop in clients:
            await shop.until(f"/api/v1/payments/{payment}", "status", "success")
            await shop.until(f"/api/v1/orders/{order}", "status", "confirmed")
    assert all(served(pair, "payments", "POST /api/v1/payments/{payment_id}/process"))
    async with database(pair, "payments") as payments:
        charges = "SELECT count(*) FROM sandbox.charges WHERE key = $1 AND outcome = 'charged'"
        assert await payments.fetchval(charges, payment) == 1


async def test_of_50_identical_keyed_orders_on_both_one_is_placed(pair: Pair) -> None:
    store = await open_store(pair[0], "keyed")
    async with shoppers(pair, store.customer) as clients:
        product = await add_product(clients[0], store, "CHAIR", stock=100)

        answers = await asyncio.gather(
            *(
                clients[number % 2].post("/api/v1/orders", order_of(product), key="the-same")
                for number in range(50)
            )
        )
        again = [await answered(shop, "/api/v1/orders", order_of(product), "the-same") for shop in clients]

        made = [answer for answer in (*answers, *again) if answer.status == 201]
        assert {answer.body for answer in made} == {again[0].body}
        assert sum("idempotent-replayed" not in answer.headers for answer in made) == 1
        refused = [answer for answer in answers if answer.status != 201]
        assert {answer.code for answer in refused} <= {"IDEMPOTENCY_KEY_IN_USE", "SERVICE_UNAVAILABLE"}
        assert await until_ordered(clients[1], "pending", 1) == 1
        await clients[1].until(f"/api/v1/products/{product}/inventory", "reserved", 1)


async def test_of_10_refreshes_at_once_on_both_one_gets_through_and_the_session_ends(pair: Pair) -> None:
    person = {
        "email": "rita@race.example",
        "password": "a-good-password",
        "first_name": "R",
        "last_name": "R",
    }
    async with shoppers(pair, "") as clients:
        used = (await clients[0].post("/api/v1/users/register", person)).data["refresh_token"]

        async def refresh(shop: Shopper, token: str) -> Answer:
            return await shop.post("/api/v1/users/token/refresh", {"refresh_token": token})

        answers = await asyncio.gather(*(refresh(clients[number % 2], used) for number in range(10)))

        assert Counter(answer.status for answer in answers) == {200: 1, 401: 9}
        won = next(answer for answer in answers if answer.status == 200).data
        for shop in clients:
            assert (await refresh(shop, won["refresh_token"])).status == 401
            await until(lambda: is_refused(shop, won["token"]))  # noqa: B023  it is waited for here
    assert all(served(pair, "users", "POST /api/v1/users/token/refresh"))


async def is_refused(shop: Shopper, token: str) -> bool:
    return (await shop.get("/api/v1/orders", token=token)).status == 401


@asynccontextmanager
async def database(pair: Pair, service: str) -> "AsyncIterator[asyncpg.Connection[asyncpg.Record]]":
    """Connect to a service's database as somebody who may see and do everything."""
    url = pair[0].variables["MERCATO_DATABASE_SYSTEM_URL"].format(service=service)
    connection = await asyncpg.connect(url.replace(ROLES.system, "postgres"))
    try:
        yield connection
    finally:
        await connection.close()


@pytest.mark.parametrize("fate", ["frozen", "killed"])
async def test_what_one_replica_began_the_other_completes_once_the_first_is_gone(
    pair: Pair, fate: str
) -> None:
    """Soon, and as the same order; a frozen one that comes back finds that it has nothing left to do."""
    one, two = pair
    store = await open_store(two, fate)
    async with one.client(store.customer) as here, two.client(store.customer) as there:
        product = await add_product(there, store, "ANVIL", stock=100)
        body = order_of(product)
        replica = one.service("orders")

        async def ask(shop: Shopper) -> Answer:
            return await shop.post("/api/v1/orders", body, key=fate)

        with ExitStack() as frozen:
            async with database(pair, "orders") as locking, database(pair, "orders") as looking:
                async with held_up(locking):
                    begun = asyncio.create_task(ask(here))
                    await until(lambda: is_writing(looking, "wait_event = 'advisory'"))
                    if fate == "killed":
                        replica.kill()
                    else:
                        replica.suspend()
                        frozen.callback(replica.resume)
                # The statement was sent, so it may be carried out though nobody waits for it any more.
                await until(lambda: is_over(looking), within_s=60)
                minted = await looking.fetchval("SELECT object_id FROM claims WHERE key = $1", fate)
            answers: list[Answer] = []

            async def is_placed() -> bool:
                answers.append(await ask(there))
                return answers[-1].status == 201

            await until(is_placed)
        broken = await begun

        assert answers[-1].data["id"] == minted
        assert {each.code for each in answers[:-1]} <= {"IDEMPOTENCY_KEY_IN_USE", "SERVICE_UNAVAILABLE"}
        assert broken.status in {409, 503} or broken.data["id"] == minted
        assert await until_ordered(there, "pending", 1) == 1
        await there.until(f"/api/v1/products/{product}/inventory", "reserved", 1)
        assert (await ask(there)).body == answers[-1].body
    await until(lambda: is_there(one, "orders"), within_s=60)


def is_there(running: Split, service: str) -> bool:
    """Say whether a service answers, also after it was killed."""
    try:
        asked(port_of(running, service), "/health/live")
    except OSError:
        return False
    return True


@asynccontextmanager
async def held_up(locking: "asyncpg.Connection[asyncpg.Record]") -> AsyncIterator[None]:
    """Have new orders wait while they are written.

    Not by a lock of the table, for which a statement waits while it is only prepared: that one ends with its
    connection alone.
    """
    await locking.execute(
        "CREATE FUNCTION public.wait() RETURNS trigger LANGUAGE plpgsql AS"
        f" $$ BEGIN PERFORM pg_advisory_xact_lock({UNDER_WAY}); RETURN NEW; END $$"
    )
    await locking.execute("CREATE TRIGGER wait BEFORE INSERT ON orders EXECUTE FUNCTION public.wait()")
    try:
        async with locking.transaction():
            await locking.execute(f"SELECT pg_advisory_xact_lock({UNDER_WAY})")
            yield
    finally:
        await locking.execute("DROP FUNCTION public.wait() CASCADE")


async def is_over(looking: "asyncpg.Connection[asyncpg.Record]") -> bool:
    """Say whether nobody is writing a new order."""
    return not await is_writing(looking, "state <> 'idle'")


async def is_writing(looking: "asyncpg.Connection[asyncpg.Record]", how: str) -> bool:
    """Say whether somebody who is in a certain state writes a new order."""
    count = (
        "SELECT count(*) FROM pg_stat_activity"
        f" WHERE datname = current_database() AND query LIKE '%INSERT INTO orders %' AND {how}"
        " AND pid <> pg_backend_pid()"
    )
    return bool(await looking.fetchval(count))
