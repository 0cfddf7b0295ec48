"""Payments in a relational database.

Refunds are JSON in the payment's row: they are bounded, change with it in one step, and are
never searched. Their sums are columns, which a constraint holds to the amount.
"""

from datetime import datetime

import msgspec

from mercato.adapters.sql.database import Row, Tx, Value
from mercato.adapters.sql.steps import Steps
from mercato.adapters.sql.timed import LATEST_FIRST, page
from mercato.contracts.events import Events
from mercato.contracts.payment_books import BOOKED, PaymentBook
from mercato.contracts.payments import PaymentMethod, PaymentStatus
from mercato.kernel.cause import BySystem, Cause
from mercato.kernel.clock import from_micros, to_micros
from mercato.kernel.errors import Conflict, NotFound
from mercato.kernel.ids import OrderId, PaymentId
from mercato.kernel.paging import Window
from mercato.kernel.tenancy import TenantId
from mercato.payments.domain import ACTIVE, Payment, Refund
from mercato.payments.ports import Decide, Due, Heard, Notice, PaymentFilter

_COLUMNS = (
    "tenant_id, id, order_id, user_id, amount, currency, method, status, provider, token, description,"
    " transaction_id, failure_reason, paid_at, refunds, order_cancelled, checks, check_at, created_at,"
    " updated_at, version"
)
_DERIVED = "active_order_id, refunded_amount, pending_refunds"
_CHANGING = (
    "status = ?, provider = ?, token = ?, transaction_id = ?, failure_reason = ?, paid_at = ?, refunds = ?,"
    " order_cancelled = ?, checks = ?, check_at = ?, updated_at = ?, version = ?, active_order_id = ?,"
    " refunded_amount = ?, pending_refunds = ?"
)
_encode = msgspec.json.Encoder().encode
_refunds = msgspec.json.Decoder(tuple[Refund, ...]).decode


