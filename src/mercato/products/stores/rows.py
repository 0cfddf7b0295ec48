"""Rows of the catalogue: what is read of them, and what every step that changes them writes."""

from collections import defaultdict
from collections.abc import Sequence

import msgspec

from mercato.adapters.sql.database import Database, Row, Tx, UniqueViolation
from mercato.kernel.clock import from_micros, to_micros
from mercato.kernel.ids import ProductId
from mercato.kernel.tenancy import TenantId
from mercato.products.domain import DuplicateSku, Inventory, Product
from mercato.products.stores import words
from mercato.products.stores.word_index import INDEXES

GONE, SOLD_OUT, IN_STOCK = 0, 1, 2
"""The shelf a product is on: out of the catalogue, or in it and sold out or not."""

COLUMNS = (
    "p.id, p.tenant_id, p.sku, p.name, p.description, p.price, p.currency, p.category,"
    " p.shelf, p.created_at, p.updated_at, p.version"
)
"""What `load_product` reads."""
PRODUCTS = f"SELECT {COLUMNS} FROM products p"
_STORED = f"SELECT {COLUMNS}, p.position, p.words, p.import_id FROM products p"

STOCK = (
    "SELECT i.product_id, i.on_hand, i.reserved, i.warehouse_location, i.updated_at, i.version"
    " FROM inventory i"
)
"""Selects what `load_inventory` reads."""
INVENTORY = f"{STOCK} WHERE i.tenant_id = ? AND i.product_id = ?"
IN_CATALOGUE = (
    " AND EXISTS (SELECT 1 FROM products p"
    " WHERE p.tenant_id = i.tenant_id AND p.id = i.product_id AND p.shelf > 0)"
)
"""The condition of stock that its product has not been deleted."""


class Stored(msgspec.Struct, frozen=True):
    """A product with what only its row has."""

    product: Product
    position: int
    words: str
    import_id: str | None


async def find_stored(tx: Tx, tenant: TenantId, column: str, value: str) -> Stored | None:
    """Return the product in the catalogue whose `id` or `live_sku` that is, for the step to change it."""
    row = await tx.lock_one(
        f"{_STORED} WHERE p.tenant_id = ? AND p.{column} = ? AND p.shelf > 0", (tenant, value)
    )
    return None if row is None else Stored(load_product(row[:-3]), *row[-3:])


async def find_products(
    reader: Tx | Database, tenant: TenantId, column: str, values: Sequence[str]
) -> list[Product]:
    """Return the products in the catalogue whose `id` or `live_sku` is one of these, as last committed."""
    if not values:
        return []
    where = f"{PRODUCTS} WHERE p.tenant_id = ? AND p.shelf > 0 AND p.{column}"
    if reader.dialect == "postgres":
        found = await reader.fetch_all(f"{where} = ANY(?)", (tenant, [*values]))
    else:
        found = await reader.fetch_all(f"{where} IN ({', '.join('?' * len(values))})", (tenant, *values))
    return [load_product(row) for row in found]


def load_product(row: Row) -> Product:
    """Read a row of COLUMNS."""
    (
        product_id,
        tenant_id,
        sku,
        name,
        description,
        price,
        currency,
        category,
        shelf,
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
        in_stock=shelf == IN_STOCK,
        created_at=from_micros(created_at),
        updated_at=from_micros(updated_at),
        version=version,
    )


def load_inventory(row: Row) -> Inventory:
    """Read a row of INVENTORY."""
    product_id, on_hand, reserved, location, updated_at, version = row
    return Inventory(product_id, on_hand, reserved, location, from_micros(updated_at), version)


async def hold_skus(tx: Tx, tenant: TenantId) -> None:
    """Let nobody else make a product of the store, or give one another SKU, until the step ends."""
    await tx.lock_name(f"{tenant}/products")


class Tally:
    """Changes of how many products there are, to be written once at the end of a step."""

    def __init__(self, tenant: TenantId) -> None:
        self._tenant = tenant
        self._changes: defaultdict[tuple[str, int], int] = defaultdict(int)

    def move(self, category: str | None, before: int, after: int) -> None:
        """Count a product that was on one shelf, and is on another."""
        for each in ("", category):
            if each is not None:
                self._changes[each, before] -= 1
                self._changes[each, after] += 1

    async def write(self, tx: Tx) -> None:
        """Write the counts, in one order everywhere, so that no two steps wait for each other."""
        for (category, shelf), change in sorted(self._changes.items()):
            if not change or shelf == GONE:
                continue
            row = await tx.fetch_one(
                "INSERT INTO product_counts (tenant_id, category, shelf, products) VALUES (?, ?, ?, ?)"
                " ON CONFLICT (tenant_id, category, shelf)"
                " DO UPDATE SET products = product_counts.products + excluded.products RETURNING products",
                (self._tenant, category, shelf, change),
            )
            if row is not None and not row[0]:
                await tx.execute(
                    "DELETE FROM product_counts WHERE tenant_id = ? AND category = ? AND shelf = ?",
                    (self._tenant, category, shelf),
                )
        self._changes.clear()


