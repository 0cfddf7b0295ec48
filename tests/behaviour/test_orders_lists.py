"""Lists of orders: filtered, newest first, and at constant cost however many there are."""

import asyncio
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from mercato.adapters.sql.database import Row, Value
from mercato.adapters.sql.schema import Schema, prepare
from mercato.adapters.sql.steps import Steps
from mercato.contracts.orders import OrderStatus
from mercato.kernel.clock import to_micros
from mercato.kernel.ids import UserId, uuid7
from mercato.kernel.paging import Window, time_key
from mercato.kernel.tenancy import DEFAULT_TENANT, TenantId
from mercato.orders.ports import OrderFilter
from mercato.orders.stores.sql import SqlOrders
from tests.behaviour.orders_desk import ANN, BOB, Desk, open_desk
from tests.clock import FakeClock
from tests.conftest import OpenDatabase

MANY = 100_000
Span = tuple[int | None, int | None]
"""Seconds since the first order."""


@pytest.fixture
async def desk(open_database: OpenDatabase) -> Desk:
    desk = open_desk(await open_database("orders"))
    desk.stock.put("LAMP", available=10_000)
    return desk


async def listed(desk: Desk, path: str = "", who: str = "adam") -> list[str]:
    answer = await desk.call("GET", path, who=who)
    assert answer.status == 200, answer.body
    return [each["id"] for each in answer.json["data"]]


async def by_cursor(desk: Desk, path: str, who: str = "adam") -> list[str]:
    """Follow a list to its end."""
    found: list[str] = []
    after = ""
    while True:
        answer = (await desk.call("GET", f"{path}{after}", who=who)).json
        assert answer["data"], "an empty page follows no cursor"
        found += [each["id"] for each in answer["data"]]
        if not answer["meta"]["has_more"]:
            assert answer["meta"].get("next_cursor") is None
            return found
        after = f"&after={answer['meta']['next_cursor']}"


async def hourly(desk: Desk, count: int) -> list[str]:
    """Place one order of Ann's an hour, and return their ids, latest first."""
    placed: list[str] = []
    for _ in range(count):
        placed.append(await desk.placed())
        desk.clock.forward(hours=1)
    return placed[::-1]


async def test_filters_hold_all_at_once(desk: Desk) -> None:
    mine = await hourly(desk, 2)
    bobs = (await desk.place("LAMP", who="adam", user_id=BOB.user_id)).json["data"]["id"]
    await desk.call("POST", f"/{mine[0]}/cancel", {})

    assert await listed(desk) == [bobs, *mine]
    assert await listed(desk, "?status=pending") == [bobs, mine[1]]
    assert await listed(desk, f"?user_id={BOB.user_id}") == [bobs]
    assert await listed(desk, f"?user_id={uuid7()}") == []
    assert await listed(desk, "?status=pending", who="ann") == [mine[1]]
    assert await listed(desk, "/my-orders?status=cancelled", who="ann") == [mine[0]]


async def test_a_span_holds_its_start_and_not_its_end(desk: Desk) -> None:
    start = desk.clock()
    third, second, first = await hourly(desk, 3)
    at = [quote((start + timedelta(hours=hour)).isoformat()) for hour in range(4)]

    assert await listed(desk, f"?from={at[1]}") == [third, second]
    assert await listed(desk, f"?to={at[1]}") == [first]
    assert await listed(desk, f"?from={at[0]}&to={at[2]}") == [second, first]
    assert await listed(desk, f"?from={at[1]}&to={at[1]}") == []
    assert await listed(desk, "?from=2026-01-01T14:00:00%2B01:00&limit=10") == [third, second]
    assert await listed(desk, f"/my-orders?from={at[2]}", who="ann") == [third]
    counted = (await desk.call("GET", f"?from={at[1]}", who="adam")).json["meta"]
    assert (counted["total_count"], counted["total_pages"]) == (2, 1)


