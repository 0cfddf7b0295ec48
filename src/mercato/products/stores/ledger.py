"""Stock and its movements: what every step that changes stock writes, and the books of it."""

from collections.abc import Callable, Sequence
from datetime import datetime
from functools import partial

from mercato.adapters.sql.database import Database, Tx
from mercato.contracts.stock_books import StockBook
from mercato.kernel.clock import to_micros
from mercato.kernel.ids import ProductId, uuid7
from mercato.kernel.tenancy import TenantId
from mercato.products.domain import Movement
from mercato.products.stores.rows import cross

Changed = Callable[[TenantId, ProductId], None]
"""Told, once it is committed, that what a product's page shows has changed."""

_BOOKS_PAGE = 1_000


class NotPlain(Exception):
    """A movement cannot be only put: too little is available, or a page would show it."""


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
        refused: list[ProductId] = []
        crossed: list[tuple[ProductId, bool]] = []
        for movement in movements:
            row = await tx.fetch_one(
                "UPDATE inventory SET on_hand = on_hand + ?, reserved = reserved + ?, updated_at = ?,"
                " version = version + 1 WHERE tenant_id = ? AND product_id = ? AND on_hand - reserved >= ?"
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
                continue
            await _write(tx, tenant, movement, actor=actor, at=at)
            crossed += _crossed(movement, row[0])
        await self._cross(tx, tenant, crossed)
        return refused

    async def put(
        self, tx: Tx, tenant: TenantId, movements: Sequence[Movement], *, actor: str, at: datetime
    ) -> None:
        """Carry out the movements with what else the step puts, if each leaves its product as it is shown.

        Otherwise the step fails with NotPlain: then it has to `move` them.
        """
        for movement in movements:
            less = movement.reserved - movement.on_hand
            await tx.put(
                "UPDATE inventory SET on_hand = on_hand + ?, reserved = reserved + ?, updated_at = ?,"
                " version = version + 1 WHERE tenant_id = ? AND product_id = ? AND on_hand - reserved >= ?",
                (
                    movement.on_hand,
                    movement.reserved,
                    to_micros(at),
                    tenant,
                    movement.product_id,
                    # It is in stock before and after, unless the movement is none of what is available.
                    max(less, 0) + 1 if less else 0,
                ),
                otherwise=NotPlain,
            )
            await _write(tx, tenant, movement, actor=actor, at=at)

    async def record(
        self, tx: Tx, tenant: TenantId, movement: Movement, *, available: int, actor: str, at: datetime
    ) -> None:
        """Write down a movement that has been made and left so much `available`."""
        await _write(tx, tenant, movement, actor=actor, at=at)
        await self._cross(tx, tenant, _crossed(movement, available))

    async def _cross(self, tx: Tx, tenant: TenantId, crossed: Sequence[tuple[ProductId, bool]]) -> None:
        # After all stock has moved: the counts are the store's, and are waited for last.
        await cross(tx, tenant, crossed)
        for product_id, _ in crossed:
            tx.after_commit(partial(self._changed, tenant, product_id))


async def _write(tx: Tx, tenant: TenantId, movement: Movement, *, actor: str, at: datetime) -> None:
    await tx.put(
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


def _crossed(movement: Movement, available: int) -> list[tuple[ProductId, bool]]:
    """Say whether a movement that left so much `available` brought the product into stock or sold it out."""
    before = available - movement.on_hand + movement.reserved
    return [] if (before > 0) == (available > 0) else [(movement.product_id, available > 0)]


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
