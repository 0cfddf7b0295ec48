"""Subscriptions where each service is a process: the gateway hears events from the broker."""

import asyncio
import secrets
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from gql import Client, gql
from gql.transport.websockets import WebsocketsTransport

from tests.engines import need
from tests.event_stream import event_stream
from tests.frames import answer, frames, upgrade
from tests.modes import OWN_PROCESSES
from tests.rabbitmq_server import RabbitmqServer
from tests.running import Platform, Store, add_product, free_port, open_store, order_of
from tests.system.test_split import Split, split
from tests.waiting import until

pytestmark = OWN_PROCESSES

WHO = "{ me { email } }"
ORDERS = "subscription { orderStatusChanged { id status } }"


@pytest.fixture(scope="module")
def broker() -> Iterator[RabbitmqServer]:
    need("rabbitmq")
    server = RabbitmqServer(port=free_port())
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="module")
def shared() -> dict[str, str]:
    return {"MERCATO_CLUSTER_SECRET": secrets.token_hex(32)}


@pytest.fixture(scope="module")
def services(
    broker: RabbitmqServer, shared: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Split]:
    """Every service, and a gateway of theirs."""
    with split(tmp_path_factory.mktemp("services"), MERCATO_BROKER_URL=broker.url, **shared) as running:
        yield running


def gateway_of(services: Split, folder: Path, **environ: str) -> Platform:
    """Return another gateway before the same services."""
    names = ("users", "products", "orders", "payments", "notifications")
    places = {f"MERCATO_{name.upper()}_URL": services.url_of(name) for name in names}
    return Platform(folder, environ=places | environ, program=("mercato", "serve", "gateway"))


@pytest.fixture(scope="module")
def gateway(
    services: Split,
    broker: RabbitmqServer,
    shared: dict[str, str],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Platform]:
    running = gateway_of(
        services, tmp_path_factory.mktemp("gateway"), MERCATO_BROKER_URL=broker.url, **shared
    )
    running.start()
    yield running
    assert running.stop() == 0
    assert "Traceback" not in running.log()


@pytest.fixture(scope="module")
def store(services: Split) -> Store:
    opening = open_store(services, "split")
    return asyncio.run(opening)


@asynccontextmanager
async def heard(gateway: Platform) -> AsyncIterator[None]:
    """Wait until the gateway hears events."""
    async with gateway.client() as anybody:

        async def joined() -> bool:
            return bool((await anybody.get("/health")).json["checks"].get("bus") == "ok")

        await until(joined, within_s=60)
        yield


async def subscribers(gateway: Platform) -> float:
    async with gateway.client() as anybody:
        text = (await anybody.get("/metrics")).body.decode()
    lines = text.splitlines()
    return next(float(line.split()[1]) for line in lines if line.startswith("mercato_live_subscribers "))


async def subscribed(gateway: Platform, count: int) -> None:
    async def are() -> bool:
        return await subscribers(gateway) == count

    await until(are)


async def place(services: Split, store: Store, product: str) -> str:
    async with services.client(store.customer) as shop:
        return str((await shop.post("/api/v1/orders", order_of(product))).data["id"])


@pytest.fixture(scope="module")
def product(services: Split, store: Store) -> str:
    async def add() -> str:
        async with services.client(store.admin) as admin:
            return await add_product(admin, store, "BELL", stock=100)

    return asyncio.run(add())


async def test_an_order_that_goes_through_several_services_is_followed_at_the_gateway(
    gateway: Platform, services: Split, store: Store, product: str
) -> None:
    transport = WebsocketsTransport(
        url=f"ws://127.0.0.1:{gateway.port}/graphql", init_payload={"token": store.customer}
    )
    async with (
        heard(gateway),
        Client(transport=transport) as client,
        event_stream(gateway.port, ORDERS, store.admin) as stream,
    ):
        assert (await client.execute(gql(WHO)))["me"] == {"email": f"customer@{store.id}.example"}
        given = client.subscribe(gql(ORDERS))
        first = asyncio.create_task(anext(given))
        await subscribed(gateway, 2)
        order = await place(services, store, product)
        async with asyncio.timeout(20):
            assert await first == {"orderStatusChanged": {"id": order, "status": "pending"}}
            assert (await stream.event())[1]["data"]["orderStatusChanged"]["id"] == order
            async with services.client(store.customer) as shop:
                assert (await shop.post(f"/api/v1/orders/{order}/cancel")).status == 200
            assert (await anext(given))["orderStatusChanged"] == {"id": order, "status": "cancelled"}
        await given.aclose()


