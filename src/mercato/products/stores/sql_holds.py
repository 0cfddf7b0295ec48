"""What orders hold, in SQL."""

from collections.abc import Sequence
from datetime import datetime
from functools import partial

import msgspec

from mercato.adapters.sql.database import Database, Row, Tx, UniqueViolation
from mercato.adapters.sql.steps import Steps
from mercato.contracts.events import Events
from mercato.contracts.products import PricedLine
from mercato.contracts.stock_books import HoldBook
from mercato.kernel.cause import ByCall, Cause
from mercato.kernel.clock import from_micros, to_micros
from mercato.kernel.errors import MercatoError
from mercato.kernel.ids import OrderId, ProductId, is_id
from mercato.kernel.tenancy import TenantId
from mercato.products.domain import Hold, HoldState, Movement, Product, Short
from mercato.products.ports import Decide, Shortage
from mercato.products.stores.ledger import Ledger, NotPlain
from mercato.products.stores.rows import find_products

_HOLDS = "SELECT tenant_id, order_id, state, currency, lines, expires_at, next_check_at FROM reservations"
_BOOKS_PAGE = 1_000

_lines = msgspec.json.Decoder(tuple[PricedLine, ...])


class SqlHolds:
    """See products.ports.HoldStore."""

    def __init__(self, steps: Steps, ledger: Ledger) -> None:
        self._steps = steps
        self._db = steps.db
        self._ledger = ledger

    async def change(
        self,
        tenant: TenantId,
        order_id: OrderId,
        decide: Decide,
        *,
        products: Sequence[str] = (),
        by: Cause,
        at: datetime,
    ) -> Hold | None:
        """Decide on an order's hold and carry it out in one step."""
        # On SQLite there is no way to the database that could be saved.
        plainly = self._db.dialect == "postgres"
        if plainly and products and isinstance(by, ByCall):
            hold = await self._begin(tenant, order_id, decide, products, by, at)
            if hold is not None:
                return hold

        async def work(tx: Tx, *, plainly: bool) -> tuple[Hold | None, Events]:
            row = await tx.lock_one(f"{_HOLDS} WHERE tenant_id = ? AND order_id = ?", (tenant, order_id))
            before = None if row is None else _load(row)
            # Who holds stock already needs no catalogue.
            found = await _find_products(tx, tenant, products if before is None else ())
            outcome = decide(before, found)
            await self._move(tx, tenant, outcome.movements, by=by, at=at, plainly=plainly)
            if outcome.hold is not before:
                await _save(tx, tenant, order_id, before, outcome.hold, at)
            return outcome.hold, outcome.events

        try:
            return await self._steps.run(by, partial(work, plainly=plainly))
        except (NotPlain, UniqueViolation):
            # Somebody else may have begun the same order's hold beside this; now it is there to be met.
            return await self._steps.run(by, partial(work, plainly=False))

    async def _begin(
        self,
        tenant: TenantId,
        order_id: OrderId,
        decide: Decide,
        products: Sequence[str],
        by: Cause,
        at: datetime,
    ) -> Hold | None:
        """Begin a hold as most begin, in one statement; None if this one is not so, and nothing is done."""
        try:
            outcome = decide(None, await _find_products(self._db, tenant, products))
        except MercatoError:
            # Where the order has a hold already, it may be decided otherwise.
            return None

        async def work(tx: Tx) -> tuple[Hold | None, Events]:
            await self._ledger.put(tx, tenant, outcome.movements, actor=by.actor, at=at)
            await _save(tx, tenant, order_id, None, outcome.hold, at)
            return outcome.hold, outcome.events

        try:
            return await self._steps.run(by, work)
        except (NotPlain, UniqueViolation):
            return None

    async def _move(
        self,
        tx: Tx,
        tenant: TenantId,
        movements: Sequence[Movement],
        *,
        by: Cause,
        at: datetime,
        plainly: bool,
    ) -> None:
        if plainly:
            await self._ledger.put(tx, tenant, movements, actor=by.actor, at=at)
            return
        refused = await self._ledger.move(tx, tenant, movements, actor=by.actor, at=at)
        if refused:
            raise Shortage(await _short(tx, tenant, refused))

    async def due(self, at: datetime, limit: int) -> list[Hold]:
        """Return holds of any store that are to be checked."""
        rows = await self._db.fetch_all(
            f"{_HOLDS} WHERE state = 'held' AND next_check_at <= ? ORDER BY next_check_at LIMIT ?",
            (to_micros(at), limit),
        )
        return [_load(row) for row in rows]


