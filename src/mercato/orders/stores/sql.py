"""Orders and the local catalogue in a relational database.

Lines and timeline are JSON in the order's row: they are bounded, written once or with it, and
never searched.
"""

from collections.abc import Sequence
from datetime import datetime

import msgspec

from mercato.adapters.sql.database import Row, Tx, Value
from mercato.adapters.sql.steps import Steps
from mercato.adapters.sql.timed import LATEST_FIRST, between, page
from mercato.contracts.events import Events
from mercato.contracts.order_books import OrderBook
from mercato.contracts.order_reading import TimelineEntry
from mercato.contracts.orders import OrderPaymentStatus, OrderStatus, StockState
from mercato.contracts.products import PricedLine
from mercato.kernel.cause import ByEvent, Cause
from mercato.kernel.clock import from_micros, to_micros
from mercato.kernel.errors import Conflict, NotFound
from mercato.kernel.ids import OrderId, ProductId, is_id
from mercato.kernel.paging import Window
from mercato.kernel.tenancy import TenantId
from mercato.orders.domain import Order
from mercato.orders.ports import CatalogueItem, Decide, OrderFilter

_COLUMNS = (
    "tenant_id, id, user_id, name, status, payment_status, stock, hold_until, lines, total_amount, currency,"
    " shipping_address, notes, cancel_reason, timeline, created_at, updated_at, version, deleted_at"
)
_encode = msgspec.json.Encoder().encode
_lines = msgspec.json.Decoder(tuple[PricedLine, ...]).decode
_timeline = msgspec.json.Decoder(tuple[TimelineEntry, ...]).decode


class SqlOrders:
    """See orders.ports.OrderStore."""

    def __init__(self, steps: Steps) -> None:
        self._steps = steps
        self._db = steps.db

    async def find(self, tenant: TenantId, order_id: OrderId) -> Order | None:
        """Return one order, read fresh."""
        row = await self._db.fetch_one(
            f"SELECT {_COLUMNS} FROM orders WHERE tenant_id = ? AND id = ? AND deleted_at IS NULL",
            (tenant, order_id),
        )
        return None if row is None else _load(row)

    async def find_many(self, tenant: TenantId, order_ids: Sequence[OrderId]) -> list[Order]:
        """Return those of the orders that were placed, deleted ones too."""
        if not order_ids:
            return []
        marks = ", ".join("?" * len(order_ids))
        rows = await self._db.fetch_all(
            f"SELECT {_COLUMNS} FROM orders WHERE tenant_id = ? AND id IN ({marks})",
            (tenant, *order_ids),
        )
        return [_load(row) for row in rows]

    async def search(self, tenant: TenantId, wanted: OrderFilter, window: Window) -> list[Order]:
        """Return a window of a store's orders, latest first."""
        where, params = matching(tenant, wanted)
        part, bounds = page(window, wanted.since, wanted.before)
        rows = await self._db.search(
            f"SELECT {_COLUMNS} FROM orders WHERE {where}{part} {LATEST_FIRST}",
            (*params, *bounds, window.fetch, window.offset),
        )
        return [_load(row) for row in rows]

    async def count(self, tenant: TenantId, wanted: OrderFilter) -> int:
        """Return how many orders there are."""
        where, params = matching(tenant, wanted)
        part, bounds = between(wanted.since, wanted.before)
        rows = await self._db.search(f"SELECT count(*) FROM orders WHERE {where}{part}", (*params, *bounds))
        return int(rows[0][0])

    async def add(self, order: Order, events: Events, *, by: Cause) -> Order:
        """Store a new order with its events. Raises Conflict if its id is taken."""

        async def work(tx: Tx) -> tuple[Order, Events]:
            marks = ", ".join("?" * 19)
            await tx.put(
                f"INSERT INTO orders ({_COLUMNS}) VALUES ({marks}) ON CONFLICT DO NOTHING",
                _values(order),
                otherwise=_placed_already,
            )
            return order, events

        return await self._steps.run(by, work)

    async def change(self, tenant: TenantId, order_id: OrderId, decide: Decide, *, by: Cause) -> Order:
        """Load, decide and store with the events. Raises NotFound."""
        there = "" if isinstance(by, ByEvent) else " AND deleted_at IS NULL"

        async def work(tx: Tx) -> tuple[Order, Events]:
            row = await tx.lock_one(
                f"SELECT {_COLUMNS} FROM orders WHERE tenant_id = ? AND id = ?{there}", (tenant, order_id)
            )
            if row is None:
                raise NotFound("There is no such order.")
            order = _load(row)
            changed, events = decide(order)
            if changed is not order:
                await _update(tx, changed, expected=order.version)
            return changed, events

        return await self._steps.run(by, work)

    async def expired(self, now: datetime, limit: int) -> list[tuple[TenantId, OrderId]]:
        """Return pending orders, of any store, whose time is up, oldest first."""
        rows = await self._db.fetch_all(
            "SELECT tenant_id, id FROM orders WHERE status = 'pending' AND hold_until <= ?"
            " ORDER BY hold_until LIMIT ?",
            (to_micros(now), limit),
        )
        return [(TenantId(tenant), OrderId(order_id)) for tenant, order_id in rows]

    async def books(self) -> list[OrderBook]:
        """Return what reconciliation must know of every order of every store, deleted ones too."""
        rows = await self._db.search(f"SELECT {_COLUMNS} FROM orders")
        return [_book(_load(row)) for row in rows]


