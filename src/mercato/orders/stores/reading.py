"""Orders as they are read, straight from their rows."""

from collections.abc import Sequence

import msgspec

from mercato.adapters.sql.batches import among, count, joined, latest_of_each, part
from mercato.adapters.sql.database import Database, Row
from mercato.adapters.sql.timed import LATEST_FIRST, between, page
from mercato.contracts.order_reading import Order, TimelineEntry
from mercato.contracts.orders import OrderPaymentStatus, OrderStatus
from mercato.contracts.products import PricedLine
from mercato.kernel.clock import from_micros
from mercato.kernel.ids import OrderId, UserId
from mercato.kernel.paging import Window
from mercato.kernel.tenancy import TenantId
from mercato.orders.ports import History, OrderFilter
from mercato.orders.stores.sql import matching

_COLUMNS = (
    "id, tenant_id, user_id, name, status, payment_status, lines, total_amount, currency, shipping_address,"
    " notes, cancel_reason, created_at, updated_at, version"
)
_lines = msgspec.json.Decoder(tuple[PricedLine, ...]).decode
_timeline = msgspec.json.Decoder(tuple[TimelineEntry, ...]).decode
# Calling an enum costs ten times as much.
_STATUS = {each.value: each for each in OrderStatus}
_PAYMENT_STATUS = {each.value: each for each in OrderPaymentStatus}


class SqlOrderReads:
    """See orders.ports.OrderReads."""

    def __init__(self, db: Database) -> None:
        self._db = db
        which = f"FROM orders WHERE tenant_id = ? AND id {among(db.dialect)} AND deleted_at IS NULL"
        self._many = f"SELECT {_COLUMNS} {which}"
        self._histories = f"SELECT id, user_id, timeline {which}"
        self._of_users = latest_of_each(
            db.dialect, "orders", _COLUMNS, "tenant_id = ? AND user_id = wanted.id AND deleted_at IS NULL"
        )

    async def page(self, tenant: TenantId, wanted: OrderFilter, window: Window) -> list[Order]:
        """Return a window of a store's orders, latest first."""
        where, params = matching(tenant, wanted)
        bounds, limits = page(window, wanted.since, wanted.before)
        rows = await part(
            self._db,
            f"SELECT {_COLUMNS} FROM orders WHERE {where}{bounds} {LATEST_FIRST}",
            (*params, *limits, window.fetch, window.offset),
            window.offset,
        )
        return [_load(row) for row in rows]

    async def count(self, tenant: TenantId, wanted: OrderFilter) -> int:
        """Return how many orders there are."""
        where, params = matching(tenant, wanted)
        bounds, limits = between(wanted.since, wanted.before)
        return await count(self._db, f"orders WHERE {where}{bounds}", (*params, *limits))

    async def many(self, tenant: TenantId, order_ids: Sequence[str]) -> list[Order]:
        """Return those of the orders that are there."""
        rows = await self._db.fetch_all(self._many, (tenant, joined(self._db.dialect, order_ids)))
        return [_load(row) for row in rows]

    async def of_users(self, tenant: TenantId, user_ids: Sequence[str], limit: int) -> list[Order]:
        """Return each user's latest orders, in no order."""
        rows = await self._db.fetch_all(self._of_users, (joined(self._db.dialect, user_ids), tenant, limit))
        return [_load(row) for row in rows]

    async def histories(self, tenant: TenantId, order_ids: Sequence[str]) -> list[History]:
        """Return what happened to those of the orders that are there."""
        rows = await self._db.fetch_all(self._histories, (tenant, joined(self._db.dialect, order_ids)))
        return [
            History(OrderId(order_id), UserId(user_id), _timeline(timeline))
            for order_id, user_id, timeline in rows
        ]


def _load(row: Row) -> Order:
    (
        order_id,
        tenant_id,
        user_id,
        name,
        status,
        payment_status,
        lines,
        total,
        currency,
        address,
        notes,
        cancel_reason,
        created_at,
        updated_at,
        version,
    ) = row
    return Order(
        order_id,
        tenant_id,
        user_id,
        name,
        _STATUS[status],
        _PAYMENT_STATUS[payment_status],
        _lines(lines),
        total,
        currency,
        address,
        notes,
        cancel_reason,
        from_micros(created_at),
        from_micros(updated_at),
        version,
    )
