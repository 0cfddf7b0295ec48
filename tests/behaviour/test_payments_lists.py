"""Lists of payments at constant cost, and writes that are bound to a version."""

import asyncio
import sqlite3
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from mercato.adapters.sql.database import Row, Value
from mercato.adapters.sql.schema import Schema, prepare
from mercato.adapters.sql.steps import Steps
from mercato.contracts.payments import PaymentStatus
from mercato.kernel.clock import to_micros
from mercato.kernel.ids import OrderId, UserId, uuid7
from mercato.kernel.paging import Window, time_key
from mercato.kernel.tenancy import TenantId
from mercato.payments.ports import PaymentFilter
from mercato.payments.stores.sql import SqlPayments
from tests.behaviour.payments_till import ACME, ANN, BOB, Till, open_till
from tests.clock import FakeClock
from tests.conftest import OpenDatabase

MANY = 100_000
ORDER = OrderId(uuid7())


@pytest.fixture
async def till(open_database: OpenDatabase, tmp_path: Path) -> AsyncIterator[Till]:
    async with open_till(open_database, tmp_path) as opened:
        yield opened


async def listed(till: Till, path: str, who: str = "admin") -> list[str]:
    answer = await till.call(who, "GET", path)
    assert answer.status == 200, answer.body
    return [each["id"] for each in answer.json["data"]]


async def test_payments_are_listed_newest_first_to_the_end_by_cursor(till: Till) -> None:
    made = []
    for number in range(7):
        made.append(await till.open())
        till.clock.forward(seconds=number % 2)
    found: list[str] = []
    after = ""
    while True:
        page = (await till.call("admin", "GET", f"?limit=2{after}")).json
        found += [each["id"] for each in page["data"]]
        if not page["meta"]["has_more"]:
            break
        after = f"&after={page['meta']['next_cursor']}"
    assert found == made[::-1]


async def test_filters_hold_all_at_once_and_within_one_s_own(till: Till) -> None:
    paid, waiting = await till.paid(), await till.open()
    order_id = (await till.show(paid))["order_id"]
    bobs = (await till.create(till.orders.place(user=BOB), who="bob")).json["data"]["id"]

    assert await listed(till, "") == [bobs, waiting, paid]
    assert await listed(till, "?status=pending") == [bobs, waiting]
    assert await listed(till, "?status=pending", "ann") == [waiting]
    assert await listed(till, f"?order_id={order_id}&status=success", "ann") == [paid]
    assert await listed(till, f"?order_id={order_id}&status=pending") == []
    assert await listed(till, f"?order_id={order_id}", "bob") == []
    assert await listed(till, "/my-payments", "bob") == [bobs]
    assert await listed(till, "", "rival") == []


@pytest.mark.parametrize(
    "query", ["?status=lost", "?user_id=x", "?after=eA", "?limit=0", "/my-payments?to=x"]
)
async def test_a_filter_that_is_none_is_refused(till: Till, query: str) -> None:
    assert (await till.call("admin", "GET", query)).code == "VALIDATION_ERROR"


async def test_the_latest_payment_of_an_order_is_the_one_opened_last(till: Till) -> None:
    order_id = till.orders.place()
    failed = (await till.create(order_id, token="tok_declined")).json["data"]["id"]
    await till.process(failed)
    till.clock.forward(seconds=1)
    second = (await till.create(order_id)).json["data"]["id"]
    assert (await till.call("ann", "GET", f"/order/{order_id}")).json["data"]["id"] == second


# Versions


async def test_a_stale_version_stops_every_write_of_a_payment(till: Till) -> None:
    waiting, paid = await till.open(), await till.paid()

    for answer in (
        await till.call("ann", "POST", f"/{waiting}/process", match='"9"'),
        await till.call("ann", "POST", f"/{waiting}/cancel", match='"9"'),
        await till.call("ann", "POST", f"/{waiting}/cancel", match='W/"1"'),
        await till.call("admin", "POST", f"/{paid}/refund", {}, match='"1"'),
        await till.call("admin", "POST", f"/{paid}/process", match='"1"'),
    ):
        assert (answer.status, answer.code) == (412, "VERSION_MISMATCH")
    assert [(await till.show(each))["status"] for each in (waiting, paid)] == ["pending", "success"]
    assert len(await till.charges()) == 1


async def test_the_version_that_was_read_lets_a_write_through(till: Till) -> None:
    payment_id = await till.open()
    etag = (await till.call("ann", "GET", f"/{payment_id}")).headers["etag"]

    done = await till.call("ann", "POST", f"/{payment_id}/process", match=etag)
    back = await till.call("admin", "POST", f"/{payment_id}/refund", {}, match=done.headers["etag"])

    assert (done.status, back.json["data"]["status"]) == (200, "refunded")
    unchanged = {"Authorization": "Bearer ann", "If-None-Match": back.headers["etag"]}
    assert (await till.send("GET", f"/api/v1/payments/{payment_id}", headers=unchanged)).status == 304


async def test_of_20_refunds_of_one_version_at_once_one_is_made(till: Till) -> None:
    payment_id = await till.paid()
    version = (await till.show(payment_id))["version"]

    answers = await asyncio.gather(
        *(
            till.call("admin", "POST", f"/{payment_id}/refund", {"amount": 1}, match=f'"{version}"')
            for _ in range(20)
        )
    )

    assert Counter(answer.status for answer in answers) == {200: 1, 412: 19}
    assert (await till.show(payment_id))["refunded_amount"] == 1


