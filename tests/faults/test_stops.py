"""SIGTERM in the middle of the load, again and again: what was taken up is answered, and told to others."""

import asyncio
import sqlite3
import time
from collections.abc import Awaitable, Callable
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from mercato.kernel.ids import uuid7
from mercato.runtime.settings import Settings
from tests.running import Answer, Down, Platform, Shopper, add_product, open_store, order_of
from tests.waiting import until

PLATFORMS = 4
CALLERS = 6
ANSWERED_FIRST = 12
"""How much is answered before each stop."""
MARGIN_S = 10.0
"""What a busy machine may take longer than the time to drain, and to hand over what is left."""

Make = Callable[[Shopper], Awaitable[Answer]]


@dataclass
class Load:
    """What callers were told, over all stops of a platform."""

    platform: Platform
    make: Make
    token: str | None = None
    made: set[str] = field(default_factory=set)
    refused: list[Answer] = field(default_factory=list)

    async def stop_under_it(self) -> None:
        wanted = len(self.made) + ANSWERED_FIRST
        callers = [asyncio.create_task(self._call()) for _ in range(CALLERS)]
        await until(lambda: len(self.made) >= wanted)
        began = time.monotonic()
        assert await asyncio.to_thread(self.platform.stop) == 0
        assert time.monotonic() - began < Settings().drain_deadline + MARGIN_S
        await asyncio.gather(*callers)

    async def _call(self) -> None:
        async with self.platform.client(self.token) as shop:
            while True:
                try:
                    answer = await self.make(shop)
                except Down:
                    return
                if answer.status == 201:
                    made = answer.data
                    self.made.add(made["user"]["id"] if "user" in made else made["id"])
                else:
                    self.refused.append(answer)


def found(platform: Platform, database: str, statement: str) -> list[tuple[str]]:
    with closing(sqlite3.connect(platform.data / f"{database}.db")) as file:
        return file.execute(statement).fetchall()


async def on_an_order(platform: Platform) -> Load:
    store = await open_store(platform, "stops")
    async with platform.client(store.admin) as admin:
        product = await add_product(admin, store, "LAMP", stock=1_000_000)
    return Load(
        platform, lambda shop: shop.post("/api/v1/orders", order_of(product), key=uuid7()), store.customer
    )


async def on_an_account(platform: Platform) -> Load:
    def register(shop: Shopper) -> Awaitable[Answer]:
        account = {"email": f"{uuid7()}@stops.example", "password": "password123"}
        body = {**account, "first_name": "Ann", "last_name": "Lee"}
        return shop.post("/api/v1/users/register", body, key=uuid7())

    return Load(platform, register)


@pytest.mark.parametrize(
    "program, times, begin, kept",
    [
        (("mercato", "up"), 5, on_an_order, ("orders", "SELECT id FROM orders")),
        (
            ("mercato", "serve", "users"),
            2,
            on_an_account,
            ("users", "SELECT id FROM users WHERE email LIKE '%@stops%'"),
        ),
    ],
    ids=["all in one process", "a service apart"],
)
async def test_stops_under_load_drop_no_request_that_was_taken_up(
    program: tuple[str, ...],
    times: int,
    begin: Callable[[Platform], Awaitable[Load]],
    kept: tuple[str, str],
    tmp_path: Path,
) -> None:
    platforms = []
    for number in range(PLATFORMS):
        (tmp_path / str(number)).mkdir()
        platforms.append(Platform(tmp_path / str(number), program=program))

    async def stop_again_and_again(platform: Platform) -> None:
        load: Load | None = None
        for _ in range(times):
            await asyncio.to_thread(platform.start)
            load = load or await begin(platform)
            await load.stop_under_it()
            if program[1] == "up":
                # Nobody is there to be told by a service apart.
                assert found(platform, "orders", "SELECT position FROM outbox WHERE sent_at IS NULL") == []
        assert load is not None
        assert load.refused == []
        # One more would be one that was carried out, and whose answer was lost.
        assert {each for (each,) in found(platform, *kept)} == load.made
        log = [line["event"] for line in platform.lines()]
        assert log.count("stopped") == times
        assert not {"requests were cut off", "events are left"} & set(log)

    try:
        await asyncio.gather(*(stop_again_and_again(each) for each in platforms))
    finally:
        for each in platforms:
            if each.process is not None and each.process.poll() is None:
                each.kill()
