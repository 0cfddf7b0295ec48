"""The catalogue in SQL."""

from collections.abc import Sequence
from functools import partial

from mercato.adapters.sql.database import Row, Tx
from mercato.adapters.sql.gathering import Gathering
from mercato.adapters.sql.steps import Steps
from mercato.contracts.events import Events
from mercato.kernel.cause import Cause
from mercato.kernel.clock import from_micros
from mercato.kernel.errors import NotFound
from mercato.kernel.ids import ProductId
from mercato.kernel.paging import Window
from mercato.kernel.tenancy import TenantId
from mercato.products.domain import Inventory, Movement, MovementKind, Product
from mercato.products.ports import Change, Count, MovementRecord
from mercato.products.stores import rows
from mercato.products.stores.ledger import Changed, Ledger
from mercato.products.stores.rows import IN_CATALOGUE, INVENTORY, PRODUCTS, load_inventory, load_product


class SqlCatalogue:
    """See products.ports.CatalogueStore."""

    def __init__(self, steps: Steps, ledger: Ledger, changed: Changed) -> None:
        """Take `changed` to be called once it is committed that a product is new or another, or gone."""
        self._steps = steps
        self._db = steps.db
        self._ledger = ledger
        self._changed = changed
        self._gathering = Gathering(self._find_many)

    async def add(
        self, product: Product, opening: Sequence[Movement], events: Events, *, by: Cause
    ) -> Product:
        """Store a new product with its opening stock."""

        async def work(tx: Tx) -> tuple[Product, Events]:
            tally = rows.Tally(product.tenant_id)
            made = await rows.insert(tx, product, tally)
            await self._ledger.move(tx, made.tenant_id, opening, actor=by.actor, at=made.created_at)
            await tally.write(tx)
            tx.after_commit(partial(self._changed, made.tenant_id, made.id))
            return made, events

        return await self._steps.run(by, work)

    async def find(self, tenant: TenantId, product_id: ProductId) -> Product | None:
        """Return the product."""
        if self._db.dialect == "postgres":
            return await self._gathering.find(tenant, product_id)
        row = await self._db.fetch_one(
            f"{PRODUCTS} WHERE p.tenant_id = ? AND p.id = ? AND p.shelf > 0", (tenant, product_id)
        )
        return None if row is None else load_product(row)

    async def _find_many(self, tenant: TenantId, ids: Sequence[str]) -> dict[str, Product]:
        found = await rows.find_products(self._db, tenant, "id", ids)
        return {product.id: product for product in found}

    async def change(self, tenant: TenantId, product_id: ProductId, change: Change, *, by: Cause) -> Product:
        """Change a product in one step."""

        async def work(tx: Tx) -> tuple[Product, Events]:
            stored = await _found(tx, tenant, product_id)
            product, events = change(stored.product)
            if product is not stored.product:
                tally = rows.Tally(tenant)
                await rows.update(tx, stored, product, tally, import_id=stored.import_id)
                await tally.write(tx)
                tx.after_commit(partial(self._changed, tenant, product_id))
            return product, events

        return await self._steps.run(by, work)

    async def delete(self, tenant: TenantId, product_id: ProductId, change: Change, *, by: Cause) -> None:
        """Take a product out of the catalogue in one step."""

        async def work(tx: Tx) -> tuple[None, Events]:
            stored = await _found(tx, tenant, product_id)
            deleted, events = change(stored.product)
            tally = rows.Tally(tenant)
            await rows.remove(tx, stored, deleted, tally)
            await tally.write(tx)
            tx.after_commit(partial(self._changed, tenant, product_id))
            return None, events

        await self._steps.run(by, work)

    async def inventory(self, tenant: TenantId, product_id: ProductId) -> Inventory | None:
        """Return a product's stock."""
        row = await self._db.fetch_one(INVENTORY + IN_CATALOGUE, (tenant, product_id))
        return None if row is None else load_inventory(row)

    async def change_inventory(
        self, tenant: TenantId, product_id: ProductId, count: Count, *, by: Cause
    ) -> Inventory:
        """Change a product's stock in one step."""

        async def work(tx: Tx) -> tuple[Inventory, Events]:
            row = await tx.lock_one(INVENTORY + IN_CATALOGUE, (tenant, product_id))
            if row is None:
                raise NotFound("There is no such product.")
            counted, movements, events = count(load_inventory(row))
            await rows.write_inventory(tx, tenant, counted)
            for movement in movements:
                await self._ledger.record(
                    tx, tenant, movement, available=counted.available, actor=by.actor, at=counted.updated_at
                )
            return counted, events

        return await self._steps.run(by, work)

    async def movements(
        self, tenant: TenantId, product_id: ProductId, window: Window
    ) -> list[MovementRecord]:
        """Return movements of a product, newest first."""
        found = await self._db.search(
            "SELECT id, kind, on_hand_delta, reserved_delta, order_id, reason, actor, at FROM stock_movements"
            " WHERE tenant_id = ? AND product_id = ? AND id < ? ORDER BY id DESC LIMIT ? OFFSET ?",
            # Beyond every id, where there is none to begin after.
            (tenant, product_id, window.after or "g", window.fetch, window.offset),
        )
        return [_load_movement(product_id, row) for row in found]

    async def count_movements(self, tenant: TenantId, product_id: ProductId) -> int:
        """Return how many movements a product has had."""
        found = await self._db.search(
            "SELECT count(*) FROM stock_movements WHERE tenant_id = ? AND product_id = ?",
            (tenant, product_id),
        )
        return int(found[0][0])


async def _found(tx: Tx, tenant: TenantId, product_id: ProductId) -> rows.Stored:
    stored = await rows.find_stored(tx, tenant, "id", product_id)
    if stored is None:
        raise NotFound("There is no such product.")
    return stored


def _load_movement(product_id: ProductId, row: Row) -> MovementRecord:
    movement_id, kind, on_hand, reserved, order_id, reason, actor, at = row
    movement = Movement(product_id, MovementKind(kind), on_hand, reserved, order_id, reason)
    return MovementRecord(movement_id, movement, actor, from_micros(at))
