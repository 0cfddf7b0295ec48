"""At 100,000 rows no list and no search of a store looks through a table, or sorts one, on PostgreSQL."""

import itertools
import json
from collections.abc import AsyncIterator, Iterator, Sequence
from datetime import timedelta
from typing import Any

import asyncpg
import pytest

from mercato.adapters.sql.database import Row, Value
from mercato.adapters.sql.inbox import SqlInbox
from mercato.adapters.sql.outbox import SqlOutbox
from mercato.adapters.sql.postgres_tx import numbered
from mercato.adapters.sql.steps import Steps
from mercato.contracts.orders import OrderStatus
from mercato.contracts.payments import PaymentStatus
from mercato.kernel.clock import to_micros
from mercato.kernel.ids import OrderId, ProductId, UserId
from mercato.kernel.paging import Window, time_key
from mercato.kernel.principal import Role
from mercato.kernel.tenancy import TenantId
from mercato.messaging.inbox import ParkedState
from mercato.notifications.stores.sql import SqlNotifications
from mercato.orders.ports import OrderFilter
from mercato.orders.stores.reading import SqlOrderReads
from mercato.orders.stores.sql import SqlOrders
from mercato.payments.ports import PaymentFilter
from mercato.payments.stores.reading import SqlPaymentReads
from mercato.payments.stores.sql import SqlPayments
from mercato.products.ports import After, Order, Part, ProductFilter, SortBy
from mercato.products.stores.lists import SqlProductLists
from mercato.products.stores.reading import SqlCatalogueReads
from mercato.runtime.folder import SCHEMAS
from mercato.users.ports import UserFilter
from mercato.users.stores.reading import SqlUserReads
from mercato.users.stores.sql_users import page as users_page
from tests import postgres_server
from tests.clock import FakeClock
from tests.engines import POSTGRES
from tests.postgres_server import ROLES

pytestmark = [POSTGRES, pytest.mark.usefixtures("engine")]

ROWS, SHOP, NOW = 100_000, TenantId("shop"), FakeClock()()
IDS = [f"{n:036}" for n in range(1, 400) if n % 10][:100]
FEW = 6_000
"""Rows that may be looked at one by one, or sorted: what lists bound themselves to."""
_COLUMNS = """
SELECT attname::text, format_type(atttypid, atttypmod), attidentity <> '' FROM pg_attribute
WHERE attrelid = $1::regclass AND attnum > 0 AND NOT attisdropped AND attnotnull
"""
_COUNT_PRODUCTS = """
INSERT INTO product_counts (tenant_id, category, shelf, products)
SELECT tenant_id, COALESCE(category, ''), shelf, count(*) FROM products
GROUP BY GROUPING SETS ((tenant_id, category, shelf), (tenant_id, shelf))
"""
_SMALL = {"product_counts"}
"""Tables with a row for each category, which it is no matter to look through."""
_STORE = "CASE WHEN n % 10 = 0 THEN 'other' ELSE 'shop' END"
_ID = "lpad(n::text, 36, '0')"
_AT = f"{to_micros(NOW)} - n * 1000000::bigint"


class Explaining:
    """A Database that explains every statement, as the role that serves, beside carrying it out."""

    dialect = "postgres"

    def __init__(self, connection: Any) -> None:
        self._connection = connection
        self.plans: list[tuple[str, dict[str, Any]]] = []

    async def search(self, sql: str, params: Sequence[Value] = ()) -> list[Row]:
        (plan,) = await self._connection.fetchrow(f"EXPLAIN (FORMAT JSON) {numbered(sql)}", *params)
        self.plans.append((sql, json.loads(plan)[0]["Plan"]))
        return [tuple(row) for row in await self._connection.fetch(numbered(sql), *params)]

    fetch_all = search

    async def fetch_one(self, sql: str, params: Sequence[Value] = ()) -> Row | None:
        return next(iter(await self.search(sql, params)), None)

    def check(self, least: int) -> None:
        assert len(self.plans) >= least
        for sql, plan in self.plans:
            for node in _nodes(plan):
                scans = node["Node Type"] == "Seq Scan" and node["Relation Name"] not in _SMALL
                # Where matches are dense, a count that stops early may go along the table itself.
                assert not scans or _stops_early(plan), (sql, plan)
                sorts = node["Node Type"] in {"Sort", "Incremental Sort"}
                assert not sorts or node["Plans"][0]["Plan Rows"] <= FEW, (sql, plan)