async def test_a_user_who_is_deleted_at_users_is_out_at_the_gateway_soon(
    gateway: Platform, services: Split
) -> None:
    leaving = await open_store(services, "leaving")
    async with heard(gateway), services.client(leaving.admin) as admin, frames(gateway.port) as client:
        await client.enter(token=leaving.customer)
        (customer,) = (await admin.get("/api/v1/users?role=customer")).data
        async with asyncio.timeout(5):
            assert (await admin.call("DELETE", f"/api/v1/users/{customer['id']}")).status in {200, 204}
            assert (await client.closed())[0] == 4403


async def test_a_subscription_outlives_the_broker_and_hears_what_comes_after(
    gateway: Platform, services: Split, store: Store, product: str, broker: RabbitmqServer
) -> None:
    async with heard(gateway), frames(gateway.port) as client:
        await client.enter(token=store.customer)
        await client.ask("1", ORDERS)
        await subscribed(gateway, 1)
        await asyncio.to_thread(broker.kill)
        async with gateway.client() as anybody:

            async def is_away() -> bool:
                return bool((await anybody.get("/health")).json["checks"]["bus"] == "failing")

            await until(is_away)
            assert (await anybody.get("/health/ready")).status == 200
        # Who comes now is told that there is nothing to be heard; whoever is there stays.
        await client.ask("2", ORDERS)
        refused = await client.hear()
        assert (refused["type"], refused["id"]) == ("error", "2")
        assert refused["payload"][0]["extensions"]["code"] == "SERVICE_UNAVAILABLE"
        await asyncio.to_thread(broker.serve)
        async with heard(gateway):
            order = await place(services, store, product)
            # It is told once orders has found the broker again too, which it looks for ever less often.
            client.within_s = 60
            told = await client.hear()
            while told["payload"]["data"]["orderStatusChanged"]["id"] != order:
                told = await client.hear()
            assert told["id"] == "1"


async def test_a_gateway_without_a_broker_refuses_subscriptions_and_answers_all_else(
    services: Split, store: Store, shared: dict[str, str], tmp_path: Path
) -> None:
    proxied = {"MERCATO_TRUSTED_PROXIES": "127.0.0.1", "MERCATO_ADDRESS_SOCKETS": "1"}
    deaf = gateway_of(services, tmp_path, **proxied, **shared)
    deaf.start()
    try:
        async with frames(deaf.port) as client:
            await client.enter(token=store.customer)
            await client.ask("1", WHO)
            told = (await client.hear())["payload"]["data"]
            assert told["me"] == {"email": f"customer@{store.id}.example"}
            assert (await client.hear())["type"] == "complete"
            await client.ask("2", ORDERS)
            refused = await client.hear()
            assert (refused["type"], refused["payload"][0]["extensions"]["code"]) == (
                "error",
                "SERVICE_UNAVAILABLE",
            )
            # Whom a trusted proxy speaks for is another client; the same one has had its socket.
            async with frames(deaf.port, **{"X-Forwarded-For": "192.0.2.7"}) as another:
                await another.enter()
                refused_too = await upgrade(deaf.port, headers={"X-Forwarded-For": "192.0.2.7"})
                assert await answer(refused_too) == (429, "RATE_LIMIT_EXCEEDED")
        async with deaf.client(store.customer) as shop:
            assert (await shop.get("/api/v1/users/me")).status == 200
    finally:
        assert deaf.stop() == 0