class SqlPayments:
    """See payments.ports.PaymentStore."""

    def __init__(self, steps: Steps) -> None:
        self._steps = steps
        self._db = steps.db

    async def find(self, tenant: TenantId, payment_id: PaymentId) -> Payment | None:
        """Return one payment."""
        row = await self._db.fetch_one(
            f"SELECT {_COLUMNS} FROM payments WHERE tenant_id = ? AND id = ?", (tenant, payment_id)
        )
        return None if row is None else _load(row)

    async def latest_of(self, tenant: TenantId, order_id: OrderId) -> Payment | None:
        """Return an order's latest payment."""
        row = await self._db.fetch_one(
            f"SELECT {_COLUMNS} FROM payments WHERE tenant_id = ? AND order_id = ?"
            " ORDER BY created_at DESC, id DESC LIMIT 1",
            (tenant, order_id),
        )
        return None if row is None else _load(row)

    async def search(self, tenant: TenantId, wanted: PaymentFilter, window: Window) -> list[Payment]:
        """Return a window of a store's payments, latest first."""
        where, params = matching(tenant, wanted)
        part, bounds = page(window)
        rows = await self._db.search(
            f"SELECT {_COLUMNS} FROM payments WHERE {where}{part} {LATEST_FIRST}",
            (*params, *bounds, window.fetch, window.offset),
        )
        return [_load(row) for row in rows]

    async def count(self, tenant: TenantId, wanted: PaymentFilter) -> int:
        """Return how many payments there are."""
        where, params = matching(tenant, wanted)
        rows = await self._db.search(f"SELECT count(*) FROM payments WHERE {where}", params)
        return int(rows[0][0])

    async def add(self, payment: Payment, events: Events, *, by: Cause) -> Payment:
        """Open a payment. Raises Conflict for an order that has one, or that was cancelled."""

        async def work(tx: Tx) -> tuple[Payment, Events]:
            # The cancellation may have come between asking orders and this step, or come beside it.
            await tx.lock_name(_fate_of(payment.tenant_id, payment.order_id))
            fate = await tx.fetch_one(
                "SELECT cancelled_at FROM order_fates WHERE tenant_id = ? AND order_id = ?",
                (payment.tenant_id, payment.order_id),
            )
            if fate is not None:
                raise Conflict("The order is cancelled.")
            marks = ", ".join("?" * 24)
            await tx.put(
                f"INSERT INTO payments ({_COLUMNS}, {_DERIVED}) VALUES ({marks}) ON CONFLICT DO NOTHING",
                (*_values(payment), *_derived(payment)),
                otherwise=_has_another,
            )
            return payment, events

        return await self._steps.run(by, work)

    async def change(self, tenant: TenantId, payment_id: PaymentId, decide: Decide, *, by: Cause) -> Payment:
        """Load, decide and store with the events. Raises NotFound."""

        async def work(tx: Tx) -> tuple[Payment, Events]:
            row = await tx.lock_one(
                f"SELECT {_COLUMNS} FROM payments WHERE tenant_id = ? AND id = ?", (tenant, payment_id)
            )
            if row is None:
                raise NotFound("There is no such payment.")
            return await _apply(tx, _load(row), decide)

        return await self._steps.run(by, work)

    async def cancel_order(
        self, tenant: TenantId, order_id: OrderId, decide: Decide, *, at: datetime, by: Cause
    ) -> Payment | None:
        """Note that no payment may be opened for the order, and change the one it has."""

        async def work(tx: Tx) -> tuple[Payment | None, Events]:
            await tx.lock_name(_fate_of(tenant, order_id))
            await tx.execute(
                "INSERT INTO order_fates (tenant_id, order_id, cancelled_at) VALUES (?, ?, ?)"
                " ON CONFLICT DO NOTHING",
                (tenant, order_id, to_micros(at)),
            )
            row = await tx.lock_one(
                f"SELECT {_COLUMNS} FROM payments WHERE tenant_id = ? AND active_order_id = ?",
                (tenant, order_id),
            )
            if row is None:
                return None, ()
            return await _apply(tx, _load(row), decide)

        return await self._steps.run(by, work)

    async def hear(self, provider: str, notice: Notice, decide: Decide, *, at: datetime) -> Heard:
        """Take note of a notice, once, and change the payment it is about."""

        async def work(tx: Tx) -> tuple[Heard, Events]:
            is_new = await tx.execute(
                "INSERT INTO notices (provider, event_id, heard_at) VALUES (?, ?, ?) ON CONFLICT DO NOTHING",
                (provider, notice.event_id, to_micros(at)),
            )
            if not is_new:
                return Heard.REPEATED, ()
            row = await tx.lock_one(
                f"SELECT {_COLUMNS} FROM payments WHERE tenant_id = ? AND id = ? AND provider = ?",
                (notice.tenant, notice.payment_id, provider),
            )
            if row is None:
                return Heard.UNKNOWN, ()
            changed, events = await _apply(tx, _load(row), decide)
            return Heard.SETTLED if changed.check_at is None else Heard.DUE, events

        return await self._steps.run(BySystem(f"webhook:{provider}"), work)

    async def due(self, now: datetime, limit: int) -> list[Due]:
        """Return payments of all stores about which to ask now, longest waiting first."""
        rows = await self._db.fetch_all(
            "SELECT tenant_id, id FROM payments WHERE check_at <= ? ORDER BY check_at LIMIT ?",
            (to_micros(now), limit),
        )
        return [Due(TenantId(tenant), PaymentId(payment_id)) for tenant, payment_id in rows]

    async def make_due(self) -> int:
        """Make all that is open due at once, in all stores."""

        async def step(tx: Tx) -> int:
            return await tx.execute("UPDATE payments SET check_at = 0 WHERE check_at IS NOT NULL")

        return await self._db.transact(step)

    async def purge(self, *, notices_before: datetime, fates_before: datetime, limit: int) -> int:
        """Delete up to `limit` notices, and as many orders' cancellations, from before then."""

        async def step(tx: Tx) -> int:
            notices = await tx.execute(
                "DELETE FROM notices WHERE (provider, event_id) IN (SELECT provider, event_id FROM notices"
                " WHERE heard_at < ? ORDER BY heard_at LIMIT ?)",
                (to_micros(notices_before), limit),
            )
            fates = await tx.execute(
                "DELETE FROM order_fates WHERE (tenant_id, order_id) IN (SELECT tenant_id, order_id"
                " FROM order_fates WHERE cancelled_at < ? ORDER BY cancelled_at LIMIT ?)",
                (to_micros(fates_before), limit),
            )
            return max(notices, fates)

        return await self._db.transact(step)

    async def books(self) -> list[PaymentBook]:
        """Return every store's payments, for reconciliation."""
        rows = await self._db.search(
            "SELECT tenant_id, id, order_id, status, method, amount, currency, refunded_amount,"
            " pending_refunds, provider FROM payments"
        )
        return [_book(row) for row in rows]