@pytest.mark.parametrize(
    "query, fields",
    [
        ("from=yesterday", {"from"}),
        ("from=2026-01-01T12:00:00", {"from"}),
        ("from=5&to=2026-13-01T00:00:00Z", {"from", "to"}),
        ("from=2026-01-02T00:00:00Z&to=2026-01-01T00:00:00Z", {"from"}),
        ("user_id=nobody", {"user_id"}),
        ("status=lost", {"status"}),
        ("colour=red&state=x", {"colour", "state"}),
        ("after=bm90aGluZw", {"after"}),
        ("after=%00", {"after"}),
        ("from_=2026-01-01T00:00:00Z", {"from_"}),
    ],
)
async def test_a_filter_that_is_none_is_refused_by_name(desk: Desk, query: str, fields: set[str]) -> None:
    answer = await desk.call("GET", f"?{query}", who="adam")

    assert (answer.status, answer.code) == (400, "VALIDATION_ERROR")
    assert {each["field"] for each in answer.json["error"]["details"]} == fields


async def test_an_id_is_no_cursor_and_neither_is_half_of_one(desk: Desk) -> None:
    await hourly(desk, 2)
    cursor = (await desk.call("GET", "?limit=1", who="adam")).json["meta"]["next_cursor"]

    for wrong in (cursor[:-4], uuid7(), "MS4", "LQ"):
        assert (await desk.call("GET", f"?after={wrong}", who="adam")).status == 400


async def test_orders_of_one_moment_are_each_listed_once(desk: Desk) -> None:
    answers = await asyncio.gather(*(desk.place("LAMP") for _ in range(20)))
    placed = sorted((answer.json["data"]["id"] for answer in answers), reverse=True)

    assert await by_cursor(desk, "?limit=3") == placed


async def test_an_order_whose_id_is_older_than_its_placement_is_listed_by_its_placement(desk: Desk) -> None:
    """A call taken up again after a crash places its order late, under the id it had at first."""
    early_id = uuid7()
    later = await hourly(desk, 3)
    await desk.db.transact(
        lambda tx: tx.execute("UPDATE orders SET id = ? WHERE id = ?", (early_id, later[0]))
    )
    wanted = [early_id, *later[1:]]

    assert await by_cursor(desk, "?limit=1") == wanted
    assert await listed(desk, "?from=2026-01-01T14:00:00Z") == [early_id]


async def test_a_list_is_stable_while_orders_are_placed(desk: Desk) -> None:
    before = await hourly(desk, 4)
    first = (await desk.call("GET", "?limit=2", who="adam")).json
    await hourly(desk, 2)

    rest = await listed(desk, f"?limit=10&after={first['meta']['next_cursor']}")

    assert [each["id"] for each in first["data"]] + rest == before


async def test_no_count_is_made_that_is_not_wanted(desk: Desk) -> None:
    await hourly(desk, 1)

    assert "total_count" not in (await desk.call("GET", "?count=false", who="adam")).json["meta"]
    assert (await desk.call("GET", who="adam")).json["meta"]["total_count"] == 1


async def test_a_customer_sees_nothing_of_others_by_any_filter(desk: Desk) -> None:
    await desk.place("LAMP", who="adam", user_id=BOB.user_id)
    own = await desk.placed()

    assert await listed(desk, who="ann") == [own]
    assert await listed(desk, f"?user_id={BOB.user_id}", who="ann") == []
    assert await listed(desk, who="bea") == []


async def of_user(desk: Desk, user_id: str, who: str, query: str = "") -> Any:
    headers = {"Authorization": f"Bearer {who}"}
    return await desk.send("GET", f"/api/v1/users/{user_id}/orders{query}", headers=headers)


async def test_a_users_orders_are_the_users_and_the_staffs_to_see(desk: Desk) -> None:
    bobs = (await desk.place("LAMP", who="adam", user_id=BOB.user_id)).json["data"]["id"]

    found = (await of_user(desk, BOB.user_id, "adam", "?status=pending&limit=1")).json

    assert [each["id"] for each in found["data"]] == [bobs]
    assert (await of_user(desk, uuid7(), "adam")).json["data"] == []
    for who, user_id in (("ann", BOB.user_id), ("ann", uuid7()), ("ann", "me"), ("adam", "nobody")):
        assert (await of_user(desk, user_id, who)).status == 404
    assert (await of_user(desk, BOB.user_id, "adam", "?user_id=x")).status == 400


