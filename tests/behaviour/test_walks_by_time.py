"""Walking lists of orders and payments to their end, whatever happens meanwhile."""

import itertools
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import urlencode

from hypothesis import given, settings
from hypothesis import strategies as st

from mercato.adapters.sql.schema import Schema, prepare
from mercato.adapters.sql.sqlite import SqliteDatabase
from tests.asgi_client import Answer
from tests.behaviour import payments_till
from tests.behaviour.orders_desk import BOB, open_desk
from tests.behaviour.payments_till import open_till
from tests.clock import FakeClock

Listed = dict[str, Any]
_START = FakeClock()()

# Many in one moment, and some further on.
_STEPS = st.lists(st.sampled_from([0, 0, 0, 1, 3_600]), min_size=1, max_size=10)
_CHANGES = st.lists(
    st.tuples(st.sampled_from(["make", "cancel", "end", "edit"]), st.integers(0, 9)), max_size=10
)
_HOURS = st.integers(0, 3).map(lambda hours: (_START + timedelta(hours=hours)).isoformat())


@dataclass
class Shelf:
    """Things that are made one after the other, changed, and listed."""

    clock: FakeClock
    get: Callable[[str], Awaitable[Answer]]
    make: Callable[[int], Awaitable[Listed]]
    change: Callable[[str, str], Awaitable[object]]
    there: list[Listed] = field(default_factory=list)

    async def fill(self, steps: list[int]) -> None:
        for number, seconds in enumerate(steps):
            self.clock.forward(seconds=seconds)
            self.there.append(await self.make(number))

    async def walk(self, query: dict[str, Any], limit: int) -> AsyncIterator[Listed]:
        after: dict[str, str] = {}
        while True:
            page = await self.get(f"?{urlencode({**query, 'limit': limit, **after})}")
            assert page.status == 200, page.body
            for each in page.json["data"]:
                yield each
            if not page.json["meta"]["has_more"]:
                return
            after = {"after": page.json["meta"]["next_cursor"]}


@asynccontextmanager
async def database(service: str, folder: str) -> AsyncIterator[SqliteDatabase]:
    path = Path(folder) / f"{service}.db"
    prepare(path, Schema(service, f"mercato.{service}.migrations"))
    opened = SqliteDatabase(path)
    yield opened
    await opened.close()


@asynccontextmanager
async def shelf_of_orders() -> AsyncIterator[Shelf]:
    with TemporaryDirectory() as folder:
        async with database("orders", folder) as db:
            desk = open_desk(db)
            desk.stock.put("LAMP")

            async def make(number: int) -> Listed:
                who: dict[str, Any] = {"who": "adam", "user_id": BOB.user_id} if number % 2 else {}
                return dict((await desk.place("LAMP", **who)).json["data"])

            async def change(order_id: str, kind: str) -> None:
                if kind == "edit":
                    await desk.call("PUT", f"/{order_id}", {"notes": "x"}, who="adam")
                else:
                    await desk.call("POST", f"/{order_id}/cancel", {}, who="adam")
                if kind == "end":
                    await desk.call("DELETE", f"/{order_id}", who="adam")

            yield Shelf(desk.clock, lambda path: desk.call("GET", path, who="adam"), make, change)


@asynccontextmanager
async def shelf_of_payments() -> AsyncIterator[Shelf]:
    with TemporaryDirectory() as folder:
        async with database("payments", folder) as db:

            async def opened(_: str) -> SqliteDatabase:
                return db

            async with open_till(opened, Path(folder)) as till:

                async def make(number: int) -> Listed:
                    user = (payments_till.ANN, payments_till.BOB)[number % 2]
                    made = await till.create(till.orders.place(user=user), who="admin")
                    return dict(made.json["data"])

                async def change(payment_id: str, kind: str) -> None:
                    if kind in {"cancel", "end"}:
                        await till.call("admin", "POST", f"/{payment_id}/cancel")
                    else:
                        await till.process(payment_id, who="admin")

                yield Shelf(till.clock, lambda path: till.call("admin", "GET", path), make, change)


def latest_first(things: list[Listed]) -> list[str]:
    return [each["id"] for each in sorted(things, key=lambda each: (at(each), each["id"]), reverse=True)]


def at(each: Listed) -> datetime:
    return datetime.fromisoformat(each["created_at"])


def is_wanted(each: Listed, query: dict[str, str]) -> bool:
    return (
        query.get("status", each["status"]) == each["status"]
        and query.get("user_id", each["user_id"]) == each["user_id"]
        and ("from" not in query or datetime.fromisoformat(query["from"]) <= at(each))
        and ("to" not in query or at(each) < datetime.fromisoformat(query["to"]))
    )


async def check_walk(
    shelf: Shelf, steps: list[int], query: dict[str, str], changes: list[tuple[str, int]], limit: int
) -> None:
    """Assert that a walk meets what stays as it is, once and in order; all of it if nothing changes."""
    await shelf.fill(steps)
    touched: set[str] = set()
    to_come = iter(changes)
    met: list[str] = []
    async for each in shelf.walk(query, limit):
        met.append(each["id"])
        for kind, which in itertools.islice(to_come, 2):
            if kind == "make":
                await shelf.make(which)
                continue
            chosen = shelf.there[which % len(shelf.there)]["id"]
            touched.add(chosen)
            await shelf.change(chosen, kind)

    assert len(met) == len(set(met))
    stayed = [each for each in shelf.there if each["id"] not in touched and is_wanted(each, query)]
    wanted = latest_first(stayed)
    assert [each for each in met if each in wanted] == wanted
    left = (await shelf.get("?page_size=100")).json
    assert left["meta"]["total_count"] == len(left["data"])
    again = (await shelf.get(f"?{urlencode({**query, 'page_size': 100})}")).json
    assert [each["id"] for each in again["data"]] == latest_first(
        [each for each in left["data"] if is_wanted(each, query)]
    )
    assert again["meta"]["total_count"] == len(again["data"])


@given(
    steps=_STEPS,
    query=st.fixed_dictionaries(
        {},
        optional={
            "status": st.sampled_from(["pending", "cancelled"]),
            "user_id": st.just(str(BOB.user_id)),
            "from": _HOURS,
            "to": _HOURS,
        },
    ).filter(lambda query: query.get("from", "") <= query.get("to", "~")),
    changes=_CHANGES,
    limit=st.integers(1, 3),
)
@settings(max_examples=80, deadline=None)
async def test_orders_are_met_once_each_and_none_is_missed(
    steps: list[int], query: dict[str, str], changes: list[tuple[str, int]], limit: int
) -> None:
    async with shelf_of_orders() as shelf:
        await check_walk(shelf, steps, query, changes, limit)


@given(
    steps=_STEPS,
    query=st.fixed_dictionaries(
        {}, optional={"status": st.sampled_from(["pending", "success", "cancelled"])}
    ),
    changes=_CHANGES,
    limit=st.integers(1, 3),
)
@settings(max_examples=80, deadline=None)
async def test_payments_are_met_once_each_and_none_is_missed(
    steps: list[int], query: dict[str, str], changes: list[tuple[str, int]], limit: int
) -> None:
    async with shelf_of_payments() as shelf:
        await check_walk(shelf, steps, query, changes, limit)
