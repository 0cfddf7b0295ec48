"""Payments as clients see them. Tokens are never among it."""

from datetime import datetime
from decimal import Decimal

import msgspec

from mercato.contracts.payments import PaymentMethod, PaymentStatus, RefundStatus
from mercato.kernel.money import to_decimal
from mercato.payments.domain import Payment, Refund


class RefundView(msgspec.Struct, frozen=True):
    """One refund."""

    id: str
    amount: Decimal
    status: RefundStatus
    reason: str | None
    failure_reason: str | None
    """Why the provider did not give it back, if it did not."""
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
    refunds: tuple[RefundView, ...]
    created_at: datetime
    updated_at: datetime
    version: int


def view(payment: Payment) -> PaymentView:
    """Show a payment."""
    return PaymentView(
        id=payment.id,
        tenant_id=payment.tenant_id,
        order_id=payment.order_id,
        user_id=payment.user_id,
        amount=to_decimal(payment.amount, payment.currency),
        refunded_amount=to_decimal(payment.refunded_amount, payment.currency),
        currency=payment.currency,
        method=payment.method,
        status=payment.status,
        provider=payment.provider,
        transaction_id=payment.transaction_id,
        failure_reason=payment.failure_reason,
        description=payment.description,
        paid_at=payment.paid_at,
        refunds=tuple(_refund_view(refund, payment.currency) for refund in payment.refunds),
        created_at=payment.created_at,
        updated_at=payment.updated_at,
        version=payment.version,
    )


def _refund_view(refund: Refund, currency: str) -> RefundView:
    return RefundView(
        id=refund.id,
        amount=to_decimal(refund.amount, currency),
        status=refund.status,
        reason=refund.reason,
        failure_reason=refund.failure_reason,
        created_at=refund.created_at,
    )
