"""The catalogue in SQL."""

from collections.abc import Sequence

from mercato.adapters.sql.database import Row, Tx, Value
from mercato.adapters.sql.steps import Steps
from mercato.contracts.events import Events
from mercato.kernel.cause import Cause
from mercato.kernel.clock import from_micros, to_micros
from mercato.kernel.errors import NotFound
from mercato.kernel.ids import ProductId
from mercato.kernel.paging import Window
from mercato.kernel.tenancy import TenantId
from mercato.products.domain import DuplicateSku, Inventory, Movement, Product
from mercato.products.ports import Count, ProductFilter
from mercato.products.stores.ledger import Ledger

PRODUCTS = (
    "SELECT p.id, p.tenant_id, p.sku, p.name, p.description, p.price, p.currency, p.category,"
    " i.on_hand > i.reserved, p.created_at, p.updated_at, p.version"
    " FROM products p JOIN inventory i ON i.tenant_id = p.tenant_id AND i.product_id = p.id"
)
"""Selects what `load_product` reads."""

_INVENTORY = (
    "SELECT product_id, on_hand, reserved, warehouse_location, updated_at FROM inventory"
    " WHERE tenant_id = ? AND product_id = ?"
)


class SqlCatalogue:
    """See products.ports.CatalogueStore."""

    def __init__(self, steps: Steps, ledger: Ledger) -> None:
        self._steps = steps
        self._db = steps.db
        self._ledger = ledger

    async def add(
        self, product: Product, opening: Sequence[Movement], events: Events, *, by: Cause
    ) -> Product:
        """Store a new product with its opening stock."""

        async def work(tx: Tx) -> tuple[Product, Events]:
            await _insert(tx, product)
            await self._ledger.move(tx, product.tenant_id, opening, actor=by.actor, at=product.created_at)
            return product, events

        return await self._steps.run(by, work)

    async def find(self, tenant: TenantId, product_id: ProductId) -> Product | None:
        """Return the product."""
        row = await self._db.fetch_one(f"{PRODUCTS} WHERE p.tenant_id = ? AND p.id = ?", (tenant, product_id))
        return None if row is None else load_product(row)

    async def page(self, tenant: TenantId, wanted: ProductFilter, window: Window) -> list[Product]:
        """Return products, newest first."""
        where, params = _where(tenant, wanted)
        if window.after is not None:
            where += " AND p.id < ?"
            params.append(window.after)
        rows = await self._db.search(
            f"{PRODUCTS} WHERE {where} ORDER BY p.id DESC LIMIT ? OFFSET ?",
            (*params, window.fetch, window.offset),
        )
        return [load_product(row) for row in rows]

    async def count(self, tenant: TenantId, wanted: ProductFilter) -> int:
        """Return how many products there are."""
        where, params = _where(tenant, wanted)
        rows = await self._db.search(f"SELECT count(*) FROM products p WHERE {where}", params)
        return int(rows[0][0])

    async def inventory(self, tenant: TenantId, product_id: ProductId) -> Inventory | None:
        """Return a product's stock."""
        row = await self._db.fetch_one(_INVENTORY, (tenant, product_id))
        return None if row is None else _load_inventory(row)

    async def change_inventory(
        self, tenant: TenantId, product_id: ProductId, count: Count, *, by: Cause
    ) -> Inventory:
        """Change a product's stock in one step."""

        async def work(tx: Tx) -> tuple[Inventory, Events]:
            row = await tx.fetch_one(_INVENTORY, (tenant, product_id))
            if row is None:
                raise NotFound("There is no such product.")
            counted, movements, events = count(_load_inventory(row))
            at = counted.updated_at
            await tx.execute(
                "UPDATE inventory SET on_hand = ?, warehouse_location = ?, updated_at = ?"
                " WHERE tenant_id = ? AND product_id = ?",
                (counted.on_hand, counted.warehouse_location, to_micros(at), tenant, product_id),
            )
            for movement in movements:
                await self._ledger.record(
                    tx, tenant, movement, available=counted.available, actor=by.actor, at=at
                )
            return counted, events

        return await self._steps.run(by, work)


async def _insert(tx: Tx, product: Product) -> None:
    """Insert a product that is in the catalogue and has no stock yet. Raises DuplicateSku."""
    made = await tx.execute(
        "INSERT INTO products (tenant_id, id, sku, live_sku, name, description, price, currency, category,"
        " created_at, updated_at, version) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
        " ON CONFLICT (tenant_id, live_sku) DO NOTHING",
        (
            product.tenant_id,
            product.id,
            product.sku,
            product.sku,
            product.name,
            product.description,
            product.price,
            product.currency,
            product.category,
            to_micros(product.created_at),
            to_micros(product.updated_at),
            product.version,
        ),
    )
    if not made:
        raise DuplicateSku(f"There is a product with the SKU {product.sku} already.")
    await tx.execute(
        "INSERT INTO inventory (tenant_id, product_id, on_hand, reserved, updated_at) VALUES (?, ?, 0, 0, ?)",
        (product.tenant_id, product.id, to_micros(product.created_at)),
    )


def _where(tenant: TenantId, wanted: ProductFilter) -> tuple[str, list[Value]]:
    where = "p.tenant_id = ?"
    params: list[Value] = [tenant]
    if wanted.category is not None:
        where += " AND p.category = ?"
        params.append(wanted.category)
    if wanted.sku is not None:
        where += " AND p.live_sku = ?"
        params.append(wanted.sku)
    return where, params


def load_product(row: Row) -> Product:
    """Read a row of PRODUCTS."""
    (
        product_id,
        tenant_id,
        sku,
        name,
        description,
        price,
        currency,
        category,
        in_stock,
        created_at,
        updated_at,
        version,
    ) = row
    return Product(
        id=product_id,
        tenant_id=tenant_id,
        sku=sku,
        name=name,
        description=description,
        price=price,
        currency=currency,
        category=category,
        in_stock=bool(in_stock),
        created_at=from_micros(created_at),
        updated_at=from_micros(updated_at),
        version=version,
    )


def _load_inventory(row: Row) -> Inventory:
    product_id, on_hand, reserved, location, updated_at = row
    return Inventory(product_id, on_hand, reserved, location, from_micros(updated_at))
