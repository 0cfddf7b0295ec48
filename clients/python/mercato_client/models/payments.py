# Made by `make client` from the OpenAPI document; edits are lost.
"""What payments send and answer."""

from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from typing import Literal, TypeAlias

import msgspec
from msgspec import UNSET, UnsetType

PaymentMethod: TypeAlias = Literal["bank_transfer", "card", "cash", "e_wallet"]
"""How a payment is made."""


class CreatePayment(msgspec.Struct, frozen=True, kw_only=True):
    """Which order to pay, and how. The amount is the order's."""

    order_id: str
    method: PaymentMethod
    token: str | UnsetType | None = UNSET
    description: str | UnsetType | None = UNSET


PaymentStatus: TypeAlias = Literal[
    "cancelled", "failed", "partially_refunded", "pending", "processing", "refunded", "success"
]
"""Where a payment stands."""


RefundStatus: TypeAlias = Literal["failed", "pending", "succeeded"]
"""Where a refund stands."""


class RefundView(msgspec.Struct, frozen=True, kw_only=True):
    """One refund."""

    id: str
    amount: Decimal
    status: RefundStatus
    reason: str | None
    failure_reason: str | None
    created_at: datetime


class PaymentView(msgspec.Struct, frozen=True, kw_only=True):
    """One payment."""

    id: str
    tenant_id: str
    order_id: str
    user_id: str
    amount: Decimal
    refunded_amount: Decimal
    currency: str
    method: PaymentMethod
    status: PaymentStatus
    provider: str | None
    transaction_id: str | None
    failure_reason: str | None
    description: str | None
    paid_at: datetime | None
    refunds: Sequence[RefundView]
    created_at: datetime
    updated_at: datetime
    version: int


class RefundPayment(msgspec.Struct, frozen=True, kw_only=True):
    """How much to give back: all that is left, if nothing is said."""

    amount: Decimal | UnsetType | None = UNSET
    reason: str | UnsetType | None = UNSET
