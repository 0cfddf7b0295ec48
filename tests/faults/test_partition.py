"""Links that carry nothing for half a minute, and services that are gone: orders go on, and all heals."""

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field

import asyncpg
import msgspec
import pytest

from mercato.kernel.ids import uuid7
from tests import postgres_server, rabbitmq_server
from tests.engines import need
from tests.link import Link
from tests.postgres_server import ROLES
from tests.running import Answer, Shopper, Store, add_product, open_store, order_of
from tests.services import Services
from tests.split_engines import engines
from tests.waiting import until

CUT_S = 30.0
OPEN_S = 30.0
"""How long a circuit stays open before it is tried again."""
CLOSES_WITHIN_S = 10.0
DEADLINE_S = 30.0
PAUSE_S = 0.1
CIRCUITS = ("orders to products", "payments to orders", "orders to users")

Call = Callable[["Partition", Shopper], Awaitable[Answer]]


@dataclass(frozen=True)
class Links:
    """What can be cut."""

    stock: Link
    """From orders to products."""
    desk: Link
    """From payments to orders."""
    broker: Link
    """From payments to RabbitMQ."""
    base: Link
    """From users to PostgreSQL."""
    people: Link
    """From orders to users, for which users is as good as stopped."""

    def __iter__(self) -> Iterator[Link]:
        yield from (self.stock, self.desk, self.broker, self.base, self.people)


@dataclass
class Asked:
    """The answers to one call, made again and again: when each came, how long it took, and what it was."""

    answers: list[tuple[float, float, Answer]] = field(default_factory=list)
    opened: list[int] = field(default_factory=list)
    """How many connections had been made over the link when each answer came."""

    def codes(self) -> list[str]:
        return [answer.code if answer.status >= 300 else str(answer.status) for _, _, answer in self.answers]

    def statuses(self, until: float) -> set[int]:
        """Return the statuses of what was asked before that moment."""
        return {answer.status for at, took, answer in self.answers if at - took < until}


@dataclass
class Partition:
    """A store, and what became of it while the links were cut and after."""

    services: Services
    links: Links
    store: Store
    product: str
    paid: str = ""
    unpaid: str = ""
    cut_at: float = 0.0
    healed_at: float = 0.0
    opened_at: dict[str, float] = field(default_factory=dict)
    closed_at: dict[str, float] = field(default_factory=dict)
    orders: Asked = field(default_factory=Asked)
    payments: Asked = field(default_factory=Asked)
    people: Asked = field(default_factory=Asked)
    processed: Answer | None = None
    told: dict[str, list[str]] = field(default_factory=dict)
    """What the metrics of a service said of a circuit as it was seen open, and as it was seen closed."""
    reasons: dict[str, str] = field(default_factory=dict)
    """What its health said of an open one."""
    is_over: bool = False


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Services, Links]]:
    need("postgres", "rabbitmq", "redis")
    settings = engines()
    services = Services(tmp_path_factory.mktemp("partition"), settings)
    to = [services.ports["products"], services.ports["orders"]]
    to += [rabbitmq_server.shared().port, postgres_server.shared().port, services.ports["users"]]
    with ExitStack() as ending:
        links = Links(*(ending.enter_context(Link(port)) for port in to))
        services.own["orders"] = {
            "MERCATO_PRODUCTS_URL": f"http://127.0.0.1:{links.stock.port}",
            "MERCATO_USERS_URL": f"http://127.0.0.1:{links.people.port}",
        }
        services.own["payments"] = {
            "MERCATO_ORDERS_URL": f"http://127.0.0.1:{links.desk.port}",
            "MERCATO_BROKER_URL": links.broker.over(settings["MERCATO_BROKER_URL"]),
        }
        services.own["users"] = {
            name: links.base.over(settings[name])
            for name in ("MERCATO_DATABASE_URL", "MERCATO_DATABASE_SYSTEM_URL")
        }
        try:
            services.start()
            yield services, links
            services.stop()
        finally:
            services.kill(*services.processes)


@pytest.fixture(scope="module")
def partition(running: tuple[Services, Links]) -> Partition:
    return asyncio.run(partitioned(*running))