def _stops_early(plan: dict[str, Any]) -> bool:
    kinds = [node["Node Type"] for node in _nodes(plan)]
    return (
        kinds[:2] == ["Aggregate", "Limit"] and "Sort" not in kinds and plan["Plans"][0]["Plan Rows"] <= FEW
    )


def _nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for part in plan.get("Plans", ()):
        yield from _nodes(part)


async def fill(connection: Any, table: str, values: dict[str, str], source: str = "") -> None:
    """Fill a table with rows, their columns as given, or anything at all."""
    await connection.execute(
        "DO $$ DECLARE r record; BEGIN FOR r IN SELECT conname FROM pg_constraint WHERE contype = 'c'"
        f" AND conrelid = '{table}'::regclass LOOP EXECUTE"
        f" format('ALTER TABLE {table} DROP CONSTRAINT %I', r.conname); END LOOP; END $$"
    )
    columns = dict(values)
    for name, kind, counts_up in await connection.fetch(_COLUMNS, table):
        if name not in columns and not counts_up:
            columns[name] = {"bytea": "''::bytea"}.get(kind, "0" if "int" in kind else "''")
    await connection.execute(
        f"INSERT INTO {table} ({', '.join(columns)}) SELECT {', '.join(columns.values())}"
        f" FROM generate_series(1, {ROWS}) n {source}"
    )


@pytest.fixture
async def explaining(request: pytest.FixtureRequest) -> AsyncIterator[Explaining]:
    server, service = postgres_server.shared(), request.param
    name = await server.new_database(SCHEMAS[service])
    owner = await asyncpg.connect(server.url(name))
    await owner.execute("SET session_replication_role = replica")
    for table, (values, source) in FILLED[service].items():
        await fill(owner, table, values, source)
    if service == "products":
        await owner.execute(_COUNT_PRODUCTS)
    await owner.execute("ANALYZE")
    await owner.close()
    connection = await asyncpg.connect(server.url(name, _ROLE.get(service, ROLES.serving)))
    await connection.execute(f"SET mercato.tenant = '{SHOP}'")
    yield Explaining(connection)
    await connection.close()
    await server.drop(name)


