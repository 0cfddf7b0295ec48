"""Fields of objects: what is part of them, and what another service is asked for, all of a level at once."""

from collections.abc import Callable, Mapping, Sequence
from operator import attrgetter
from typing import Any

from mercato.contracts.order_reading import Order, TimelineEntry
from mercato.contracts.payment_reading import Payment, Refund
from mercato.contracts.product_reading import Inventory, Product
from mercato.contracts.products import PricedLine
from mercato.contracts.user_reading import User
from mercato.gateway.commerce.asking import Asking
from mercato.gateway.commerce.lists import size
from mercato.gateway.graphql.bindings import Args, Attribute, Binding, Load
from mercato.kernel.money import EXPONENTS

ORDERS_OF_USER = 50
_SCALES = {currency: 10.0**digits for currency, digits in EXPONENTS.items()}


def money(minor: int, currency: str) -> float:
    """Return an amount as GraphQL's Float has it: the one nearest to the exact digits."""
    return minor / _SCALES[currency]


class Line:
    """A line of an order, which knows the order's currency."""

    __slots__ = ("currency", "line")

    def __init__(self, line: PricedLine, currency: str) -> None:
        self.line = line
        self.currency = currency


def _lines(order: Order) -> list[Line]:
    currency = order.currency
    return [Line(line, currency) for line in order.lines]


def _refunds(payment: Payment) -> list[tuple[Refund, str]]:
    return [(refund, payment.currency) for refund in payment.refunds]


def _of_line(name: str) -> Attribute:
    return Attribute(attrgetter(f"line.{name}"))


def _of_refund(name: str) -> Attribute:
    get = attrgetter(name)
    return Attribute(lambda pair: get(pair[0]))


async def _people(asking: Asking, objects: Sequence[Order | Payment], _: Args) -> Sequence[User | None]:
    found = await asking.services.users.many(asking.caller, _ids(objects, attrgetter("user_id")))
    return [found.get(each.user_id) for each in objects]


async def _latest_payments(asking: Asking, orders: Sequence[Order], _: Args) -> Sequence[Payment | None]:
    found = await asking.services.payments.latest_of_orders(asking.caller, [each.id for each in orders])
    return [found.get(each.id) for each in orders]


async def _timelines(
    asking: Asking, orders: Sequence[Order], _: Args
) -> Sequence[tuple[TimelineEntry, ...] | None]:
    found = await asking.services.orders.timelines(asking.caller, [each.id for each in orders])
    return [found.get(each.id) for each in orders]


async def _orders_of_payments(asking: Asking, payments: Sequence[Payment], _: Args) -> Sequence[Order | None]:
    found = await asking.services.orders.many(asking.caller, _ids(payments, attrgetter("order_id")))
    return [found.get(each.order_id) for each in payments]


async def _orders_of_users(
    asking: Asking, users: Sequence[User], args: Args
) -> Sequence[tuple[Order, ...] | None]:
    limit = size(args, ORDERS_OF_USER)
    found = await asking.services.orders.of_users(asking.caller, [each.id for each in users], limit)
    return [found.get(each.id) for each in users]


async def _stock(asking: Asking, products: Sequence[Product], _: Args) -> Sequence[Inventory | None]:
    found = await asking.services.products.inventories(asking.caller, [each.id for each in products])
    return [found.get(each.id) for each in products]


def _ids(objects: Sequence[Any], get: Callable[[Any], str]) -> list[str]:
    return list(dict.fromkeys(map(get, objects)))


_BY_ID = attrgetter("id")
_BY_USER = attrgetter("user_id")
_LIST: Mapping[str, Binding] = {
    # How long it is, its own field says to those inside it.
    "data": Attribute("data", many=1),
    "pageInfo": Attribute(lambda part: part),
}

FIELDS: Mapping[str, Mapping[str, Binding]] = {
    "UserList": _LIST,
    "ProductList": _LIST,
    "OrderList": _LIST,
    "PaymentList": _LIST,
    "User": {"orders": Load(_orders_of_users, key=_BY_ID, many="limit")},
    "Product": {
        "price": Attribute(lambda product: money(product.price, product.currency)),
        "inventory": Load(_stock, key=_BY_ID),
    },
    "Order": {
        "items": Attribute(_lines, many=1),
        "totalAmount": Attribute(lambda order: money(order.total_amount, order.currency)),
        "user": Load(_people, key=_BY_USER),
        "payment": Load(_latest_payments, key=_BY_ID),
        "timeline": Load(_timelines, key=_BY_ID, many=1),
    },
    "OrderItem": {
        "productId": _of_line("product_id"),
        "sku": _of_line("sku"),
        "productName": _of_line("product_name"),
        "quantity": _of_line("quantity"),
        "unitPrice": Attribute(lambda each: money(each.line.unit_price, each.currency)),
        "lineTotal": Attribute(lambda each: money(each.line.unit_price * each.line.quantity, each.currency)),
    },
    "Payment": {
        "amount": Attribute(lambda payment: money(payment.amount, payment.currency)),
        "refundedAmount": Attribute(lambda payment: money(payment.refunded_amount, payment.currency)),
        "refunds": Attribute(_refunds, many=1),
        "order": Load(_orders_of_payments, key=attrgetter("order_id")),
        "user": Load(_people, key=_BY_USER),
    },
    "Refund": {
        "id": _of_refund("id"),
        "amount": Attribute(lambda pair: money(pair[0].amount, pair[1])),
        "status": _of_refund("status"),
        "reason": _of_refund("reason"),
        "failureReason": _of_refund("failure_reason"),
        "createdAt": _of_refund("created_at"),
    },
}
"""The fields of objects that are not simply named as an attribute is."""