async def partitioned(services: Services, links: Links) -> Partition:
    """Cut all links for half a minute, ask all the while, and go on until all is well again."""
    store = await open_store(services, "cut")
    async with services.client(store.customer) as shop:
        product = await add_product(shop, store, "MUG", stock=1_000_000)
        found = Partition(services, links, store, product)
        found.paid, found.unpaid = [
            (await shop.post("/api/v1/orders", order_of(product))).data["id"] for _ in range(2)
        ]
        payment = await shop.post("/api/v1/payments", {"order_id": found.paid, "method": "card"})
        await until(lambda: is_known(services, product))
        asking = [
            asyncio.create_task(again(found, found.orders, links.stock, order)),
            asyncio.create_task(again(found, found.payments, links.desk, pay)),
            asyncio.create_task(again(found, found.people, links.base, look)),
            asyncio.create_task(watch(found, "orders", "products")),
            asyncio.create_task(watch(found, "payments", "orders")),
            asyncio.create_task(watch(found, "orders", "users")),
        ]
        found.cut_at = time.monotonic()
        for link in links:
            link.cut()
        found.processed = await shop.post(f"/api/v1/payments/{payment.data['id']}/process")
        await until(lambda: time.monotonic() >= found.cut_at + CUT_S, within_s=2 * CUT_S)
        found.healed_at = time.monotonic()
        for link in links:
            link.heal()
        await until(lambda: set(found.closed_at) == set(CIRCUITS), within_s=90)
        found.is_over = True
        await asyncio.gather(*asking)
    return found


async def is_known(services: Services, product: str) -> bool:
    """Say whether orders has heard of a product, whose price it then knows by itself."""
    url = services.settings["MERCATO_DATABASE_SYSTEM_URL"].format(service="orders")
    connection = await asyncpg.connect(url.replace(ROLES.system, "postgres"))
    try:
        known = "SELECT count(*) FROM catalogue WHERE product_id = $1"
        return bool(await connection.fetchval(known, product))
    finally:
        await connection.close()


async def order(found: Partition, shop: Shopper) -> Answer:
    return await shop.post("/api/v1/orders", order_of(found.product), key=uuid7())


async def pay(found: Partition, shop: Shopper) -> Answer:
    wanted = {"order_id": found.unpaid, "method": "card"}
    return await shop.post("/api/v1/payments", wanted, key="the-same")


async def look(_: Partition, shop: Shopper) -> Answer:
    return await shop.get("/api/v1/users/me")


async def again(found: Partition, asked: Asked, link: Link, call: Call) -> None:
    """Make a call again and again, until all is over."""
    async with found.services.client(found.store.customer) as shop:
        while not found.is_over:
            began = time.monotonic()
            answer = await call(found, shop)
            asked.answers.append((time.monotonic(), time.monotonic() - began, answer))
            asked.opened.append(link.opened)
            await asyncio.sleep(PAUSE_S)


async def watch(found: Partition, caller: str, called: str) -> None:
    """Take note of when a service says that its circuit to another is open, and that it is not any more."""
    circuit = f"{caller} to {called}"
    while circuit not in found.closed_at:
        told = msgspec.json.decode((await asyncio.to_thread(found.services.asked, caller, "/health"))[1])
        if told["checks"][called] == "failing":
            if circuit not in found.opened_at:
                found.opened_at[circuit] = time.monotonic()
                found.reasons[circuit] = told["reasons"][called]
                found.told[circuit] = await circuit_metrics(found, caller, called)
        elif found.healed_at and circuit in found.opened_at:
            found.closed_at[circuit] = time.monotonic()
            if caller == "orders":
                # Of payments nothing more is asked once one is there.
                await until(lambda: is_told_closed(found, caller, called))
        await asyncio.sleep(PAUSE_S)


async def circuit_metrics(found: Partition, caller: str, called: str) -> list[str]:
    """Return what the metrics of a service say of its circuit to another."""
    _, body = await asyncio.to_thread(found.services.asked, caller, "/metrics")
    label = f'{{dependency="{called}"}}'
    return [
        line for line in body.decode().splitlines() if line.startswith("mercato_circuit") and label in line
    ]


async def is_told_closed(found: Partition, caller: str, called: str) -> bool:
    """Say whether as many calls as it takes have been made and answered."""
    wanted = f'mercato_circuit_state{{dependency="{called}"}} 0.0'
    return wanted in await circuit_metrics(found, caller, called)


async def test_while_products_cannot_be_reached_orders_are_accepted_and_get_their_stock_after(
    partition: Partition,
) -> None:
    assert partition.orders.statuses(partition.healed_at) == {201}
    async with partition.services.client(partition.store.customer) as shop:
        await shop.until(f"/api/v1/orders/{partition.paid}", "status", "confirmed", within_s=60)
        listed = await shop.get("/api/v1/orders?page_size=1&status=pending")
        pending = listed.json["meta"]["total_count"]
        assert pending > len(partition.orders.answers), "each of them, and one that is not paid"
        # What was paid is taken from the stock.
        await shop.until(f"/api/v1/products/{partition.product}/inventory", "reserved", pending, within_s=60)