@pytest.fixture(scope="module")
def crowded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database of very many orders, of some users, in all states."""
    path = tmp_path_factory.mktemp("crowded") / "orders.db"
    prepare(path, Schema("orders", "mercato.orders.migrations"))
    start, statuses, users = to_micros(FakeClock()()), list(OrderStatus), [ANN.user_id, BOB.user_id]

    def rows() -> Iterator[Row]:
        for n in range(MANY):
            store = "default" if n % 10 else "other"
            user, status, at = users[n % 7 == 0], statuses[n % len(statuses)], start + n // 3 * 1_000_000
            yield store, uuid7(), user, status.value, at, at, at, at if n % 1000 == 0 else None

    with closing(sqlite3.connect(path)) as connection:
        connection.executemany(
            "INSERT INTO orders (tenant_id, id, user_id, status, payment_status, stock, hold_until, lines,"
            " total_amount, currency, timeline, created_at, updated_at, version, deleted_at)"
            " VALUES (?, ?, ?, ?, 'unpaid', 'reserved', ?, '[]', 1, 'USD', '[]', ?, ?, 1, ?)",
            rows(),
        )
        connection.commit()
    return path


class Explaining:
    """A Database that explains every search instead of making it."""

    dialect = "sqlite"

    def __init__(self, path: Path) -> None:
        self._path = path
        self.plans: list[str] = []

    async def search(self, sql: str, params: list[Value]) -> list[Row]:
        with closing(sqlite3.connect(self._path)) as connection:
            steps = connection.execute(f"EXPLAIN QUERY PLAN {sql}", params).fetchall()
            self.plans.append("; ".join(step[3] for step in steps))
            return connection.execute(sql, params).fetchall()


@pytest.mark.parametrize("user", [None, pytest.param(BOB.user_id, id="bob")])
@pytest.mark.parametrize("status", [None, OrderStatus.SHIPPED])
@pytest.mark.parametrize("span", [(None, None), (10_000, None), (None, 20_000), (10_000, 20_000)])
@pytest.mark.parametrize("seen", [None, 15_000, 25_000])
async def test_no_list_scans_or_sorts_what_it_does_not_show(
    crowded: Path, user: UserId | None, status: OrderStatus | None, span: Span, seen: int | None
) -> None:
    since, before = span
    start = FakeClock()()

    def at(seconds: int | None) -> Any:
        return None if seconds is None else start + timedelta(seconds=seconds)

    explaining: Any = Explaining(crowded)
    store = SqlOrders(Steps(explaining, source="/test", clock=FakeClock()))
    wanted = OrderFilter(user, status, at(since), at(before))
    window = Window(20, 0, None if seen is None else time_key(at(seen), "f" * 8 + uuid7()[8:]), counted=True)

    found = await store.search(DEFAULT_TENANT, wanted, window)
    total = await store.count(DEFAULT_TENANT, wanted)

    assert (len(found), total > 20) == (21, True)
    assert found == sorted(found, key=lambda order: (order.created_at, order.id), reverse=True)
    last = min((n for n in (before, None if seen is None else seen + 1) if n is not None), default=MANY)
    assert at(since or 0) <= found[-1].created_at <= found[0].created_at < at(last)
    listing, counting = explaining.plans
    given = ["tenant_id=?", *["user_id=?"] * bool(user), *["status=?"] * bool(status)]
    assert listing.startswith("SEARCH orders USING INDEX orders_"), listing
    assert counting.startswith("SEARCH orders USING COVERING INDEX orders_"), counting
    for plan in explaining.plans:
        assert "SCAN" not in plan, plan
        assert "B-TREE" not in plan, plan
        assert f"({' AND '.join(given)}" in plan, plan
    if seen is not None or before is not None:
        assert "created_at<" in listing, listing


async def test_a_store_without_orders_is_empty_at_once(crowded: Path) -> None:
    explaining: Any = Explaining(crowded)
    store = SqlOrders(Steps(explaining, source="/test", clock=FakeClock()))

    assert await store.search(TenantId("none"), OrderFilter(), Window(20, 0, None, counted=False)) == []
