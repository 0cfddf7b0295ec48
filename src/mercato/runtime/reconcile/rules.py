"""What must hold between the books. Pure: books in, findings out.

A finding about something in flight is open, not a difference: its event, its provider's
answer or its refund is still on the way.
"""

from collections import Counter
from collections.abc import Iterator

import msgspec

from mercato.contracts.order_books import OrderBook
from mercato.contracts.orders import OrderStatus, StockState
from mercato.contracts.payment_books import ChargeBook, ChargeOutcome, PaymentBook
from mercato.contracts.payments import PaymentStatus
from mercato.contracts.stock_books import HoldBook
from mercato.runtime.reconcile.books import Books, OrderKey

_CAPTURED = frozenset({PaymentStatus.SUCCESS, PaymentStatus.PARTIALLY_REFUNDED, PaymentStatus.REFUNDED})
_ACTIVE = _CAPTURED | {PaymentStatus.PENDING, PaymentStatus.PROCESSING}
_TAKEN = frozenset(
    {OrderStatus.CONFIRMED, OrderStatus.PROCESSING, OrderStatus.SHIPPED, OrderStatus.DELIVERED}
)
_KNOWN_AS = {
    PaymentStatus.SUCCESS: "paid",
    PaymentStatus.PARTIALLY_REFUNDED: "partially_refunded",
    PaymentStatus.REFUNDED: "refunded",
}


class Finding(msgspec.Struct, frozen=True):
    """Something that does not add up: whose, what about, and how. Open ones are on their way."""

    tenant_id: str
    subject: str
    problem: str
    is_open: bool = False


def examine(books: Books) -> list[Finding]:
    """Return everything that does not add up, and everything that is in flight."""
    return [*_stock(books), *_orders(books), *_money(books), *_provider(books)]


def _stock(books: Books) -> Iterator[Finding]:
    """Check that stock is the sum of its movements, and reserved what holds hold."""
    held: Counter[tuple[str, str]] = Counter()
    for hold in books.holds:
        if hold.state == "held":
            for product_id, quantity in hold.lines:
                held[hold.tenant_id, product_id] += quantity
    for stock in books.stock:
        about = (stock.tenant_id, f"product {stock.product_id}")
        if not 0 <= stock.reserved <= stock.on_hand:
            yield Finding(*about, f"{stock.reserved} reserved of {stock.on_hand} on hand")
        if (stock.on_hand, stock.reserved) != (stock.moved_on_hand, stock.moved_reserved):
            yield Finding(
                *about,
                f"stock is {stock.on_hand}/{stock.reserved} reserved, its movements make"
                f" {stock.moved_on_hand}/{stock.moved_reserved}",
            )
        holding = held.pop((stock.tenant_id, stock.product_id), 0)
        if holding != stock.reserved:
            yield Finding(*about, f"{stock.reserved} reserved, and holds hold {holding}")
    for (tenant, missing), quantity in held.items():
        yield Finding(tenant, f"product {missing}", f"holds hold {quantity} of a product that is not there")


def _orders(books: Books) -> Iterator[Finding]:
    """Check that every order's stock is where the order is."""
    holds = books.holds_by_order()
    for order in books.orders:
        key = OrderKey(order.tenant_id, order.order_id)
        problem = _hold_problem(order, holds.pop(key, None))
        if problem:
            yield Finding(order.tenant_id, f"order {order.order_id}", problem, key in books.in_flight)
    for key, hold in holds.items():
        if hold.state == "taken":
            yield Finding(
                key.tenant_id, f"order {key.order_id}", "stock was taken for an order that is not there"
            )
        elif hold.state == "held":
            # Its placement is under way, or was never finished: it is asked for when it ends.
            yield Finding(
                key.tenant_id, f"order {key.order_id}", "stock is held for an order to come", is_open=True
            )