async def test_a_circuit_opens_after_a_few_failures_and_nobody_is_asked_while_it_is_open(
    partition: Partition,
) -> None:
    codes = partition.payments.codes()
    opened = codes.index("CIRCUIT_OPEN")
    assert Counter(codes[:opened]) == {"SERVICE_UNAVAILABLE": opened}
    # One payment had been opened before, which is a call that did not fail.
    assert opened == 2
    while_open = [
        number
        for number, (at, _, _) in enumerate(partition.payments.answers)
        if codes[number] == "CIRCUIT_OPEN" and at < partition.opened_at["payments to orders"] + OPEN_S - 1
    ]
    assert len({partition.payments.opened[number] for number in while_open}) == 1
    for number in while_open:
        _, _, answer = partition.payments.answers[number]
        assert 1 <= int(answer.headers["retry-after"]) <= OPEN_S


@pytest.mark.parametrize("circuit", CIRCUITS)
async def test_it_closes_soon_after_it_may(partition: Partition, circuit: str) -> None:
    may = max(partition.healed_at, partition.opened_at[circuit] + OPEN_S)
    assert partition.closed_at[circuit] - may <= CLOSES_WITHIN_S
    assert partition.opened_at[circuit] < partition.healed_at


@pytest.mark.parametrize("circuit", CIRCUITS)
async def test_metrics_health_and_the_log_tell_of_it(partition: Partition, circuit: str) -> None:
    """Of a service without which its neighbour still works: it stays ready, and says what it lacks."""
    caller, _, called = circuit.partition(" to ")
    assert partition.told[circuit] == [
        f'mercato_circuit_state{{dependency="{called}"}} 2.0',
        f'mercato_circuit_opened_total{{dependency="{called}"}} 1.0',
    ]
    assert partition.reasons[circuit].startswith(f"The circuit to {called} is open")
    log = (partition.services.folder / f"{caller}.err").read_text("utf-8").splitlines()
    lines = [msgspec.json.decode(line) for line in log if line.startswith("{") and '"circuit ' in line]
    of_this = [line["event"] for line in lines if line["dependency"] == called]
    told = ["circuit opened", "circuit half open", "circuit closed"]
    assert of_this[:3] == (told if caller == "orders" else told[:2])


async def test_what_needs_a_database_that_cannot_be_reached_ends_in_time_and_comes_back(
    partition: Partition,
) -> None:
    asked = partition.people
    during = [
        answer
        for at, took, answer in asked.answers
        if at - took > partition.cut_at and at < partition.healed_at
    ]
    assert {(answer.status, answer.code) for answer in during} == {(503, "SERVICE_UNAVAILABLE")}
    assert max(took for _, took, _ in asked.answers) < DEADLINE_S
    async with partition.services.client(partition.store.customer) as shop:
        assert (await shop.get("/api/v1/users/me")).status == 200


async def test_what_was_acknowledged_while_the_broker_could_not_be_reached_is_told_after(
    partition: Partition,
) -> None:
    assert partition.processed is not None
    assert partition.processed.data["status"] == "success"
    async with partition.services.client(partition.store.customer) as shop:
        await shop.until(f"/api/v1/orders/{partition.paid}", "status", "confirmed", within_s=60)
    await asyncio.to_thread(partition.services.assert_balanced)


async def test_orders_are_placed_while_users_payments_and_notifications_are_gone(
    partition: Partition,
) -> None:
    """And while products is gone too, on the last known price; they are paid when all are back."""
    services = partition.services
    gone = ("users", "payments", "notifications"), ("products",)
    async with services.client(partition.store.customer) as shop:
        placed = []
        for names in gone:
            services.kill(*names)
            placed.append(await order(partition, shop))
        await asyncio.to_thread(services.start, [name for names in gone for name in names])

        assert [(each.status, each.data["status"]) for each in placed] == [(201, "pending")] * 2
        for each in placed:
            wanted = {"order_id": each.data["id"], "method": "card"}

            async def is_payable() -> bool:
                answer = await shop.post("/api/v1/payments", wanted)  # noqa: B023  it is waited for here
                assert answer.status in {201, 503} or answer.code == "RESERVATION_PENDING", answer.body
                return answer.status == 201

            await until(is_payable, within_s=60)
            latest = (await shop.get(f"/api/v1/payments/order/{each.data['id']}")).data
            assert (await shop.post(f"/api/v1/payments/{latest['id']}/process")).data["status"] == "success"
            await shop.until(f"/api/v1/orders/{each.data['id']}", "status", "confirmed", within_s=60)
    await asyncio.to_thread(services.assert_balanced)