async def hold_books(db: Database) -> list[HoldBook]:
    """Return what every order holds, has taken or gave back."""
    books: list[HoldBook] = []
    last = ("", "")
    while True:
        rows = await db.search(
            f"{_HOLDS} WHERE (tenant_id, order_id) > (?, ?) ORDER BY tenant_id, order_id LIMIT ?",
            (*last, _BOOKS_PAGE),
        )
        for hold in map(_load, rows):
            lines = tuple((line.product_id, line.quantity) for line in hold.lines)
            books.append(HoldBook(hold.tenant_id, hold.order_id, hold.state.value, lines))
        if len(rows) < _BOOKS_PAGE:
            return books
        last = (books[-1].tenant_id, books[-1].order_id)


async def _find_products(reader: Tx | Database, tenant: TenantId, names: Sequence[str]) -> dict[str, Product]:
    """Return the products that are called so, by id or SKU."""
    # They are not held: of one that many order at once, only the stock is waited for.
    ids = {name for name in names if is_id(name)}
    by_id = await find_products(reader, tenant, "id", sorted(ids))
    by_sku = await find_products(reader, tenant, "live_sku", sorted({*names} - ids))
    return {product.id: product for product in by_id} | {product.sku: product for product in by_sku}


async def _short(tx: Tx, tenant: TenantId, refused: Sequence[ProductId]) -> list[Short]:
    """Say how much there is of what there is too little of."""
    short = []
    for product_id in refused:
        row = await tx.fetch_one(
            "SELECT p.sku, i.on_hand - i.reserved FROM products p"
            " JOIN inventory i ON i.tenant_id = p.tenant_id AND i.product_id = p.id"
            " WHERE p.tenant_id = ? AND p.id = ?",
            (tenant, product_id),
        )
        sku, available = (product_id, 0) if row is None else row
        short.append(Short(product_id, sku, available))
    return short


async def _save(
    tx: Tx, tenant: TenantId, order_id: OrderId, before: Hold | None, hold: Hold | None, at: datetime
) -> None:
    """Write what became of an order's hold."""
    if hold is None:
        await tx.put("DELETE FROM reservations WHERE tenant_id = ? AND order_id = ?", (tenant, order_id))
    elif before is None:
        await tx.put(
            "INSERT INTO reservations (tenant_id, order_id, state, currency, lines, expires_at,"
            " next_check_at, created_at, updated_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                tenant,
                order_id,
                hold.state.value,
                hold.currency,
                msgspec.json.encode(hold.lines).decode(),
                to_micros(hold.expires_at),
                to_micros(hold.next_check_at),
                to_micros(at),
                to_micros(at),
            ),
        )
    else:
        await tx.put(
            "UPDATE reservations SET state = ?, next_check_at = ?, updated_at = ?"
            " WHERE tenant_id = ? AND order_id = ?",
            (hold.state.value, to_micros(hold.next_check_at), to_micros(at), tenant, order_id),
        )


def _load(row: Row) -> Hold:
    tenant, order_id, state, currency, lines, expires_at, next_check_at = row
    return Hold(
        tenant_id=tenant,
        order_id=order_id,
        state=HoldState(state),
        currency=currency,
        lines=_lines.decode(lines),
        expires_at=from_micros(expires_at),
        next_check_at=from_micros(next_check_at),
    )
