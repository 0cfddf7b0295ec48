"""Killing the process while staff works: there is an entry for each change, and none without one."""

import asyncio
import random
import sqlite3
from collections import Counter
from contextlib import closing
from pathlib import Path

from mercato.kernel.ids import uuid7
from tests.commands import wait_until
from tests.faults.test_kill import until_answered
from tests.running import Platform, Store, open_store

KILLS = 8
ADMINS = 8


async def test_kills_leave_an_entry_for_each_change_and_none_without(own_platform: Platform) -> None:
    platform = own_platform
    platform.start()
    store = await open_store(platform, "killed")
    made: set[str] = set()
    stopping = asyncio.Event()
    admins = [asyncio.create_task(add_products(platform, store, made, stopping)) for _ in range(ADMINS)]
    for _ in range(KILLS):
        await asyncio.sleep(random.uniform(0.2, 0.5))
        await asyncio.to_thread(platform.kill)
        await asyncio.to_thread(platform.start)
    await asyncio.sleep(0.3)
    stopping.set()
    await asyncio.gather(*admins)

    assert len(made) > KILLS
    await asyncio.to_thread(wait_until, lambda: column(platform.data, "products", UNSENT) == [0])
    await asyncio.to_thread(wait_until, lambda: column(platform.data, "users", PARKED) == [0])
    products = column(platform.data, "products", "SELECT id FROM products WHERE tenant_id = 'killed'")
    entries = column(
        platform.data, "users", "SELECT object_id FROM audit_log WHERE action = 'products_create'"
    )
    assert Counter(entries) == Counter(products)
    assert made <= set(map(str, entries))


UNSENT = "SELECT count(*) FROM outbox WHERE sent_at IS NULL"
PARKED = "SELECT count(*) FROM inbox_parked"


async def add_products(platform: Platform, store: Store, made: set[str], stopping: asyncio.Event) -> None:
    async with platform.client(store.admin) as shop:
        while not stopping.is_set():
            body = {"sku": f"S-{uuid7()}", "name": "Thing", "price": 1, "stock": 1}
            answer = await until_answered(shop, "/api/v1/products", body, uuid7())
            assert answer.status == 201, answer.body
            made.add(answer.data["id"])


def column(data: Path, service: str, query: str) -> list[object]:
    with closing(sqlite3.connect(data / f"{service}.db")) as connection:
        return [value for (value,) in connection.execute(query)]
