"""Orders as clients see them."""

from datetime import datetime
from decimal import Decimal

import msgspec

from mercato.contracts.order_reading import TimelineEntry
from mercato.contracts.orders import OrderPaymentStatus, OrderStatus
from mercato.contracts.products import PricedLine
from mercato.kernel.ids import OrderId, ProductId, UserId
from mercato.kernel.money import to_decimal
from mercato.kernel.tenancy import TenantId
from mercato.orders.domain import Order
from mercato.web.flat import FlatView


class LineView(msgspec.Struct, frozen=True):
    """One line, at the price it was ordered at."""

    product_id: ProductId
    sku: str
    product_name: str
    quantity: int
    unit_price: Decimal
    line_total: Decimal


class OrderView(msgspec.Struct, frozen=True):
    """An order."""

    id: OrderId
    tenant_id: TenantId
    user_id: UserId
    name: str | None
    status: OrderStatus
    payment_status: OrderPaymentStatus
    items: tuple[LineView, ...]
    total_amount: Decimal
    currency: str
    shipping_address: str | None
    notes: str | None
    cancel_reason: str | None
    created_at: datetime
    updated_at: datetime
    version: int


class FlatLine(FlatView, frozen=True):
    """One line at the price it was ordered at, in the flat dialect."""

    product_id: ProductId
    price: Decimal
    quantity: int


class FlatOrder(FlatView, frozen=True):
    """An order, in the flat dialect."""

    order_id: OrderId
    tenant_id: TenantId
    order_name: str
    """Empty where there is none: clients take it for a text."""
    order_products: tuple[FlatLine, ...]
    status: OrderStatus


def view(order: Order) -> OrderView:
    """Return the order as clients see it."""
    return OrderView(
        id=order.id,
        tenant_id=order.tenant_id,
        user_id=order.user_id,
        name=order.name,
        status=order.status,
        payment_status=order.payment_status,
        items=tuple(_line(line, order.currency) for line in order.lines),
        total_amount=to_decimal(order.total_amount, order.currency),
        currency=order.currency,
        shipping_address=order.shipping_address,
        notes=order.notes,
        cancel_reason=order.cancel_reason,
        created_at=order.created_at,
        updated_at=order.updated_at,
        version=order.version,
    )


def _line(line: PricedLine, currency: str) -> LineView:
    return LineView(
        product_id=line.product_id,
        sku=line.sku,
        product_name=line.product_name,
        quantity=line.quantity,
        unit_price=to_decimal(line.unit_price, currency),
        line_total=to_decimal(line.unit_price * line.quantity, currency),
    )


def flat_view(order: Order) -> FlatOrder:
    """Return the order in the flat dialect."""
    return FlatOrder(
        order_id=order.id,
        tenant_id=order.tenant_id,
        order_name=order.name or "",
        order_products=tuple(
            FlatLine(line.product_id, to_decimal(line.unit_price, order.currency), line.quantity)
            for line in order.lines
        ),
        status=order.status,
    )


def timeline(order: Order) -> list[TimelineEntry]:
    """Return what happened to the order, oldest first."""
    return list(order.timeline)