def _hold_problem(order: OrderBook, hold: HoldBook | None) -> str | None:
    state = None if hold is None else hold.state
    expected: set[str | None]
    if order.status in _TAKEN:
        expected = {"taken"}
    elif order.status is OrderStatus.CANCELLED:
        expected = {"released", None}
    elif order.stock is StockState.AWAITING:
        expected = {None}
    else:
        expected = {"held"}
    if state not in expected:
        return f"is {order.status}, and its stock is {state or 'not held'}"
    if hold is not None and state != "released" and Counter(dict(hold.lines)) != Counter(dict(order.lines)):
        return "the held quantities are not the ordered ones"
    return None


def _money(books: Books) -> Iterator[Finding]:
    """Check that an order is charged at most once, the right amount, and knows it."""
    by_order = books.payments_by_order()
    for order in books.orders:
        key = OrderKey(order.tenant_id, order.order_id)
        payments = by_order.pop(key, [])
        on_the_way = key in books.in_flight or any(_is_open(payment) for payment in payments)
        for problem in _payment_problems(order, payments):
            yield Finding(order.tenant_id, f"order {order.order_id}", problem, on_the_way)
    for key, payments in by_order.items():
        for payment in payments:
            yield Finding(key.tenant_id, f"payment {payment.payment_id}", "is for an order that is not there")


def _is_open(payment: PaymentBook) -> bool:
    return payment.status is PaymentStatus.PROCESSING or payment.pending_refunds > 0


def _payment_problems(order: OrderBook, payments: list[PaymentBook]) -> Iterator[str]:
    active = [payment for payment in payments if payment.status in _ACTIVE]
    if len(active) > 1:
        yield f"has {len(active)} payments that are open or paid"
    for payment in payments:
        if payment.amount != order.total_amount:
            yield f"is over {order.total_amount}, and payment {payment.payment_id} over {payment.amount}"
        if payment.refunded_amount + payment.pending_refunds > payment.amount:
            yield f"payment {payment.payment_id} gives back more than it took"
    captured = [payment for payment in active if payment.status in _CAPTURED]
    for payment in captured:
        if order.payment_status != _KNOWN_AS[payment.status]:
            yield f"is {order.payment_status}, and payment {payment.payment_id} is {payment.status}"
        if order.status is OrderStatus.PENDING:
            yield f"is pending, and payment {payment.payment_id} is {payment.status}"
        if order.status is OrderStatus.CANCELLED and payment.refunded_amount < payment.amount:
            yield f"is cancelled, and payment {payment.payment_id} is {payment.status}"
    if not captured and order.payment_status in _KNOWN_AS.values():
        yield f"is {order.payment_status}, and no payment is"


def _provider(books: Books) -> Iterator[Finding]:
    """Check that the provider's own book says the same."""
    charges = {charge.key: charge for charge in books.charges}
    for payment in books.payments:
        if payment.charge_key is None or payment.provider is None:
            continue
        charge = charges.pop(payment.charge_key, None)
        problem = _charge_problem(payment, charge)
        if problem:
            yield Finding(payment.tenant_id, f"payment {payment.payment_id}", problem, _is_open(payment))
    for charge in charges.values():
        if charge.outcome is ChargeOutcome.CHARGED:
            yield Finding("", f"charge {charge.key}", "the provider charged what no payment asked for")


def _charge_problem(payment: PaymentBook, charge: ChargeBook | None) -> str | None:
    was_charged = charge is not None and charge.outcome is ChargeOutcome.CHARGED
    if charge is None or not was_charged:
        return (
            f"is {payment.status}, and the provider charged nothing" if payment.status in _CAPTURED else None
        )
    if payment.status not in _CAPTURED:
        return f"is {payment.status}, and the provider charged {charge.amount}"
    if (charge.amount, charge.currency) != (payment.amount, payment.currency):
        return (
            f"is over {payment.amount} {payment.currency}, the charge over {charge.amount} {charge.currency}"
        )
    if charge.refunded != payment.refunded_amount:
        return f"has {payment.refunded_amount} refunded, the provider {charge.refunded}"
    return None
