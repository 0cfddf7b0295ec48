"""What clients see of products and their stock."""

from datetime import datetime
from decimal import Decimal

import msgspec

from mercato.contracts.product_reading import Inventory, Product
from mercato.kernel.money import to_decimal
from mercato.products.domain.importing import LineError, Report
from mercato.products.ports import MovementRecord
from mercato.web.etag import tag
from mercato.web.flat import FlatView


class ProductView(msgspec.Struct, frozen=True):
    """A product."""

    id: str
    tenant_id: str
    sku: str
    name: str
    description: str | None
    price: Decimal
    currency: str
    category: str | None
    in_stock: bool
    created_at: datetime
    updated_at: datetime
    version: int

    @property
    def etag(self) -> str:
        """Its entity tag: whether it is in stock changes without a new version."""
        return tag(self.version, "in" if self.in_stock else "out")


class InventoryView(msgspec.Struct, frozen=True):
    """A product's stock. `available` is `on_hand - reserved`."""

    product_id: str
    on_hand: int
    reserved: int
    available: int
    warehouse_location: str | None
    updated_at: datetime
    version: int


class MovementView(msgspec.Struct, frozen=True):
    """A change of a product's stock, by differences: who made it, why, and for which order."""

    id: str
    product_id: str
    kind: str
    on_hand: int
    reserved: int
    order_id: str | None
    reason: str | None
    actor: str
    at: datetime


class FlatProduct(FlatView, frozen=True):
    """A product, in the flat dialect."""

    product_id: str
    tenant_id: str
    name: str
    price: Decimal
    sku: str
    category: str
    """Empty where there is none: clients take it for a text."""


class FlatInventory(FlatView, frozen=True):
    """A product's stock, in the flat dialect."""

    product_id: str
    on_hand: int
    reserved: int
    available: int
    warehouse_location: str | None
    updated_at: datetime


class ImportView(msgspec.Struct, frozen=True):
    """What became of the lines of a file. `failed` counts all lines with errors; the first are told."""

    lines: int
    created: int
    updated: int
    unchanged: int
    failed: int
    errors: tuple[LineError, ...]


def product_view(product: Product) -> ProductView:
    """Show a product."""
    return ProductView(
        id=product.id,
        tenant_id=product.tenant_id,
        sku=product.sku,
        name=product.name,
        description=product.description,
        price=to_decimal(product.price, product.currency),
        currency=product.currency,
        category=product.category,
        in_stock=product.in_stock,
        created_at=product.created_at,
        updated_at=product.updated_at,
        version=product.version,
    )


def inventory_view(inventory: Inventory) -> InventoryView:
    """Show a product's stock."""
    return InventoryView(
        product_id=inventory.product_id,
        on_hand=inventory.on_hand,
        reserved=inventory.reserved,
        available=inventory.available,
        warehouse_location=inventory.warehouse_location,
        updated_at=inventory.updated_at,
        version=inventory.version,
    )


def flat_product(product: Product) -> FlatProduct:
    """Show a product in the flat dialect."""
    return FlatProduct(
        product_id=product.id,
        tenant_id=product.tenant_id,
        name=product.name,
        price=to_decimal(product.price, product.currency),
        sku=product.sku,
        category=product.category or "",
    )


def flat_inventory(inventory: Inventory) -> FlatInventory:
    """Show a product's stock in the flat dialect."""
    return FlatInventory(
        product_id=inventory.product_id,
        on_hand=inventory.on_hand,
        reserved=inventory.reserved,
        available=inventory.available,
        warehouse_location=inventory.warehouse_location,
        updated_at=inventory.updated_at,
    )


def movement_view(record: MovementRecord) -> MovementView:
    """Show a movement."""
    movement = record.movement
    return MovementView(
        id=record.id,
        product_id=movement.product_id,
        kind=movement.kind.value,
        on_hand=movement.on_hand,
        reserved=movement.reserved,
        order_id=movement.order_id,
        reason=movement.reason,
        actor=record.actor,
        at=record.at,
    )


def import_view(report: Report) -> ImportView:
    """Show what an import did."""
    return ImportView(
        lines=report.lines,
        created=report.created,
        updated=report.updated,
        unchanged=report.unchanged,
        failed=report.failed,
        errors=report.errors,
    )
