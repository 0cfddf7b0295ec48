"""The platform on a broker: what it cannot tell at once, it tells when the broker is there."""

import asyncio
from collections.abc import Iterator

import pytest

from tests.engines import need
from tests.rabbitmq_server import RabbitmqServer
from tests.running import Platform, Shopper, add_product, free_port, open_store, order_of
from tests.waiting import until


@pytest.fixture
def broker() -> Iterator[RabbitmqServer]:
    need("rabbitmq")
    server = RabbitmqServer(port=free_port())
    yield server
    server.stop()


async def _buy(shop: Shopper, product: str) -> str:
    order = (await shop.post("/api/v1/orders", order_of(product))).data["id"]
    payment = (await shop.post("/api/v1/payments", {"order_id": order, "method": "card"})).data["id"]
    assert (await shop.post(f"/api/v1/payments/{payment}/process")).data["status"] == "success"
    return str(order)


async def bus_of(platform: Platform) -> tuple[str, str, int, bool]:
    """Return how payments is, and its connection, whether it serves, and whether its metrics tell of it."""
    async with platform.client(at="payments") as process:
        health = (await process.get("/health")).json
        ready = (await process.get("/health/ready")).status
        is_away = b"mercato_bus_connected 0.0" in (await process.get("/metrics")).body
    return health["status"], health["checks"]["bus"], ready, is_away


async def test_a_platform_starts_without_its_broker_and_catches_up_when_it_comes(
    own_platform: Platform, broker: RabbitmqServer
) -> None:
    own_platform.environ["MERCATO_BROKER_URL"] = broker.url
    own_platform.start()
    store = await open_store(own_platform, "brokered")
    async with own_platform.client(store.admin) as admin:
        product = await add_product(admin, store, "BELL", stock=10)
    async with own_platform.client(store.customer) as shop:
        first = await _buy(shop, product)
        assert await bus_of(own_platform) == ("degraded", "failing", 200, True)

        await asyncio.to_thread(broker.start)
        await shop.until(f"/api/v1/orders/{first}", "status", "confirmed", within_s=60)
        await shop.until(f"/api/v1/orders/{await _buy(shop, product)}", "status", "confirmed", within_s=30)

        async def joined() -> bool:
            return await bus_of(own_platform) == ("ok", "ok", 200, False)

        await until(joined)
    assert own_platform.stop() == 0
    own_platform.start()
    own_platform.assert_balanced()
    assert "guest:guest" not in own_platform.log()
