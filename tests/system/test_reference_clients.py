"""Clients of the AWS SaaS reference architecture on a running platform."""

import asyncio
from pathlib import Path

import pytest

from tests.buying import assert_sold, bought_at_once
from tests.commands import serving
from tests.modes import OWN_PROCESSES
from tests.rows import kept
from tests.running import Platform, add_product, open_store
from tests.system.test_accounts import link, token_in

PASSWORD = "battery staple"


def line(product: str, quantity: int = 1) -> dict[str, object]:
    return {"orderProducts": [{"productId": product, "price": 10, "quantity": quantity}]}


async def test_somebody_invited_orders_by_flat_paths_and_it_is_an_order_like_any_other(
    platform: Platform,
) -> None:
    store = await open_store(platform, "reference")
    async with platform.client(store.admin) as admin, platform.client(store="reference") as visitor:
        made = await admin.post("/products", {"name": "Mug", "price": 10, "sku": "MUG", "category": ""})
        mug = made.json["productId"]
        stocked = await admin.call("PUT", f"/api/v1/products/{mug}/inventory", {"stock_quantity": 3})
        assert stocked.status == 200
        user = {"userName": "Sam", "userEmail": "sam@reference.example", "userRole": "TenantUser"}
        invited = (await admin.post("/users", user)).json
        assert invited["status"] == "FORCE_CHANGE_PASSWORD"
        login = {"email": user["userEmail"], "password": PASSWORD}
        assert (await visitor.post("/api/v1/users/login", login)).status == 401
        leading = await link(admin, store, "accept-invitation", user["userEmail"])
        page = await visitor.get(leading[leading.index("/account/accept-invitation?") :])
        assert (page.status, b'fetch("/api/v1/users/invitation/accept"' in page.body) == (200, True)
        token = token_in(leading)
        accepting = {"token": token, "new_password": PASSWORD}
        answers = [await visitor.post("/api/v1/users/invitation/accept", accepting) for _ in range(2)]
        assert [each.status for each in answers] == [204, 400]
        sam = (await visitor.post("/api/v1/users/login", login)).data["token"]
    async with platform.client(sam) as shop:
        found = (await shop.get("/products")).json
        assert [each["productId"] for each in found] == [mug]
        placed = await shop.post("/orders", {"orderName": "Breakfast", **line(mug, 2)}, key="breakfast")
        assert (placed.status, placed.json["status"]) == (201, "pending")
        order = placed.json["orderId"]
        assert (await shop.get(f"/products/reference:{mug}/inventory")).json["available"] == 1
        payment = (await shop.post("/api/v1/payments", {"order_id": order, "method": "card"})).data["id"]
        assert (await shop.post(f"/api/v1/payments/{payment}/process", {})).data["status"] == "success"
        await shop.until(f"/api/v1/orders/{order}", "status", "confirmed")
        assert (await shop.get(f"/orders/reference:{order}")).json["status"] == "confirmed"
        user_id = invited["username"]
        assert [each["orderId"] for each in (await shop.get(f"/users/{user_id}/orders")).json] == [order]
        await shop.until(f"/api/v1/products/{mug}/inventory", "on_hand", 1)
        moving = {"status": "processing"}
        moved = await shop.call("PUT", f"/orders/{order}/status", moving, token=store.admin)
        assert moved.json["status"] == "processing"
    log = "\n".join(each for each in platform.log().splitlines() if '"event":"link"' not in each)
    # The local mailbox keeps mails as they were sent, and is a mail server to nobody but developers.
    found = [content for name, content in kept(platform).items() if not name.startswith("notifications.")]
    assert any(b"sam@reference.example" in content for content in found)
    assert (token in log, any(token.encode() in content for content in found)) == (False, False)


async def test_of_forty_flat_orders_for_the_last_one_a_single_one_is_accepted(platform: Platform) -> None:
    store = await open_store(platform, "reference-race")
    async with platform.client(store.customer) as shop:
        lamp = await add_product(shop, store, "LAMP", stock=1)
        answers = await bought_at_once(shop, "/orders", line(lamp), 40)
        await assert_sold(shop, answers, 1)
        assert len((await shop.get("/orders")).json) == sum(each.status == 201 for each in answers)


async def test_the_same_key_sent_by_twenty_at_once_is_one_order(platform: Platform) -> None:
    store = await open_store(platform, "reference-keys")
    async with platform.client(store.customer) as shop:
        lamp = await add_product(shop, store, "LAMP", stock=9)
        answers = await asyncio.gather(*(shop.post("/orders", line(lamp), key="one") for _ in range(20)))
        assert {each.status for each in answers} <= {201, 409}
        last = await shop.post("/orders", line(lamp), key="one")
        assert {each.json["orderId"] for each in (*answers, last) if each.status == 201} == {
            last.json["orderId"]
        }
        assert (await shop.get(f"/products/{lamp}/inventory")).json["reserved"] == 1


async def test_all_of_a_large_catalogue_is_read_by_the_links_each_product_once(platform: Platform) -> None:
    store = await open_store(platform, "reference-large")
    rows = "".join(f"SKU-{number},Product {number},1.00\n" for number in range(2_300))
    async with platform.client(store.admin) as shop:
        imported = await shop.send(
            "POST", "/api/v1/products/import", "text/csv", f"sku,name,price\n{rows}".encode()
        )
        assert imported.data["created"] == 2_300
        found: list[str] = []
        sizes: list[int] = []
        path = "/products"
        while path:
            page = await shop.get(path)
            found += [each["sku"] for each in page.json]
            sizes.append(len(page.json))
            query = page.headers.get("link", "").removeprefix("<").partition(">")[0]
            path = f"/products{query}" if query else ""
    assert sizes == [1000, 1000, 300]
    assert len(set(found)) == len(found) == 2_300


async def test_flat_calls_count_against_the_stores_limits(own_platform: Platform) -> None:
    own_platform.environ["MERCATO_TIER_UNLIMITED"] = "0/0/4"
    own_platform.start()
    store = await open_store(own_platform, "reference-limits")
    async with own_platform.client(store.customer) as shop:
        answers = [await shop.get("/products") for _ in range(5)]
    assert [each.status for each in answers] == [200] * 4 + [429]
    assert answers[0].headers["x-ratelimit-remaining"] == "3"
    assert set(answers[-1].json) == {"error"}
    assert int(answers[-1].headers["retry-after"]) > 0
    assert own_platform.stop() == 0


async def test_each_service_tells_its_health_where_the_clients_ask(platform: Platform) -> None:
    async with platform.client() as shop:
        for service in ("products", "orders", "users"):
            health = await shop.get(f"/{service}/health")
            assert (health.status, health.json["status"], health.json["service"]) == (200, "ok", service)
        assert (await shop.get("/payments/health")).status == 404


@OWN_PROCESSES
@pytest.mark.parametrize("service, other", [("products", "orders"), ("users", "products")])
def test_a_service_alone_tells_its_own_health_only(service: str, other: str, tmp_path: Path) -> None:
    with serving("serve", service, folder=tmp_path) as server:
        status, health = server.ask("GET", f"/{service}/health")
        assert (status, health["service"]) == (200, service)
        assert server.ask("GET", f"/{other}/health")[0] == 404
