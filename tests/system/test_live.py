"""Subscriptions on the running platform: what happens to an order is told as it happens."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import psutil
import pytest
from gql import Client, gql
from gql.transport.websockets import WebsocketsTransport

from tests.event_stream import event_stream
from tests.frames import frames
from tests.running import Platform, Shopper, Store, add_product, open_store, order_of
from tests.waiting import until

ORDERS = "subscription { orderStatusChanged { id status } }"
PAYMENTS = "subscription { paymentStatusChanged { id status } }"


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    platform = live_platform(tmp_path_factory.mktemp("live"))
    platform.start()
    yield platform
    assert platform.stop() == 0
    assert "Traceback" not in platform.log()


def live_platform(folder: Path, **environ: str) -> Platform:
    return Platform(folder, environ=environ)


@pytest.fixture(scope="module")
def names() -> Iterator[str]:
    """Names of stores that no other test has."""
    return (f"live-{number}" for number in range(1_000_000))


@pytest.fixture
async def store(live: Platform, names: Iterator[str]) -> Store:
    return await open_store(live, next(names))


async def metric(platform: Platform, name: str) -> float:
    """Return what a metric without labels tells."""
    async with platform.client() as anybody:
        text = (await anybody.get("/metrics")).body.decode()
    return next(float(line.split()[1]) for line in text.splitlines() if line.startswith(f"{name} "))


async def subscribed(platform: Platform, count: int) -> None:
    async def are() -> bool:
        return await metric(platform, "mercato_live_subscribers") == count

    await until(are)


async def buy(shop: Shopper, product: str) -> str:
    order = (await shop.post("/api/v1/orders", order_of(product))).data["id"]
    payment = (await shop.post("/api/v1/payments", {"order_id": order, "method": "card"})).data["id"]
    assert (await shop.post(f"/api/v1/payments/{payment}/process")).data["status"] == "success"
    return str(order)


async def told_until(given: AsyncIterator[dict[str, Any]], status: str) -> list[str]:
    """Return the statuses that are told, up to one of them."""
    told: list[str] = []
    async with asyncio.timeout(20):
        async for each in given:
            told.append(next(iter(each.values()))["status"])
            if told[-1] == status:
                return told
    raise AssertionError(f"it was not told: {told}")


@asynccontextmanager
async def followed(
    platform: Platform, token: str, document: str
) -> AsyncIterator[AsyncIterator[dict[str, Any]]]:
    """Subscribe with a third party's client, by its defaults."""
    url = f"ws://127.0.0.1:{platform.port}/graphql"
    transport = WebsocketsTransport(url=url, init_payload={"Authorization": f"Bearer {token}"})
    async with Client(transport=transport) as client, aclosing(client.subscribe(gql(document))) as given:
        yield given


async def test_an_order_is_followed_over_sockets_and_streams_by_those_who_may(
    live: Platform, store: Store
) -> None:
    other = await open_store(live, f"{store.id}-other")
    async with (
        live.client(store.customer) as shop,
        live.client(store.admin) as admin,
        followed(live, store.customer, ORDERS) as orders,
        followed(live, store.customer, PAYMENTS) as payments,
        event_stream(live.port, ORDERS, store.admin) as stream,
        event_stream(live.port, ORDERS, other.admin) as elsewhere,
    ):
        mine = asyncio.create_task(told_until(orders, "shipped"))
        paid = asyncio.create_task(told_until(payments, "success"))
        await subscribed(live, 4)
        product = await add_product(admin, store, "BELL", stock=10)
        order = await buy(shop, product)
        await shop.until(f"/api/v1/orders/{order}", "status", "confirmed")
        for status in ("processing", "shipped"):
            await admin.call("PATCH", f"/api/v1/orders/{order}/status", {"status": status})
        assert await mine == ["pending", "confirmed", "processing", "shipped"]
        assert await paid == ["pending", "processing", "success"]
        seen = [(await stream.event())[1]["data"]["orderStatusChanged"] for _ in range(4)]
        assert {each["id"] for each in seen} == {order}
        assert [each["status"] for each in seen] == ["pending", "confirmed", "processing", "shipped"]
        assert elsewhere.text.replace(":\n\n", "") == ""
    await subscribed(live, 0)


