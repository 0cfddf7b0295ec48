"""What an operator sees of a running platform."""

from typing import Any

from tests.commands import wait_until
from tests.running import Platform, add_product, open_store, order_of
from tests.waiting import until


async def test_health_belongs_to_no_store(platform: Platform) -> None:
    async with platform.client(store="there-is-no-such-store") as probe:

        async def all_is_well() -> bool:
            health = await probe.get("/health")
            assert (health.status, health.json["phase"]) == (200, "serving")
            return health.json["status"] == "ok" and set(health.json["checks"].values()) == {"ok"}

        # A service that is slow to say that it is well is told to be failing.
        await until(all_is_well)
        assert (await probe.get("/health/live")).status == 200
        assert (await probe.get("/health/ready")).status == 200
        assert (await probe.get("/api/v1/products")).status == 404


async def test_metrics_tell_of_requests_queues_and_nothing_of_ids(platform: Platform) -> None:
    store = await open_store(platform, "measured")
    async with platform.client(store.customer) as shop:
        product = await add_product(shop, store, "LAMP", stock=1)
        order = (await shop.post("/api/v1/orders", order_of(product))).data["id"]
        assert (await shop.post("/api/v1/orders", order_of(product))).code == "OUT_OF_STOCK"

    async with platform.client(at="orders") as orders, platform.client(at="products") as products:
        told = [(await each.get("/metrics")).body.decode() for each in (orders, products)]

    assert 'route="POST /api/v1/orders",status="201"' in told[0]
    assert 'code="OUT_OF_STOCK"' in told[0]
    assert 'mercato_outbox_unsent{service="orders"}' in told[0]
    assert 'mercato_inbox_parked{service="products",state="dead"} 0.0' in told[1]
    for metrics in told:
        assert order not in metrics
        assert "measured" not in metrics


async def test_every_request_leaves_one_line_in_each_process_that_can_be_found_by_its_id(
    platform: Platform,
) -> None:
    async with platform.client() as probe:
        answer = await probe.get("/api/v1/products?sku=NONE", headers={"X-Request-Id": "find-me-again"})
        assert answer.headers["x-request-id"] == "find-me-again"
    # The line is written when the event loop next turns, which may be after the answer.
    wait_until(lambda: all(found(platform, each) for each in ("gateway", "products")))
    for process in ("gateway", "products"):
        (line,) = found(platform, process)
        assert (line["route"], line["status"]) == ("GET /api/v1/products", 200)
    assert line["tenant"] == "default"


def found(platform: Platform, process: str) -> list[dict[str, Any]]:
    return [line for line in platform.lines(process) if line.get("request_id") == "find-me-again"]