async def insert(tx: Tx, product: Product, tally: Tally, *, import_id: str | None = None) -> Product:
    """Insert a new product, which has no stock yet, and return it. Raises DuplicateSku.

    Lists by creation go by position, and times must agree with them: so a product counts as
    made no earlier than the one before it.
    """
    await hold_skus(tx, product.tenant_id)
    made_at = max(to_micros(product.created_at), await _newest(tx, product.tenant_id))
    product = msgspec.structs.replace(
        product, created_at=from_micros(made_at), updated_at=from_micros(made_at)
    )
    text = _text(product)
    shelf = IN_STOCK if product.in_stock else SOLD_OUT
    row = await tx.fetch_one(
        "INSERT INTO products (tenant_id, id, shelf, sku, live_sku, price, currency, category, created_at,"
        " updated_at, version, import_id, name, name_key, description, words)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
        " ON CONFLICT (tenant_id, live_sku) DO NOTHING RETURNING position",
        (
            product.tenant_id,
            product.id,
            shelf,
            product.sku,
            product.sku,
            product.price,
            product.currency,
            product.category,
            made_at,
            made_at,
            product.version,
            import_id,
            product.name,
            words.name_key(product.name),
            product.description,
            text,
        ),
    )
    if row is None:
        raise _duplicate(product.sku)
    await INDEXES[tx.dialect].put(tx, product.tenant_id, row[0], text, product.category)
    await tx.execute(
        "INSERT INTO inventory (tenant_id, product_id, on_hand, reserved, updated_at, version)"
        " VALUES (?, ?, 0, 0, ?, 1)",
        (product.tenant_id, product.id, made_at),
    )
    tally.move(product.category, GONE, shelf)
    return product


async def update(tx: Tx, before: Stored, product: Product, tally: Tally, *, import_id: str | None) -> None:
    """Write a changed product. Raises DuplicateSku."""
    text = _text(product)
    if product.sku != before.product.sku:
        await hold_skus(tx, product.tenant_id)
    try:
        await tx.execute(
            "UPDATE products SET sku = ?, live_sku = ?, price = ?, category = ?, updated_at = ?, version = ?,"
            " import_id = ?, name = ?, name_key = ?, description = ?, words = ? WHERE position = ?",
            (
                product.sku,
                product.sku,
                product.price,
                product.category,
                to_micros(product.updated_at),
                product.version,
                import_id,
                product.name,
                words.name_key(product.name),
                product.description,
                text,
                before.position,
            ),
        )
    except UniqueViolation:
        raise _duplicate(product.sku) from None
    category = before.product.category
    if (text, product.category) != (before.words, category):
        await INDEXES[tx.dialect].drop(tx, product.tenant_id, before.position, before.words, category)
        await INDEXES[tx.dialect].put(tx, product.tenant_id, before.position, text, product.category)
    if product.category != category:
        shelf = IN_STOCK if before.product.in_stock else SOLD_OUT
        tally.move(category, shelf, GONE)
        tally.move(product.category, GONE, shelf)


async def remove(tx: Tx, before: Stored, product: Product, tally: Tally) -> None:
    """Take a product out of the catalogue; its SKU is free again. `product` is as it is then."""
    await tx.execute(
        "UPDATE products SET shelf = ?, live_sku = NULL, updated_at = ?, version = ? WHERE position = ?",
        (GONE, to_micros(product.updated_at), product.version, before.position),
    )
    category = before.product.category
    await INDEXES[tx.dialect].drop(tx, product.tenant_id, before.position, before.words, category)
    tally.move(category, IN_STOCK if before.product.in_stock else SOLD_OUT, GONE)


async def mark_imported(tx: Tx, before: Stored, import_id: str) -> None:
    """Note that an import has met the product."""
    await tx.execute("UPDATE products SET import_id = ? WHERE position = ?", (import_id, before.position))


async def write_inventory(tx: Tx, tenant: TenantId, inventory: Inventory) -> None:
    """Write a product's changed stock."""
    await tx.execute(
        "UPDATE inventory SET on_hand = ?, warehouse_location = ?, updated_at = ?, version = ?"
        " WHERE tenant_id = ? AND product_id = ?",
        (
            inventory.on_hand,
            inventory.warehouse_location,
            to_micros(inventory.updated_at),
            inventory.version,
            tenant,
            inventory.product_id,
        ),
    )


async def cross(tx: Tx, tenant: TenantId, crossed: Sequence[tuple[ProductId, bool]]) -> None:
    """Put products on the other shelf, which came into stock (True) or were sold out."""
    tally = Tally(tenant)
    for product_id, in_stock in crossed:
        before, after = (SOLD_OUT, IN_STOCK) if in_stock else (IN_STOCK, SOLD_OUT)
        row = await tx.fetch_one(
            "UPDATE products SET shelf = ? WHERE tenant_id = ? AND id = ? AND shelf = ? RETURNING category",
            (after, tenant, product_id, before),
        )
        # A deleted product stays deleted, whatever its last orders give back.
        if row is not None:
            tally.move(row[0], before, after)
    await tally.write(tx)


async def _newest(tx: Tx, tenant: TenantId) -> int:
    """Return when the store's newest product was made."""
    last = "SELECT created_at FROM products WHERE tenant_id = ? AND shelf = ? ORDER BY position DESC LIMIT 1"
    newest = 0
    for shelf in (SOLD_OUT, IN_STOCK):
        row = await tx.fetch_one(last, (tenant, shelf))
        newest = max(newest, 0 if row is None else row[0])
    return newest


def _text(product: Product) -> str:
    return words.as_text(words.words_of(product.name, product.sku, product.description))


def _duplicate(sku: str) -> DuplicateSku:
    return DuplicateSku(f"There is a product with the SKU {sku} already.")