async def test_a_repeated_key_tells_the_outcome_though_the_version_has_moved_on(till: Till) -> None:
    payment_id = await till.paid()
    version = (await till.show(payment_id))["version"]
    calls = [
        await till.call("admin", "POST", f"/{payment_id}/refund", {}, key="k", match=f'"{version}"')
        for _ in range(2)
    ]
    assert [call.status for call in calls] == [200, 200]
    assert calls[1].headers["idempotent-replayed"] == "true"
    assert len((await till.show(payment_id))["refunds"]) == 1


async def test_a_cash_payment_is_marked_paid_as_it_was_seen(till: Till) -> None:
    payment_id = await till.open(method="cash")
    stale = await till.call("admin", "POST", f"/{payment_id}/process", match='"2"')
    paid = await till.call("admin", "POST", f"/{payment_id}/process", match='"1"')
    assert (stale.status, paid.json["data"]["status"]) == (412, "success")


# At size


@pytest.fixture(scope="module")
def crowded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database of very many payments, of some users, in all states."""
    path = tmp_path_factory.mktemp("crowded") / "payments.db"
    prepare(path, Schema("payments", "mercato.payments.migrations"))
    start, statuses = to_micros(FakeClock()()), list(PaymentStatus)

    def rows() -> Iterator[Row]:
        for n in range(MANY):
            store, user, at = ACME if n % 10 else "other", (ANN, BOB)[n % 5 == 0], start + n // 3 * 1_000_000
            order = ORDER if n % 1_000 < 30 else uuid7()
            yield store, uuid7(), order, user, statuses[n % len(statuses)].value, at, at

    with closing(sqlite3.connect(path)) as connection:
        connection.executemany(
            "INSERT INTO payments (tenant_id, id, order_id, user_id, status, amount, refunded_amount,"
            " pending_refunds, currency, method, refunds, order_cancelled, checks, created_at, updated_at,"
            " version) VALUES (?, ?, ?, ?, ?, 1, 0, 0, 'USD', 'card', '[]', 0, 0, ?, ?, 1)",
            rows(),
        )
        connection.commit()
    return path


class Explaining:
    """A Database that explains every search beside making it."""

    dialect = "sqlite"

    def __init__(self, path: Path) -> None:
        self._path = path
        self.plans: list[str] = []

    async def search(self, sql: str, params: list[Value]) -> list[Row]:
        with closing(sqlite3.connect(self._path)) as connection:
            steps = connection.execute(f"EXPLAIN QUERY PLAN {sql}", params).fetchall()
            self.plans.append("; ".join(step[3] for step in steps))
            return connection.execute(sql, params).fetchall()

    async def fetch_one(self, sql: str, params: list[Value]) -> Row | None:
        return next(iter(await self.search(sql, params)), None)

    async def fetch_all(self, sql: str, params: list[Value]) -> list[Row]:
        return await self.search(sql, params)


@pytest.mark.parametrize("user", [None, pytest.param(BOB, id="bob")])
@pytest.mark.parametrize("status", [None, PaymentStatus.SUCCESS])
@pytest.mark.parametrize("order", [None, pytest.param(ORDER, id="order")])
@pytest.mark.parametrize("seen", [None, 30_000])
async def test_no_list_scans_or_sorts_what_it_does_not_show(
    crowded: Path, user: UserId | None, status: PaymentStatus | None, order: OrderId | None, seen: int | None
) -> None:
    start = FakeClock()()
    explaining: Any = Explaining(crowded)
    store = SqlPayments(Steps(explaining, source="/test", clock=FakeClock()))
    wanted = PaymentFilter(user_id=user, status=status, order_id=order)
    after = None if seen is None else time_key(start + timedelta(seconds=seen), uuid7())

    found = await store.search(ACME, wanted, Window(20, 0, after, counted=True))
    total = await store.count(ACME, wanted)

    assert (len(found), total > 20) == (21, True)
    assert found == sorted(found, key=lambda payment: (payment.created_at, payment.id), reverse=True)
    named = ["user_id"] * bool(user) + ["status"] * bool(status)
    if order is not None:
        named = ["order_id"]
    given = " AND ".join(f"{name}=?" for name in ("tenant_id", *named))
    for plan in explaining.plans:
        assert plan.startswith("SEARCH payments USING"), plan
        assert "SCAN" not in plan, plan
        assert "B-TREE" not in plan, plan
        assert f"({given}" in plan, plan
    if seen is not None:
        assert "created_at<" in explaining.plans[0], explaining.plans


async def test_what_is_due_and_what_is_an_order_s_is_found_by_index(crowded: Path) -> None:
    explaining: Any = Explaining(crowded)
    store = SqlPayments(Steps(explaining, source="/test", clock=FakeClock()))

    assert await store.due(FakeClock()(), 10) == []
    assert await store.latest_of(ACME, ORDER) is not None
    assert await store.latest_of(TenantId("none"), ORDER) is None
    for plan in explaining.plans:
        assert "SCAN" not in plan, plan
        assert "B-TREE" not in plan, plan
