"""Stock and its movements: what every step that changes stock writes, and the books of it."""

from collections.abc import Callable, Sequence
from datetime import datetime

from mercato.adapters.sql.database import Database, Tx
from mercato.contracts.stock_books import StockBook
from mercato.kernel.clock import to_micros
from mercato.kernel.ids import ProductId, uuid7
from mercato.kernel.tenancy import TenantId
from mercato.products.domain import Movement

Changed = Callable[[TenantId, ProductId], None]
"""Told, once it is committed, that what a product's page shows has changed."""

_BOOKS_PAGE = 1_000


class Ledger:
    """Moves stock, and keeps a record of every movement."""

    def __init__(self, changed: Changed) -> None:
        self._changed = changed

    async def move(
        self, tx: Tx, tenant: TenantId, movements: Sequence[Movement], *, actor: str, at: datetime
    ) -> list[ProductId]:
        """Carry out the movements; return the products of which too little was available.

        The caller's step must fail if there are any.
        """
        refused = []
        for movement in movements:
            row = await tx.fetch_one(
                "UPDATE inventory SET on_hand = on_hand + ?, reserved = reserved + ?, updated_at = ?"
                " WHERE tenant_id = ? AND product_id = ? AND on_hand - reserved >= ?"
                " RETURNING on_hand - reserved",
                (
                    movement.on_hand,
                    movement.reserved,
                    to_micros(at),
                    tenant,
                    movement.product_id,
                    movement.reserved - movement.on_hand,
                ),
            )
            if row is None:
                refused.append(movement.product_id)
            else:
                await self.record(tx, tenant, movement, available=row[0], actor=actor, at=at)
        return refused

    async def record(
        self, tx: Tx, tenant: TenantId, movement: Movement, *, available: int, actor: str, at: datetime
    ) -> None:
        """Write down a movement that has been made and left so much `available`."""
        await tx.execute(
            "INSERT INTO stock_movements (tenant_id, product_id, id, kind, on_hand_delta, reserved_delta,"
            " order_id, actor, reason, at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                tenant,
                movement.product_id,
                uuid7(),
                movement.kind.value,
                movement.on_hand,
                movement.reserved,
                movement.order_id,
                actor,
                movement.reason,
                to_micros(at),
            ),
        )
        before = available - movement.on_hand + movement.reserved
        if (before > 0) != (available > 0):
            tx.after_commit(lambda: self._changed(tenant, movement.product_id))


async def stock_books(db: Database) -> list[StockBook]:
    """Return every product's stock beside the sums of its movements, each from one moment."""
    books: list[StockBook] = []
    last = ("", "")
    while True:
        rows = await db.search(
            "SELECT i.tenant_id, i.product_id, i.on_hand, i.reserved,"
            " (SELECT COALESCE(SUM(m.on_hand_delta), 0) FROM stock_movements m"
            "  WHERE m.tenant_id = i.tenant_id AND m.product_id = i.product_id),"
            " (SELECT COALESCE(SUM(m.reserved_delta), 0) FROM stock_movements m"
            "  WHERE m.tenant_id = i.tenant_id AND m.product_id = i.product_id)"
            " FROM inventory i WHERE (i.tenant_id, i.product_id) > (?, ?)"
            " ORDER BY i.tenant_id, i.product_id LIMIT ?",
            (*last, _BOOKS_PAGE),
        )
        books.extend(StockBook(*row) for row in rows)
        if len(rows) < _BOOKS_PAGE:
            return books
        last = (rows[-1][0], rows[-1][1])
