"""Killing the process while it mails: what happened is mailed, each time once."""

import asyncio
import random
from collections import Counter
from typing import Any

from mercato.kernel.ids import uuid7
from tests.mail_server import MailServer, mail_server
from tests.rows import at_rest
from tests.running import Answer, Down, Platform, Shopper, Store, add_product, open_store, order_of

KILLS = 20
BUYERS = 6
STOCK = 1_000_000


class Buyers:
    """Shoppers who buy one thing after the other, repeating each call with its key until it is answered."""

    def __init__(self, platform: Platform, store: Store, product: str) -> None:
        self._platform = platform
        self._store = store
        self._product = product
        self._stopping = asyncio.Event()
        self.placed: set[str] = set()
        self.paid: set[str] = set()

    async def buy(self) -> None:
        async with self._platform.client(self._store.customer) as shop:
            while not self._stopping.is_set():
                order = (await _until_answered(shop, "/api/v1/orders", order_of(self._product))).data["id"]
                self.placed.add(order)
                wanted = {"order_id": order, "method": "card"}
                payment = (await _until_answered(shop, "/api/v1/payments", wanted)).data["id"]
                done = await _until_answered(shop, f"/api/v1/payments/{payment}/process", {})
                if done.data["status"] == "success":
                    self.paid.add(order)

    def stop(self) -> None:
        self._stopping.set()


async def _until_answered(shop: Shopper, path: str, body: object) -> Answer:
    key = uuid7()
    while True:
        try:
            answer = await shop.post(path, body, key=key)
        except Down:
            answer = None
        if answer is not None and answer.status not in {202, 409, 503}:
            return answer
        await asyncio.sleep(0.02)


async def _each_is_sent(platform: Platform, store: Store) -> list[dict[str, Any]]:
    """Wait until nothing is on its way; return every notification."""
    await at_rest(platform)
    async with platform.client(store.admin) as admin:
        found = await _all_of(admin, "notifications")
    assert {each["status"] for each in found} == {"sent"}
    return found


async def _all_of(shop: Shopper, name: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    after = ""
    while True:
        page = (await shop.get(f"/api/v1/{name}?limit=100{after}")).json
        found += page["data"]
        if not page["meta"]["has_more"]:
            return found
        after = f"&after={page['meta']['next_cursor']}"


async def _kill_again_and_again(platform: Platform, buyers: Buyers) -> None:
    tasks = [asyncio.create_task(buyers.buy()) for _ in range(BUYERS)]
    for _ in range(KILLS):
        await asyncio.sleep(random.uniform(0.1, 0.5))
        await asyncio.to_thread(platform.kill)
        await asyncio.to_thread(platform.start)
    buyers.stop()
    await asyncio.gather(*tasks)


def _assert_each_was_told_once(told: list[dict[str, Any]], buyers: Buyers) -> None:
    of = Counter((each["template"], each["order_id"]) for each in told if each["order_id"])
    assert max(of.values()) == 1
    assert {order for template, order in of if template == "order_created"} >= buyers.placed
    assert {order for template, order in of if template == "order_paid"} >= buyers.paid
    assert len(buyers.paid) > KILLS, "the load was too small to mean anything"


async def test_after_20_kills_each_mail_is_in_the_mailbox_once(own_platform: Platform) -> None:
    platform = own_platform
    platform.environ["MERCATO_MAILBOX_KEEP"] = "100000"
    platform.start()
    store = await open_store(platform, "mailing")
    async with platform.client(store.admin) as admin:
        product = await add_product(admin, store, "ANVIL", stock=STOCK)
    buyers = Buyers(platform, store, product)
    await _kill_again_and_again(platform, buyers)
    told = await _each_is_sent(platform, store)
    _assert_each_was_told_once(told, buyers)
    async with platform.client(store.admin) as admin:
        mailed = Counter(each["notification_id"] for each in await _all_of(admin, "mailbox"))
    assert mailed == {each["id"]: 1 for each in told}
    assert any(each["attempts"] > 1 for each in told), "no kill met a mail that was being sent"
    platform.assert_balanced()


async def test_after_20_kills_a_mail_server_has_every_mail_under_one_message_id(
    own_platform: Platform,
) -> None:
    platform = own_platform
    async with mail_server() as server:
        platform.environ |= {
            "MERCATO_MAIL_SENDER": "smtp",
            "MERCATO_MAIL_FROM": "no-reply@mail.example",
            "MERCATO_SMTP_HOST": "127.0.0.1",
            "MERCATO_SMTP_PORT": str(server.port),
            "MERCATO_SMTP_TLS": "none",
        }
        platform.start()
        store = await open_store(platform, "mailing")
        async with platform.client(store.admin) as admin:
            product = await add_product(admin, store, "ANVIL", stock=STOCK)
        buyers = Buyers(platform, store, product)
        await _kill_again_and_again(platform, buyers)
        told = await _each_is_sent(platform, store)
        assert platform.stop() == 0
        _assert_each_was_told_once(told, buyers)
        assert _message_ids(server) == {f"<{each['id']}.1@mail.example>" for each in told}
        twice = len(server.taken) - len(told)
        assert twice <= KILLS * 16, "only what was being sent at a kill comes again"


def _message_ids(server: MailServer) -> set[str]:
    return {str(each["Message-ID"]) for each in server.taken}