@pytest.mark.parametrize("field", ["orderStatusChanged", "paymentStatusChanged"])
async def test_one_order_is_followed_by_who_may_see_it_and_is_not_there_for_others(
    live: Platform, store: Store, field: str
) -> None:
    other = await open_store(live, f"{store.id}-other")
    document = f"subscription ($order: ID!) {{ {field}(orderId: $order) {{ status }} }}"
    async with live.client(store.customer) as shop, live.client(store.admin) as admin:
        product = await add_product(admin, store, "BELL", stock=10)
        order = (await shop.post("/api/v1/orders", order_of(product))).data["id"]
        for token, wanted in ((other.admin, order), (other.customer, order), (store.customer, "nonsense")):
            async with frames(live.port) as client:
                await client.enter(token=token)
                await client.ask("1", document, order=wanted)
                refused = await client.hear()
                assert (refused["type"], refused["payload"][0]["extensions"]["code"]) == (
                    "error",
                    "NOT_FOUND",
                )
        async with frames(live.port) as client:
            await client.enter(token=store.customer)
            await client.ask("1", document, order=order)
            await subscribed(live, 1)
            await shop.post("/api/v1/payments", {"order_id": order, "method": "card"})
            await shop.post(f"/api/v1/orders/{order}/cancel")
            told, wanted = "", "pending" if field == "paymentStatusChanged" else "cancelled"
            while told != wanted:
                told = (await client.hear())["payload"]["data"][field]["status"]
    await subscribed(live, 0)


async def test_a_user_who_is_deleted_or_gets_another_role_is_out_within_a_second_or_so(
    live: Platform, store: Store
) -> None:
    async with live.client(store.admin) as admin:
        people = (await admin.get("/api/v1/users?role=customer")).data
        (customer,) = people
        async with frames(live.port) as client, event_stream(live.port, ORDERS, store.customer) as stream:
            await client.enter(token=store.customer)
            await client.ask("1", ORDERS)
            await subscribed(live, 2)
            async with asyncio.timeout(3):
                assert (await admin.call("DELETE", f"/api/v1/users/{customer['id']}")).status in {200, 204}
                assert (await client.closed())[0] == 4403
                assert (await stream.event())[1]["errors"][0]["extensions"]["code"] == "UNAUTHORIZED"
    await subscribed(live, 0)


async def test_a_socket_leaves_a_line_in_the_log_without_its_token(live: Platform, store: Store) -> None:
    async with frames(live.port, "/query") as client:
        await client.enter(token=store.customer)
        await client.ask("1", "{ whoami }")
        await client.hear()

    def lines() -> list[dict[str, Any]]:
        found = [msgspec.json.decode(line) for line in live.log().splitlines() if '"SOCKET /query"' in line]
        return [line for line in found if line["tenant"] == store.id]

    await until(lambda: len(lines()) == 1)
    assert (lines()[0]["status"], lines()[0]["operations"]) == (101, 1)
    assert store.customer not in live.log()


async def test_tokens_that_expire_end_what_goes_on(tmp_path: Path) -> None:
    platform = live_platform(tmp_path, MERCATO_TOKEN_TTL="6")
    platform.start()
    try:
        store = await open_store(platform, "brief")
        async with (
            frames(platform.port) as client,
            event_stream(platform.port, ORDERS, store.admin) as stream,
        ):
            await client.enter(token=store.customer)
            assert (await client.closed())[0] == 4403
            assert (await stream.event())[1]["errors"][0]["extensions"]["code"] == "UNAUTHORIZED"
    finally:
        assert platform.stop() == 0


async def test_a_stop_ends_sockets_and_streams_and_the_process_in_order(tmp_path: Path) -> None:
    platform = live_platform(tmp_path)
    platform.start()
    store = await open_store(platform, "ending")
    async with (
        frames(platform.port) as client,
        frames(platform.port) as silent,
        event_stream(platform.port, ORDERS, store.admin) as stream,
    ):
        await client.enter(token=store.customer)
        await client.ask("1", ORDERS)
        await subscribed(platform, 2)
        stopping = asyncio.create_task(asyncio.to_thread(platform.stop))
        async with asyncio.timeout(10):
            assert await client.closed() == (1001, "The process is stopping.")
            assert "complete" not in await stream.ended()
        # One that says nothing of it keeps nobody.
        assert await stopping == 0
        assert (await silent.frame())[0] == 8
    assert "Traceback" not in platform.log()
    assert "cut off" not in platform.log()


async def test_memory_comes_back_after_a_thousand_sockets(live: Platform, store: Store) -> None:
    """Each is let in, subscribes, and goes without a word."""

    async def come_and_go() -> None:
        async with frames(live.port) as client:
            await client.enter(token=store.customer)
            await client.ask("1", ORDERS)

    for _ in range(20):
        await asyncio.gather(*(come_and_go() for _ in range(50)))
    await subscribed(live, 0)
    assert live.process is not None
    process = psutil.Process(live.process.pid)
    await until(lambda: process.num_fds() < 100)
