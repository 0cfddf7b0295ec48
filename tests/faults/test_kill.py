"""Killing the process under load: what was acknowledged is there, and nothing happened twice."""

import asyncio
import random
import sqlite3
from collections import Counter
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from mercato.kernel.ids import uuid7
from tests.running import Answer, Down, Platform, Shopper, Store, add_product, open_store, order_of

KILLS = 20
BUYERS = 12
STOCK = 1_000_000
_RETRY_S = 0.02


@dataclass
class Purchases:
    """What the buyers were told."""

    orders: dict[str, str] = field(default_factory=dict)
    """Idempotency key → order id, for every 201."""
    paid: set[str] = field(default_factory=set)
    """Orders whose payment was told to have succeeded."""
    unexpected: list[tuple[str, int, bytes]] = field(default_factory=list)


async def test_20_kills_under_load_lose_nothing_and_double_nothing(own_platform: Platform) -> None:
    platform = own_platform
    platform.start()
    store = await open_store(platform, "killed")
    async with platform.client(store.admin) as admin:
        product = await add_product(admin, store, "ANVIL", stock=STOCK)
    told = Purchases()
    stopping = asyncio.Event()
    buyers = [asyncio.create_task(buy(platform, store, product, told, stopping)) for _ in range(BUYERS)]
    for _ in range(KILLS):
        await asyncio.sleep(random.uniform(0.2, 0.6))
        await asyncio.to_thread(platform.kill)
        await asyncio.to_thread(platform.start)
    await asyncio.sleep(0.3)
    stopping.set()
    await asyncio.gather(*buyers)

    assert told.unexpected == []
    assert len(told.orders) > KILLS, "the load was too small to mean anything"
    async with platform.client(store.customer) as shop:
        for order_id in told.paid:
            await shop.until(f"/api/v1/orders/{order_id}", "status", "confirmed")
        for order_id in told.orders.values():
            assert (await shop.get(f"/api/v1/orders/{order_id}")).status == 200
        listed = await shop.get("/api/v1/orders?page_size=1")
        assert listed.json["meta"]["total_count"] == len(told.orders), "one order for each key, and no other"
        await shop.until(f"/api/v1/products/{product}/inventory", "reserved", 0, within_s=30)
        inventory = (await shop.get(f"/api/v1/products/{product}/inventory")).data
        assert inventory["on_hand"] == STOCK - len(told.paid)
    assert max(Counter(_charged_orders(platform.data)).values()) == 1
    report = platform.assert_balanced()
    assert report["orders"] == len(told.orders)


async def buy(
    platform: Platform, store: Store, product: str, told: Purchases, stopping: asyncio.Event
) -> None:
    """Buy one thing after the other, repeating every call with its key until it is answered."""
    async with platform.client(store.customer) as shop:
        while not stopping.is_set():
            key = uuid7()
            placed = await until_answered(shop, "/api/v1/orders", order_of(product), key)
            if placed.status != 201:
                told.unexpected.append(("order", placed.status, placed.body))
                return
            order_id = told.orders[key] = placed.data["id"]
            if not await _pay(shop, order_id, told):
                return


async def _pay(shop: Shopper, order_id: str, told: Purchases) -> bool:
    """Pay an order; a payment that a kill kept from the provider fails, and another is made."""
    while True:
        wanted = {"order_id": order_id, "method": "card"}
        opened = await until_answered(shop, "/api/v1/payments", wanted, uuid7())
        if opened.status != 201:
            told.unexpected.append(("payment", opened.status, opened.body))
            return False
        paid = await _until_paid(shop, opened.data["id"])
        if paid.status == 200 and paid.data["status"] == "success":
            told.paid.add(order_id)
            return True
        if paid.status != 200 or paid.data["failure_reason"] != "not charged":
            told.unexpected.append(("process", paid.status, paid.body))
            return False


