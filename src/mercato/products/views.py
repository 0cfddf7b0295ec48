"""What clients see of products and their stock."""

from datetime import datetime
from decimal import Decimal

import msgspec

from mercato.kernel.money import to_decimal
from mercato.products.domain import Inventory, Product


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


class InventoryView(msgspec.Struct, frozen=True):
    """A product's stock. `available` is `on_hand - reserved`."""

    product_id: str
    on_hand: int
    reserved: int
    available: int
    warehouse_location: str | None
    updated_at: datetime


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
    )
