"""Payments as they are read, straight from their rows."""

from collections.abc import Sequence

import msgspec

from mercato.adapters.sql.batches import among, count, joined, latest_of_each, part
from mercato.adapters.sql.database import Database, Row
from mercato.adapters.sql.timed import LATEST_FIRST, page
from mercato.contracts.payment_reading import Payment, Refund
from mercato.contracts.payments import PaymentMethod, PaymentStatus
from mercato.kernel.clock import from_micros
from mercato.kernel.paging import Window
from mercato.kernel.tenancy import TenantId
from mercato.payments.ports import PaymentFilter
from mercato.payments.stores.sql import matching

# The sum of what has gone back is kept with the refunds it is of.
_COLUMNS = (
    "id, tenant_id, order_id, user_id, amount, refunded_amount, currency, method, status, provider,"
    " transaction_id, failure_reason, description, paid_at, refunds, created_at, updated_at, version"
)
_refunds = msgspec.json.Decoder(tuple[Refund, ...]).decode
_NO_REFUNDS = "[]"
# Calling an enum costs ten times as much.
_METHOD = {each.value: each for each in PaymentMethod}
_STATUS = {each.value: each for each in PaymentStatus}


class SqlPaymentReads:
    """See payments.ports.PaymentReads."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._many = f"SELECT {_COLUMNS} FROM payments WHERE tenant_id = ? AND id {among(db.dialect)}"
        self._latest = latest_of_each(
            db.dialect, "payments", _COLUMNS, "tenant_id = ? AND order_id = wanted.id", limit="1"
        )

    async def page(self, tenant: TenantId, wanted: PaymentFilter, window: Window) -> list[Payment]:
        """Return a window of a store's payments, latest first."""
        where, params = matching(tenant, wanted)
        bounds, limits = page(window)
        rows = await part(
            self._db,
            f"SELECT {_COLUMNS} FROM payments WHERE {where}{bounds} {LATEST_FIRST}",
            (*params, *limits, window.fetch, window.offset),
            window.offset,
        )
        return [_load(row) for row in rows]

    async def count(self, tenant: TenantId, wanted: PaymentFilter) -> int:
        """Return how many payments there are."""
        where, params = matching(tenant, wanted)
        return await count(self._db, f"payments WHERE {where}", tuple(params))

    async def many(self, tenant: TenantId, payment_ids: Sequence[str]) -> list[Payment]:
        """Return those of the payments that are there."""
        rows = await self._db.fetch_all(self._many, (tenant, joined(self._db.dialect, payment_ids)))
        return [_load(row) for row in rows]

    async def latest_of(self, tenant: TenantId, order_ids: Sequence[str]) -> list[Payment]:
        """Return the latest payment of each of the orders that has one."""
        rows = await self._db.fetch_all(self._latest, (joined(self._db.dialect, order_ids), tenant))
        return [_load(row) for row in rows]


def _load(row: Row) -> Payment:
    (
        payment_id,
        tenant_id,
        order_id,
        user_id,
        amount,
        refunded,
        currency,
        method,
        status,
        provider,
        transaction_id,
        failure_reason,
        description,
        paid_at,
        refunds,
        created_at,
        updated_at,
        version,
    ) = row
    return Payment(
        payment_id,
        tenant_id,
        order_id,
        user_id,
        amount,
        refunded,
        currency,
        _METHOD[method],
        _STATUS[status],
        provider,
        transaction_id,
        failure_reason,
        description,
        None if paid_at is None else from_micros(paid_at),
        () if refunds == _NO_REFUNDS else _refunds(refunds),
        from_micros(created_at),
        from_micros(updated_at),
        version,
    )
