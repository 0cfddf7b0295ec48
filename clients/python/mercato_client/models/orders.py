# Made by `make client` from the OpenAPI document; edits are lost.
"""What orders send and answer."""

from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal

import msgspec
from msgspec import UNSET, UnsetType

from mercato_client.models.shared import OrderStatus


class CancelOrder(msgspec.Struct, frozen=True, kw_only=True):
    """Why an order is cancelled."""

    reason: str | UnsetType | None = UNSET


class ChangeStatus(msgspec.Struct, frozen=True, kw_only=True):
    """Where an order goes next."""

    status: OrderStatus


class EditOrder(msgspec.Struct, frozen=True, kw_only=True):
    """What to change of a pending order; what is absent or null stays as it is."""

    shipping_address: str | UnsetType | None = UNSET
    notes: str | UnsetType | None = UNSET


class Item(msgspec.Struct, frozen=True, kw_only=True):
    """One product to order, by id or SKU. A `unit_price` is only compared with the catalogue's."""

    product_id: str
    quantity: int
    unit_price: Decimal | UnsetType | None = UNSET
    product_name: str | UnsetType | None = UNSET


class PlaceOrder(msgspec.Struct, frozen=True, kw_only=True):
    """What to order, and where it goes."""

    items: Sequence[Item]
    shipping_address: str
    notes: str | UnsetType | None = UNSET
    name: str | UnsetType | None = UNSET
    currency: str | UnsetType | None = UNSET
    user_id: str | UnsetType | None = UNSET


class TimelineEntry(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that happened to an order: `event` is what, `by` who, `note` why."""

    at: datetime
    event: str
    status: OrderStatus
    by: str
    note: str | None = None
