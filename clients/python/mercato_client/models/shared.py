# Made by `make client` from the OpenAPI document; edits are lost.
"""What more than one resource send and answer."""

from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from typing import Literal, TypeAlias

import msgspec

OrderStatus: TypeAlias = Literal["cancelled", "confirmed", "delivered", "pending", "processing", "shipped"]
"""Where an order stands."""


class LineView(msgspec.Struct, frozen=True, kw_only=True):
    """One line, at the price it was ordered at."""

    product_id: str
    sku: str
    product_name: str
    quantity: int
    unit_price: Decimal
    line_total: Decimal


Template: TypeAlias = Literal[
    "invitation",
    "order_cancelled",
    "order_created",
    "order_delivered",
    "order_paid",
    "order_shipped",
    "payment_failed",
    "refunded",
    "reset_password",
    "verify_email",
    "welcome",
]
"""What an email is about."""


class Register(msgspec.Struct, frozen=True, kw_only=True):
    """Who wants an account."""

    email: str
    first_name: str
    last_name: str
    password: str


Role: TypeAlias = Literal["admin", "customer", "operator", "service"]
"""What a principal may do; the table is in the documentation under "Rights"."""


class UserView(msgspec.Struct, frozen=True, kw_only=True):
    """A user, as the store's staff and the user see them."""

    id: str
    tenant_id: str
    email: str
    first_name: str
    last_name: str
    full_name: str
    role: Role
    is_active: bool
    email_verified: bool
    created_at: datetime
    updated_at: datetime
    version: int


OrderPaymentStatus: TypeAlias = Literal[
    "failed", "paid", "partially_refunded", "pending", "refunded", "unpaid"
]
"""What is known of an order's payment."""


class OrderView(msgspec.Struct, frozen=True, kw_only=True):
    """An order."""

    id: str
    tenant_id: str
    user_id: str
    name: str | None
    status: OrderStatus
    payment_status: OrderPaymentStatus
    items: Sequence[LineView]
    total_amount: Decimal
    currency: str
    shipping_address: str | None
    notes: str | None
    cancel_reason: str | None
    created_at: datetime
    updated_at: datetime
    version: int


class PageMeta(msgspec.Struct, frozen=True, kw_only=True):
    """Where in a list a page stands. What was not counted is left out."""

    page_size: int
    limit: int
    has_more: bool
    page: int | None = None
    offset: int | None = None
    total_count: int | None = None
    total_pages: int | None = None
    next_cursor: str | None = None