_TIMED = {
    "tenant_id": _STORE,
    "id": _ID,
    "user_id": "lpad((n % 5000)::text, 36, '0')",
    "created_at": _AT,
    "updated_at": _AT,
}
_LONE = "lpad((n % 7919)::text, 5, '0')"
FILLED: dict[str, dict[str, tuple[dict[str, str], str]]] = {
    "orders": {
        "orders": (
            _TIMED
            | {
                "status": "(ARRAY['pending', 'confirmed', 'shipped', 'delivered', 'cancelled'])[1 + n % 5]",
                "payment_status": "'pending'",
                "stock": "'reserved'",
                "lines": "'[]'",
                "timeline": "'[]'",
            },
            "",
        )
    },
    "payments": {
        "payments": (
            _TIMED
            | {
                "order_id": _ID,
                "method": "'card'",
                "status": "(ARRAY['pending', 'processing', 'success', 'failed', 'refunded'])[1 + n % 5]",
                "refunds": "'[]'",
            },
            "",
        )
    },
    "users": {
        "users": (
            {
                "tenant_id": _STORE,
                "id": _ID,
                "email": "n || '@example.com'",
                "email_key": "n || '@example.com'",
                "role": "CASE WHEN n % 100 = 0 THEN 'admin' ELSE 'customer' END",
                "is_active": "CASE WHEN n % 50 = 0 THEN 0 ELSE 1 END",
            },
            "",
        ),
        "user_documents": ({"tenant_id": _STORE, "user_id": _ID, "number": "n"}, ""),
        "user_terms": (
            {"tenant_id": _STORE, "number": "n", "term": "term"},
            f"CROSS JOIN LATERAL unnest(ARRAY['_customer', '_active', 'example', 'w' || {_LONE}]) AS term",
        ),
    },
    "products": {
        "products": (
            {
                "tenant_id": _STORE,
                "id": _ID,
                "position": "n",
                "shelf": "CASE WHEN n % 4 = 0 THEN 1 ELSE 2 END",
                "sku": "'S-' || n",
                "live_sku": "'S-' || n",
                "price": "n % 10007",
                "currency": "'USD'",
                "category": "'c' || n % 20",
                "name": "'thing ' || n",
                "name_key": f"'thing ' || {_LONE}",
                "words": f"' thing w' || {_LONE} || ' '",
                "created_at": "n",
                "updated_at": "n",
            },
            "",
        ),
        "inventory": ({"tenant_id": _STORE, "product_id": _ID}, ""),
        "product_terms": (
            {"tenant_id": _STORE, "position": "n", "term": "term"},
            f"CROSS JOIN LATERAL unnest(ARRAY['thing', 'w' || {_LONE}]) AS term",
        ),
        "stock_movements": ({"tenant_id": _STORE, "product_id": _ID, "id": _ID}, ""),
    },
    "notifications": {
        "outbox": ({"position": "n", "event_id": _ID, "key": _ID, "sent_at": "NULLIF(n % 100, 0)"}, ""),
        "inbox_parked": (
            {"event_id": _ID, "key": _ID, "state": "CASE WHEN n % 100 = 0 THEN 'failed' ELSE 'dead' END"},
            "",
        ),
        "notifications": (
            {
                "id": _ID,
                "tenant_id": _STORE,
                "event_id": _ID,
                "status": "COALESCE((ARRAY['queued', 'sending', 'failed'])[1 + n % 100], 'sent')",
                "due_at": "CASE WHEN n % 100 < 2 THEN n END",
            },
            "",
        ),
    },
}
_ROLE = {"notifications": ROLES.system}
"""Who reads, where it is not the role that serves: its work is on one store's rows."""


