"""What is done again and again, by the clock or at every event, is found by an index."""

import itertools
import sqlite3
from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from mercato.adapters.sql.claims import SqlClaims
from mercato.adapters.sql.database import Row, Value
from mercato.adapters.sql.inbox import SqlInbox
from mercato.adapters.sql.outbox import SqlOutbox
from mercato.adapters.sql.schema import Schema, prepare
from mercato.adapters.sql.steps import Steps
from mercato.contracts.orders import OrderStatus
from mercato.contracts.payments import PaymentStatus
from mercato.kernel.ids import MailId, UserId, uuid7
from mercato.kernel.paging import Window, time_key
from mercato.kernel.tenancy import TenantId
from mercato.notifications.stores.mailbox import LocalMailbox
from mercato.notifications.stores.sql import SqlNotifications
from mercato.orders.ports import OrderFilter
from mercato.orders.stores.reading import SqlOrderReads
from mercato.orders.stores.sql import SqlCatalogue, SqlOrders
from mercato.payments.ports import PaymentFilter
from mercato.payments.stores.reading import SqlPaymentReads
from mercato.payments.stores.sql import SqlPayments
from mercato.products.stores.ledger import Ledger
from mercato.products.stores.reading import SqlCatalogueReads
from mercato.products.stores.sql_holds import SqlHolds
from mercato.products.stores.sql_imports import SqlImports
from mercato.users.ports import UserFilter
from mercato.users.stores.reading import SqlUserReads
from tests.clock import FakeClock

NOW = FakeClock()()
SHOP = TenantId("shop")
IDS = [uuid7() for _ in range(3)]


class Explaining:
    """A Database, and its transactions, that explain every statement beside carrying it out."""

    dialect = "sqlite"

    def __init__(self, path: Path) -> None:
        self._connection = sqlite3.connect(path)
        self.plans: list[tuple[str, str]] = []

    def close(self) -> None:
        self._connection.close()

    async def transact(self, step: Callable[[Any], Awaitable[Any]]) -> Any:
        return await step(self)

    def after_commit(self, _: Callable[[], None]) -> None:
        """Nothing is committed."""

    async def search(self, sql: str, params: Iterable[Value] = ()) -> list[Row]:
        given = tuple(params)
        steps = self._connection.execute(f"EXPLAIN QUERY PLAN {sql}", given).fetchall()
        self.plans.append((sql, "; ".join(step[3] for step in steps)))
        return self._connection.execute(sql, given).fetchall()

    async def fetch_one(self, sql: str, params: Iterable[Value] = ()) -> Row | None:
        return next(iter(await self.search(sql, params)), None)

    fetch_all = search

    async def execute(self, sql: str, params: Iterable[Value] = ()) -> int:
        await self.search(sql, params)
        return 0

    write = execute

    async def put(self, sql: str, params: Iterable[Value] = (), **_: object) -> None:
        await self.search(sql, params)


@pytest.fixture
def explaining(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Explaining]:
    path = tmp_path / "explained.db"
    prepare(path, Schema(request.param, f"mercato.{request.param}.migrations"))
    with closing(Explaining(path)) as opened:
        yield opened


def check(explaining: Explaining, least: int) -> None:
    """Assert that nothing is looked through that may be long, and nothing sorted but what is due."""
    assert len(explaining.plans) >= least
    for sql, plan in explaining.plans:
        steps = plan.split("; ")
        assert [step for step in steps if step.startswith(("SEARCH", "SCAN"))], (sql, plan)
        for step in steps:
            # The index of what was not sent holds nothing else, so it is walked.
            # So are the ids that are asked for, and what has been found; of what is counted, a bounded part.
            few = any(
                each in step
                for each in ("INDEX outbox_unsent", "VIRTUAL TABLE", "(subquery-", "SCAN counted")
            )
            assert not step.startswith("SCAN") or few, (sql, plan)
            assert "B-TREE" not in step or "(state=? AND next_try_at<?)" in plan, (
                sql,
                plan,
            )


def steps_on(explaining: Any) -> Steps:
    return Steps(explaining, source="/test", clock=FakeClock())


@pytest.mark.parametrize(
    "explaining", ["orders", "payments", "products", "users", "notifications"], indirect=True
)
async def test_what_every_service_does_by_the_clock(explaining: Any) -> None:
    outbox, inbox = SqlOutbox(explaining), SqlInbox(steps_on(explaining))
    await SqlClaims(explaining).purge(before=NOW, limit=10)
    await outbox.unsent(10)
    await outbox.lag(10)
    await inbox.counts(10)
    await outbox.resend("shop/order/1", after=1, before=5)
    await inbox.due(NOW, 10)
    await inbox.next_of("shop/order/1")
    check(explaining, 6)


