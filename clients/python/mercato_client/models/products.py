# Made by `make client` from the OpenAPI document; edits are lost.
"""What products send and answer."""

from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal

import msgspec
from msgspec import UNSET, UnsetType


class AdjustInventory(msgspec.Struct, frozen=True, kw_only=True):
    """How much more or, below 0, less there is on hand, and why."""

    delta: int
    reason: str


class CreateProduct(msgspec.Struct, frozen=True, kw_only=True):
    """A new product. `price` is in the store's currency."""

    sku: str
    name: str
    price: Decimal
    description: str | UnsetType | None = UNSET
    category: str | UnsetType | None = UNSET
    stock: int | UnsetType = UNSET


class EditProduct(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be different of a product. What is left out stays."""

    sku: str | UnsetType = UNSET
    name: str | UnsetType = UNSET
    price: Decimal | UnsetType = UNSET
    description: str | UnsetType | None = UNSET
    category: str | UnsetType | None = UNSET


class LineError(msgspec.Struct, frozen=True, kw_only=True):
    """What is wrong with a line of a file, whose first line is 1."""

    line: int
    field: str
    message: str


class ImportView(msgspec.Struct, frozen=True, kw_only=True):
    """What became of the lines of a file. `failed` counts all lines with errors; the first are told."""

    lines: int
    created: int
    updated: int
    unchanged: int
    failed: int
    errors: Sequence[LineError]


class InventoryView(msgspec.Struct, frozen=True, kw_only=True):
    """A product's stock. `available` is `on_hand - reserved`."""

    product_id: str
    on_hand: int
    reserved: int
    available: int
    warehouse_location: str | None
    updated_at: datetime
    version: int


class MovementView(msgspec.Struct, frozen=True, kw_only=True):
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


class ProductView(msgspec.Struct, frozen=True, kw_only=True):
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


class ReplaceProduct(msgspec.Struct, frozen=True, kw_only=True):
    """All of a product. What is left out is nothing."""

    sku: str
    name: str
    price: Decimal
    description: str | UnsetType | None = UNSET
    category: str | UnsetType | None = UNSET


class SetInventory(msgspec.Struct, frozen=True, kw_only=True):
    """What was counted. Without a `warehouse_location`, that stays as it is."""

    stock_quantity: int
    warehouse_location: str | UnsetType | None = UNSET