def _fate_of(tenant: TenantId, order_id: OrderId) -> str:
    """Name what opening a payment and cancelling its order decide between them."""
    return f"{tenant}/fate/{order_id}"


async def _apply(tx: Tx, payment: Payment, decide: Decide) -> tuple[Payment, Events]:
    changed, events = decide(payment)
    if changed is not payment:
        await tx.put(
            f"UPDATE payments SET {_CHANGING} WHERE tenant_id = ? AND id = ? AND version = ?",
            (*_changing(changed), payment.tenant_id, payment.id, payment.version),
            otherwise=_changed_meanwhile,
        )
    return changed, events


def _has_another() -> Conflict:
    return Conflict("The order has a payment that is open or paid.")


def _changed_meanwhile() -> Conflict:
    return Conflict("The payment was changed at the same time.")


def matching(tenant: TenantId, wanted: PaymentFilter) -> tuple[str, list[Value]]:
    """Return the condition of what is wanted, with its parameters."""
    criteria: dict[str, Value] = {
        "tenant_id": tenant,
        "order_id": wanted.order_id,
        "user_id": wanted.user_id,
        "status": wanted.status,
    }
    given = {column: value for column, value in criteria.items() if value is not None}
    if wanted.order_id is not None:
        # An order has few payments: its index is to be searched, and no other one fits an expression.
        named = ("tenant_id", "order_id")
        given = {name if name in named else f"COALESCE({name}, '')": value for name, value in given.items()}
    return " AND ".join(f"{column} = ?" for column in given), list(given.values())


def _values(payment: Payment) -> tuple[Value, ...]:
    return (
        payment.tenant_id,
        payment.id,
        payment.order_id,
        payment.user_id,
        payment.amount,
        payment.currency,
        payment.method,
        payment.status,
        payment.provider,
        payment.token,
        payment.description,
        payment.transaction_id,
        payment.failure_reason,
        _micros(payment.paid_at),
        _encode(payment.refunds).decode(),
        int(payment.order_cancelled),
        payment.checks,
        _micros(payment.check_at),
        to_micros(payment.created_at),
        to_micros(payment.updated_at),
        payment.version,
    )


def _changing(payment: Payment) -> tuple[Value, ...]:
    return (
        payment.status,
        payment.provider,
        payment.token,
        payment.transaction_id,
        payment.failure_reason,
        _micros(payment.paid_at),
        _encode(payment.refunds).decode(),
        int(payment.order_cancelled),
        payment.checks,
        _micros(payment.check_at),
        to_micros(payment.updated_at),
        payment.version,
        *_derived(payment),
    )


def _derived(payment: Payment) -> tuple[Value, ...]:
    """Return the columns that only constraints and reconciliation read."""
    active_order_id = payment.order_id if payment.status in ACTIVE else None
    return active_order_id, payment.refunded_amount, payment.pending_refunds


def _load(row: Row) -> Payment:
    return Payment(
        tenant_id=row[0],
        id=row[1],
        order_id=row[2],
        user_id=row[3],
        amount=row[4],
        currency=row[5],
        method=PaymentMethod(row[6]),
        status=PaymentStatus(row[7]),
        provider=row[8],
        token=row[9],
        description=row[10],
        transaction_id=row[11],
        failure_reason=row[12],
        paid_at=_moment(row[13]),
        refunds=_refunds(row[14]),
        order_cancelled=bool(row[15]),
        checks=row[16],
        check_at=_moment(row[17]),
        created_at=from_micros(row[18]),
        updated_at=from_micros(row[19]),
        version=row[20],
    )


def _book(row: Row) -> PaymentBook:
    tenant, payment_id, order_id, status, method, amount, currency, refunded, pending, provider = row
    return PaymentBook(
        tenant_id=tenant,
        payment_id=payment_id,
        order_id=order_id,
        status=PaymentStatus(status),
        method=PaymentMethod(method),
        amount=amount,
        currency=currency,
        refunded_amount=refunded,
        pending_refunds=pending,
        provider=provider,
        charge_key=payment_id if provider in BOOKED else None,
    )


def _micros(at: datetime | None) -> int | None:
    return None if at is None else to_micros(at)


def _moment(micros: int | None) -> datetime | None:
    return None if micros is None else from_micros(micros)