def windows() -> list[Window]:
    middle = time_key(NOW - timedelta(seconds=ROWS // 2), f"{ROWS // 2:036}")
    return [Window(20, 0, None, counted=False), Window(20, 0, middle, counted=False)]


def steps_on(explaining: Any) -> Steps:
    return Steps(explaining, source="/test", clock=FakeClock())


@pytest.mark.parametrize("explaining", ["orders"], indirect=True)
async def test_lists_of_orders(explaining: Explaining) -> None:
    store = SqlOrders(steps_on(explaining))
    users, spans = (None, UserId(f"{77:036}")), (None, NOW - timedelta(seconds=ROWS // 2))
    for user, status, since, window in itertools.product(
        users, (None, OrderStatus.PENDING), spans, windows()
    ):
        await store.search(SHOP, OrderFilter(user, status, since, NOW), window)
    await store.expired(NOW, 10)
    explaining.check(17)


@pytest.mark.parametrize("explaining", ["orders"], indirect=True)
async def test_reading_many_orders(explaining: Explaining) -> None:
    reads = SqlOrderReads(explaining)  # type: ignore[arg-type]  # what reads ask of a database it has
    assert len(await reads.many(SHOP, IDS)) == len(IDS)
    assert len(await reads.histories(SHOP, IDS)) == len(IDS)
    assert len(await reads.of_users(SHOP, [f"{n:036}" for n in range(1, 101)], 5)) == 5 * 90
    for window in windows():
        await reads.page(SHOP, OrderFilter(), window)
    explaining.check(5)


@pytest.mark.parametrize("explaining", ["payments"], indirect=True)
async def test_reading_many_payments(explaining: Explaining) -> None:
    reads = SqlPaymentReads(explaining)  # type: ignore[arg-type]  # what reads ask of a database it has
    assert len(await reads.many(SHOP, IDS)) == len(IDS)
    assert len(await reads.latest_of(SHOP, IDS)) == len(IDS)
    explaining.check(2)


@pytest.mark.parametrize("explaining", ["users"], indirect=True)
async def test_reading_many_users(explaining: Explaining) -> None:
    reads = SqlUserReads(explaining)  # type: ignore[arg-type]  # what reads ask of a database it has
    assert len(await reads.many(SHOP, IDS)) == len(IDS)
    explaining.check(1)


@pytest.mark.parametrize("explaining", ["products"], indirect=True)
async def test_reading_many_products(explaining: Explaining) -> None:
    reads = SqlCatalogueReads(explaining)  # type: ignore[arg-type]  # what reads ask of a database it has
    assert len(await reads.many(SHOP, IDS)) == len(IDS)
    assert len(await reads.inventories(SHOP, IDS)) == len(IDS)
    explaining.check(2)


@pytest.mark.parametrize("explaining", ["payments"], indirect=True)
async def test_lists_of_payments(explaining: Explaining) -> None:
    store = SqlPayments(steps_on(explaining))
    users, orders = (None, UserId(f"{77:036}")), (None, OrderId(f"{78:036}"))
    for user, status, order, window in itertools.product(
        users, (None, PaymentStatus.PENDING), orders, windows()
    ):
        await store.search(SHOP, PaymentFilter(user_id=user, status=status, order_id=order), window)
    await store.due(NOW, 10)
    explaining.check(17)


@pytest.mark.parametrize("explaining", ["users"], indirect=True)
async def test_lists_and_searches_of_users(explaining: Explaining) -> None:
    searches = (None, "example", f"w{77:05}", f"w{77:05} example", "nobody")
    for sought, role, active, after in itertools.product(
        searches, (None, Role.ADMIN, Role.CUSTOMER), (None, True, False), (None, f"{ROWS // 2:036}")
    ):
        wanted = UserFilter(operators=False, search=sought, role=role, active=active)
        statement = users_page("postgres", SHOP, wanted, Window(20, 0, after, counted=False))
        assert statement is not None
        await explaining.search(*statement)
    explaining.check(90)


@pytest.mark.parametrize("explaining", ["products"], indirect=True)
async def test_lists_and_searches_of_products(explaining: Explaining) -> None:
    lists = SqlProductLists(explaining)  # type: ignore[arg-type]  # what lists ask of a database it has
    filters = [
        ProductFilter(search=sought, category=category, min_price=least, in_stock=in_stock)
        for sought, category, least, in_stock in itertools.product(
            (None, "thing", f"w{77:05}"), (None, "c7"), (None, 9_000), (None, True)
        )
    ]
    middle = ProductId(f"{ROWS // 2 + 1:036}")
    keys: dict[SortBy, Any] = {SortBy.CREATED: None, SortBy.PRICE: 9_500, SortBy.NAME: "thing 05000"}
    for wanted, by, descending in itertools.product(filters, SortBy, (True, False)):
        for after in (None, After(keys[by], middle)):
            await lists.page(SHOP, wanted, Order(by, descending), Part(20, after=after))
    await lists.page(SHOP, ProductFilter(sku="S-77"), Order(SortBy.NAME, descending=False), Part(20))
    await lists.export(SHOP, middle, 100)
    explaining.check(250)


@pytest.mark.parametrize("explaining", ["notifications"], indirect=True)
async def test_what_is_counted_for_the_metrics_is_not_looked_for(explaining: Any) -> None:
    steps = steps_on(explaining)
    lag = await SqlOutbox(explaining).lag(FEW)
    parked = await SqlInbox(steps).counts(FEW)
    mails = await SqlNotifications(steps).waiting(FEW)
    assert (lag.unsent, parked[ParkedState.FAILED], parked[ParkedState.DEAD]) == (1_000, 1_000, FEW)
    assert list(mails.values()) == [1_000, 1_000, 1_000]
    explaining.check(8)