async def until_answered(shop: Shopper, path: str, body: object, key: str) -> Answer:
    """Repeat one keyed call until it has a final answer."""
    while True:
        try:
            answer = await shop.post(path, body, key=key)
        except Down:
            await asyncio.sleep(_RETRY_S)
            continue
        if answer.status == 503 or (answer.status == 409 and answer.code == "IDEMPOTENCY_KEY_IN_USE"):
            await asyncio.sleep(_RETRY_S)
            continue
        return answer


async def _until_paid(shop: Shopper, payment: str) -> Answer:
    """Process a payment until its outcome is known."""
    key = uuid7()
    while True:
        answer = await until_answered(shop, f"/api/v1/payments/{payment}/process", {}, key)
        if answer.status != 202:
            return answer
        await asyncio.sleep(_RETRY_S)


def _charged_orders(data: Path) -> list[str]:
    """Return the order of each charge in the sandbox's own book."""
    with closing(sqlite3.connect(data / "payments.db")) as payments:
        order_of_payment = dict(payments.execute("SELECT id, order_id FROM payments"))
    with closing(sqlite3.connect(data / "sandbox.db")) as book:
        keys = [key for (key,) in book.execute("SELECT key FROM charges WHERE outcome = 'charged'")]
    return [order_of_payment[key] for key in keys]


async def test_expiry_races_payment_and_exactly_one_wins(own_platform: Platform) -> None:
    platform = own_platform
    pairs = 200
    hold_s = 12.0
    platform.environ["MERCATO_HOLD"] = str(hold_s)
    platform.start()
    store = await open_store(platform, "expiry")
    async with platform.client(store.customer) as shop:
        product = await add_product(shop, store, "EGG", stock=STOCK)

        async def pair() -> tuple[str, str]:
            """Place an order and pay it about when it expires."""
            placed = asyncio.get_running_loop().time()
            order = (await shop.post("/api/v1/orders", order_of(product))).data["id"]
            payment = (await shop.post("/api/v1/payments", {"order_id": order, "method": "card"})).data["id"]
            moment = placed + hold_s + random.uniform(-0.2, 0.7)
            await asyncio.sleep(max(0.0, moment - asyncio.get_running_loop().time()))
            await shop.post(f"/api/v1/payments/{payment}/process")
            return order, payment

        outcomes = await asyncio.gather(*(pair() for _ in range(pairs)))

        confirmed = cancelled = 0
        for order_id, payment_id in outcomes:
            order = await shop.until(f"/api/v1/orders/{order_id}", "status", "confirmed", "cancelled")
            if order["status"] == "confirmed":
                confirmed += 1
                payment = (await shop.get(f"/api/v1/payments/{payment_id}")).data
                assert payment["status"] == "success"
                continue
            cancelled += 1
            await shop.until(f"/api/v1/payments/{payment_id}", "status", "refunded", "cancelled")
        assert confirmed + cancelled == pairs
        assert confirmed, "no payment was in time: the race was none"
        assert cancelled, "no order expired: the race was none"
        inventory = await shop.until(f"/api/v1/products/{product}/inventory", "reserved", 0)
        assert inventory["on_hand"] == STOCK - confirmed
    platform.assert_balanced()


async def test_a_stop_waits_for_a_charge_under_way(own_platform: Platform) -> None:
    platform = own_platform
    platform.start()
    store = await open_store(platform, "stopped")
    async with platform.client(store.customer) as shop:
        product = await add_product(shop, store, "LAMP", stock=STOCK)
        order = (await shop.post("/api/v1/orders", order_of(product))).data["id"]
        slow = {"order_id": order, "method": "card", "token": "tok_slow"}
        payment = (await shop.post("/api/v1/payments", slow)).data["id"]
        processing = asyncio.create_task(shop.post(f"/api/v1/payments/{payment}/process"))
        await shop.until(f"/api/v1/payments/{payment}", "status", "processing")

        stopped = asyncio.create_task(asyncio.to_thread(platform.stop))

        assert (await processing).data["status"] == "success"
        assert await stopped == 0
    platform.start()
    platform.assert_balanced()
