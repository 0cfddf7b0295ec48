"""Machines whose clocks are ten minutes apart: tokens hold, holds end once and in time, the books balance."""

import asyncio
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest

from mercato.kernel.ids import uuid7
from tests.commands import mercato
from tests.engines import need
from tests.running import Shopper, add_product, free_port, open_store, order_of
from tests.services import Services
from tests.split_engines import engines
from tests.waiting import until

APART_S = {"products": 600, "orders": -600, "payments": 600, "notifications": -600, "gateway": 600}
"""How far each machine's clock is ahead. That of users is right, as are the servers'."""
SECOND_S = 600
"""That of a second replica of orders."""
HOLD_S = 10.0


def skewed(seconds: int) -> dict[str, str]:
    """Return what lets a process believe in another time than its machine's."""
    (library,) = Path("/usr/lib").glob("*/faketime/libfaketime.so.1")
    return {
        "LD_PRELOAD": str(library),
        "FAKETIME": f"{seconds:+d}s",
        # A wrong clock goes as fast as a right one.
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
    }


@pytest.fixture(scope="module")
def skewed_services(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Services, Services]]:
    need("postgres", "rabbitmq", "redis", "faketime")
    folder = tmp_path_factory.mktemp("skewed")
    settings = engines() | {"MERCATO_HOLD": str(HOLD_S), "MERCATO_ORPHAN_GRACE": "1"}
    services = Services(folder, settings, own={name: skewed(by) for name, by in APART_S.items()})
    second = Services(
        tmp_path_factory.mktemp("second"),
        settings,
        own={"orders": skewed(SECOND_S)},
        ports=services.ports | {"orders": free_port()},
    )
    try:
        services.start()
        second.start(["orders"])
        yield services, second
    finally:
        for each in (services, second):
            each.kill(*each.processes)


def skew(services: Services, name: str) -> float:
    text = services.asked(name, "/metrics")[1].decode()
    told = f'mercato_clock_skew_seconds{{dependency="{"redis" if name == "gateway" else "database"}"}} '
    return next(float(line.removeprefix(told)) for line in text.splitlines() if line.startswith(told))


async def buy(shop: Shopper, product: str) -> str:
    order = await shop.post("/api/v1/orders", order_of(product), key=uuid7())
    assert order.data["status"] == "pending"
    assert abs(datetime.fromisoformat(order.data["created_at"]) - datetime.now(UTC)) < timedelta(minutes=1)
    return str(order.data["id"])


async def test_a_shop_works_whose_machines_are_ten_minutes_apart(
    skewed_services: tuple[Services, Services],
) -> None:
    services, second = skewed_services
    store = await open_store(services, "skewed")
    async with services.client(store.customer) as shop:
        product = await add_product(shop, store, "CLOCK", stock=1_000)
        paid = await buy(shop, product)
        payment = (await shop.post("/api/v1/payments", {"order_id": paid, "method": "card"})).data["id"]
        assert (await shop.post(f"/api/v1/payments/{payment}/process")).data["status"] == "success"
        await shop.until(f"/api/v1/orders/{paid}", "status", "confirmed")
        ordered_at = time.monotonic()
        unpaid = await buy(shop, product)
        # Two replicas whose clocks are twenty minutes apart sweep for it, and one of them ends it.
        await shop.until(f"/api/v1/orders/{unpaid}", "status", "cancelled", within_s=60)
        assert time.monotonic() - ordered_at > HOLD_S - 1
        timeline = (await shop.get(f"/api/v1/orders/{unpaid}/timeline")).data
        assert [each["event"] for each in timeline].count("order.cancelled") == 1, timeline
        inventory = await shop.until(f"/api/v1/products/{product}/inventory", "reserved", 0, within_s=30)
        assert inventory["on_hand"] == 999

        asked = {"query": "{ me { email orders { status } } }"}
        assert (await shop.post("/graphql", asked)).json["data"]["me"]["orders"]
    services.assert_balanced()
    for name, by in APART_S.items():
        assert abs(skew(services, name) - by) < 2
    told = [msgspec.json.decode(line) for line in (services.folder / "orders.err").read_text().splitlines()]
    wrong = next(line for line in told if "clock is wrong" in line["event"])
    assert (wrong["dependency"], round(wrong["ahead_s"], -1)) == ("database", -600)
    assert skew(second, "orders") > 0
    ended = await asyncio.to_thread(mercato, "doctor", "--json", folder=services.folder, **services.variables)
    found = {each["check"]: each for each in msgspec.json.decode(ended.out)["findings"]}
    off = {name.removesuffix(" clock") for name, each in found.items() if each["state"] == "problem"}
    assert off == APART_S.keys() - {"gateway"}, found
    assert found["orders clock"]["next"] == "set the machines' clocks, for example by NTP"
    assert (found["clock"]["state"], found["redis clock"]["state"]) == ("ok", "ok")


async def test_tokens_are_cut_everywhere_at_once_whatever_the_clocks_say(
    skewed_services: tuple[Services, Services],
) -> None:
    services, _ = skewed_services
    store = await open_store(services, "cuts")
    change = {"current_password": "customer-password", "new_password": "another-password"}
    async with services.client(store.customer) as old:
        assert (await old.get("/api/v1/orders")).status == 200
        new = (await old.post("/api/v1/users/me/password", change)).data["token"]
        for path in ("/api/v1/orders", "/api/v1/payments", "/api/v1/users/me", "/api/v1/products"):
            await until(lambda path=path: refused(old, path))  # type: ignore[misc]  # mypy knows no defaults
            assert (await old.get(path, token=new)).status == 200, path


async def refused(shop: Shopper, path: str) -> bool:
    return (await shop.get(path)).status == 401


async def test_a_key_is_held_by_one_of_two_replicas_whose_clocks_differ(
    skewed_services: tuple[Services, Services],
) -> None:
    services, _ = skewed_services
    store = await open_store(services, "keys")
    async with services.client(store.customer) as shop:
        product = await add_product(shop, store, "KEY", stock=100)
    urls = [f"http://127.0.0.1:{each.ports['orders']}" for each in skewed_services]
    clients = [Shopper(url, store.customer, None) for url in urls]
    async with clients[0], clients[1]:
        for number in range(5):
            racing = [
                clients[each % 2].post("/api/v1/orders", order_of(product), key=f"k-{number}")
                for each in range(12)
            ]
            answers = await asyncio.gather(*racing)
            assert len({each.data["id"] for each in answers if each.status == 201}) == 1
            assert {each.code for each in answers if each.status != 201} <= {"IDEMPOTENCY_KEY_IN_USE"}
        listed = await clients[0].get("/api/v1/orders")
    assert listed.json["meta"]["total_count"] == 5
    services.assert_balanced()
