"""What an operator sees of a running platform."""

import msgspec

from tests.commands import wait_until
from tests.running import Platform, add_product, open_store, order_of


async def test_health_belongs_to_no_store(platform: Platform) -> None:
    async with platform.client(store="there-is-no-such-store") as probe:
        health = await probe.get("/health")
        assert (health.status, health.json["status"], health.json["phase"]) == (200, "ok", "serving")
        assert set(health.json["checks"].values()) == {"ok"}
        assert (await probe.get("/health/live")).status == 200
        assert (await probe.get("/health/ready")).status == 200
        assert (await probe.get("/api/v1/products")).status == 404


async def test_metrics_tell_of_requests_queues_and_nothing_of_ids(platform: Platform) -> None:
    store = await open_store(platform, "measured")
    async with platform.client(store.customer) as shop:
        product = await add_product(shop, store, "LAMP", stock=1)
        order = (await shop.post("/api/v1/orders", order_of(product))).data["id"]
        assert (await shop.post("/api/v1/orders", order_of(product))).code == "OUT_OF_STOCK"

        metrics = (await shop.get("/metrics")).body.decode()

    assert 'route="POST /api/v1/orders",status="201"' in metrics
    assert 'code="OUT_OF_STOCK"' in metrics
    assert 'mercato_outbox_unsent{service="orders"}' in metrics
    assert 'mercato_inbox_parked{service="products",state="dead"} 0.0' in metrics
    assert order not in metrics
    assert "measured" not in metrics


async def test_every_request_leaves_one_line_that_can_be_found_by_its_id(platform: Platform) -> None:
    async with platform.client() as probe:
        answer = await probe.get("/api/v1/products?sku=NONE", headers={"X-Request-Id": "find-me-again"})
        assert answer.headers["x-request-id"] == "find-me-again"
    # The line is written when the event loop next turns, which may be after the answer.
    wait_until(lambda: "find-me-again" in platform.log())
    lines = [msgspec.json.decode(line) for line in platform.log().splitlines() if "find-me-again" in line]
    assert len(lines) == 1
    assert (lines[0]["route"], lines[0]["status"], lines[0]["tenant"]) == (
        "GET /api/v1/products",
        200,
        "default",
    )