@pytest.mark.parametrize("explaining", ["orders"], indirect=True)
async def test_what_orders_does(explaining: Any) -> None:
    steps = steps_on(explaining)
    await SqlOrders(steps).expired(NOW, 10)
    await SqlCatalogue(steps).find(SHOP, "LAMP")
    check(explaining, 3)
    plans = [plan for _, plan in explaining.plans]
    for column in ("hold_until<?", "sku=?", "product_id=?"):
        assert any(column in plan for plan in plans), plans


@pytest.mark.parametrize("explaining", ["payments"], indirect=True)
async def test_what_payments_does(explaining: Any) -> None:
    store = SqlPayments(steps_on(explaining))
    await store.purge(notices_before=NOW, fates_before=NOW - timedelta(days=1), limit=10)
    await store.due(NOW, 10)
    await store.make_due()
    check(explaining, 4)
    for column in ("heard_at<?", "cancelled_at<?", "check_at<?"):
        assert any(column in plan for _, plan in explaining.plans), explaining.plans


@pytest.mark.parametrize("explaining", ["products"], indirect=True)
async def test_what_products_does(explaining: Any) -> None:
    steps = steps_on(explaining)
    await SqlHolds(steps, Ledger(lambda _, __: None)).due(NOW, 10)
    await SqlImports(steps, Ledger(lambda _, __: None), lambda _, __: None).find(SHOP, "x")
    await explaining.search(
        "DELETE FROM imports WHERE id IN (SELECT id FROM imports WHERE updated_at < ? LIMIT 1)", (1,)
    )
    check(explaining, 3)
    assert "updated_at<?" in explaining.plans[-1][1]


@pytest.mark.parametrize("explaining", ["orders"], indirect=True)
async def test_what_is_read_of_orders(explaining: Any) -> None:
    reads = SqlOrderReads(explaining)
    await reads.many(SHOP, IDS)
    await reads.histories(SHOP, IDS)
    await reads.of_users(SHOP, IDS, 20)
    for user, status, since, after in itertools.product(
        (None, UserId(IDS[0])), (None, OrderStatus.PENDING), (None, NOW), (None, time_key(NOW, IDS[0]))
    ):
        wanted = OrderFilter(user, status, since, NOW)
        await reads.page(SHOP, wanted, Window(20, 0, after, counted=False))
        await reads.count(SHOP, wanted)
    check(explaining, 3 + 16 * 2)
    assert "user_id=?" in explaining.plans[2][1]
    assert "B-TREE" not in str(explaining.plans)


@pytest.mark.parametrize("explaining", ["payments"], indirect=True)
async def test_what_is_read_of_payments(explaining: Any) -> None:
    reads = SqlPaymentReads(explaining)
    await reads.many(SHOP, IDS)
    await reads.latest_of(SHOP, IDS)
    for user, status, after in itertools.product(
        (None, UserId(IDS[0])), (None, PaymentStatus.PENDING), (None, time_key(NOW, IDS[0]))
    ):
        wanted = PaymentFilter(user_id=user, status=status)
        await reads.page(SHOP, wanted, Window(20, 0, after, counted=False))
        await reads.count(SHOP, wanted)
    check(explaining, 2 + 8 * 2)
    assert "order_id=?" in explaining.plans[1][1]
    assert "B-TREE" not in str(explaining.plans)


@pytest.mark.parametrize("explaining", ["users"], indirect=True)
async def test_what_is_read_of_users(explaining: Any) -> None:
    reads = SqlUserReads(explaining)
    await reads.many(SHOP, IDS)
    await reads.page(SHOP, UserFilter(operators=False), Window(20, 0, None, counted=False))
    check(explaining, 2)
    assert "id=?" in explaining.plans[0][1]


@pytest.mark.parametrize("explaining", ["products"], indirect=True)
async def test_what_is_read_of_products(explaining: Any) -> None:
    reads = SqlCatalogueReads(explaining)
    await reads.many(SHOP, IDS)
    await reads.inventories(SHOP, IDS)
    check(explaining, 2)
    assert "id=?" in explaining.plans[0][1]


@pytest.mark.parametrize("explaining", ["notifications"], indirect=True)
async def test_what_notifications_does(explaining: Any) -> None:
    store, box = SqlNotifications(steps_on(explaining)), LocalMailbox(explaining, keep=10)
    await explaining.execute(
        "INSERT INTO notifications VALUES ('shop', '1', '1', 'welcome', '1', NULL, '{}', 'queued', 0, 1,"
        " NULL, NULL, NULL, NULL, 1, 1, NULL, NULL)"
    )
    explaining.plans.clear()
    assert len(await store.claim(NOW, NOW, 10)) == 1
    await store.make_due()
    await store.waiting(10)
    await store.purge(before=NOW, limit=10)
    await box.find(SHOP, MailId("x"), operators=False)
    check(explaining, 8)
    plans = [plan for _, plan in explaining.plans]
    for index in ("notifications_due", "notifications_failed"):
        assert any(index in plan for plan in plans), plans