class SqlCatalogue:
    """See orders.ports.Catalogue."""

    def __init__(self, steps: Steps) -> None:
        self._steps = steps
        self._db = steps.db

    async def find(self, tenant: TenantId, product: str) -> CatalogueItem | None:
        """Return a product by id or SKU."""
        product_id: str | None = product
        if not is_id(product):
            # The index of SKUs holds the ids: asked for more, SQLite would look through the store.
            found = await self._db.fetch_one(
                "SELECT product_id FROM catalogue WHERE tenant_id = ? AND sku = ? LIMIT 1", (tenant, product)
            )
            product_id = None if found is None else found[0]
        row = await self._db.fetch_one(
            "SELECT product_id, sku, name, price, currency FROM catalogue"
            " WHERE tenant_id = ? AND product_id = ?",
            (tenant, product_id),
        )
        return None if row is None else CatalogueItem(*row)

    async def keep(self, tenant: TenantId, item: CatalogueItem, *, by: ByEvent) -> None:
        """Remember a product."""

        async def work(tx: Tx) -> tuple[None, Events]:
            await tx.put(
                "INSERT INTO catalogue (tenant_id, product_id, sku, name, price, currency)"
                " VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (tenant_id, product_id) DO UPDATE SET"
                " sku = excluded.sku, name = excluded.name, price = excluded.price",
                (tenant, item.product_id, item.sku, item.name, item.price, item.currency),
            )
            return None, ()

        await self._steps.run(by, work)

    async def forget(self, tenant: TenantId, product_id: ProductId, *, by: ByEvent) -> None:
        """Forget a product that left the catalogue."""

        async def work(tx: Tx) -> tuple[None, Events]:
            await tx.put("DELETE FROM catalogue WHERE tenant_id = ? AND product_id = ?", (tenant, product_id))
            return None, ()

        await self._steps.run(by, work)


async def _update(tx: Tx, order: Order, *, expected: int) -> None:
    await tx.put(
        "UPDATE orders SET name = ?, status = ?, payment_status = ?, stock = ?, hold_until = ?,"
        " shipping_address = ?, notes = ?, cancel_reason = ?, timeline = ?, updated_at = ?, version = ?,"
        " deleted_at = ? WHERE tenant_id = ? AND id = ? AND version = ?",
        (
            order.name,
            order.status.value,
            order.payment_status.value,
            order.stock.value,
            to_micros(order.hold_until),
            order.shipping_address,
            order.notes,
            order.cancel_reason,
            _encode(order.timeline).decode(),
            to_micros(order.updated_at),
            order.version,
            None if order.deleted_at is None else to_micros(order.deleted_at),
            order.tenant_id,
            order.id,
            expected,
        ),
        otherwise=_changed_meanwhile,
    )


def _placed_already() -> Conflict:
    return Conflict("This order has been placed already.")


def _changed_meanwhile() -> Conflict:
    return Conflict("The order was changed by somebody else.")


def matching(tenant: TenantId, wanted: OrderFilter) -> tuple[str, list[Value]]:
    """Return the condition of what is wanted, with its parameters."""
    where = "tenant_id = ? AND deleted_at IS NULL"
    params: list[Value] = [tenant]
    if wanted.user_id is not None:
        where += " AND user_id = ?"
        params.append(wanted.user_id)
    if wanted.status is not None:
        where += " AND status = ?"
        params.append(wanted.status.value)
    return where, params


def _values(order: Order) -> tuple[Value, ...]:
    return (
        order.tenant_id,
        order.id,
        order.user_id,
        order.name,
        order.status.value,
        order.payment_status.value,
        order.stock.value,
        to_micros(order.hold_until),
        _encode(order.lines).decode(),
        order.total_amount,
        order.currency,
        order.shipping_address,
        order.notes,
        order.cancel_reason,
        _encode(order.timeline).decode(),
        to_micros(order.created_at),
        to_micros(order.updated_at),
        order.version,
        None if order.deleted_at is None else to_micros(order.deleted_at),
    )


def _load(row: Row) -> Order:
    (
        tenant_id,
        order_id,
        user_id,
        name,
        status,
        payment_status,
        stock,
        hold_until,
        lines,
        total,
        currency,
    ) = row[:11]
    address, notes, cancel_reason, timeline, created_at, updated_at, version, deleted_at = row[11:]
    return Order(
        tenant_id=tenant_id,
        id=order_id,
        user_id=user_id,
        name=name,
        status=OrderStatus(status),
        payment_status=OrderPaymentStatus(payment_status),
        stock=StockState(stock),
        hold_until=from_micros(hold_until),
        lines=_lines(lines),
        total_amount=total,
        currency=currency,
        shipping_address=address,
        notes=notes,
        cancel_reason=cancel_reason,
        timeline=_timeline(timeline),
        created_at=from_micros(created_at),
        updated_at=from_micros(updated_at),
        version=version,
        deleted_at=None if deleted_at is None else from_micros(deleted_at),
    )


def _book(order: Order) -> OrderBook:
    return OrderBook(
        tenant_id=order.tenant_id,
        order_id=order.id,
        status=order.status,
        payment_status=order.payment_status.value,
        stock=order.stock,
        total_amount=order.total_amount,
        lines=tuple((line.product_id, line.quantity) for line in order.lines),
    )
