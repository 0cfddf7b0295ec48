"""What reconciliation reads of payments and of a provider's own book."""

import enum

import msgspec

from mercato.contracts.payments import PaymentMethod, PaymentStatus
from mercato.kernel.ids import OrderId, PaymentId
from mercato.kernel.tenancy import TenantId

BOOKED = frozenset({"sandbox"})
"""The providers whose own books are read."""


class PaymentBook(msgspec.Struct, frozen=True, kw_only=True):
    """One payment as payments has it. Amounts are in minor units."""

    tenant_id: TenantId
    payment_id: PaymentId
    order_id: OrderId
    status: PaymentStatus
    method: PaymentMethod
    amount: int
    currency: str
    refunded_amount: int
    """The sum of the refunds that succeeded."""
    pending_refunds: int
    """The sum of the refunds whose outcome is open."""
    provider: str | None
    """Who moves the money; None where a person does."""
    charge_key: str | None
    """The key the provider's book has the charge under; None where no book is read."""


class ChargeOutcome(enum.StrEnum):
    """What a provider's book says of a key."""

    CHARGED = "charged"
    DECLINED = "declined"
    VOID = "void"
    """It was never charged and never will be."""


class ChargeBook(msgspec.Struct, frozen=True, kw_only=True):
    """One charge as the provider has it. Amounts are in minor units."""

    key: str
    amount: int
    currency: str
    outcome: ChargeOutcome
    refunded: int
