"""The books as they were read, and what is in flight between them."""

from collections import defaultdict
from collections.abc import Iterable
from typing import NamedTuple

import msgspec

from mercato.contracts.order_books import OrderBook
from mercato.contracts.payment_books import ChargeBook, PaymentBook
from mercato.contracts.stock_books import HoldBook, StockBook


class OrderKey(NamedTuple):
    """An order of a store."""

    tenant_id: str
    order_id: str


class Books(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that must add up."""

    orders: list[OrderBook]
    holds: list[HoldBook]
    stock: list[StockBook]
    payments: list[PaymentBook]
    charges: list[ChargeBook]
    in_flight: frozenset[OrderKey]
    """Orders with an event that has not had its effect yet."""

    def payments_by_order(self) -> dict[OrderKey, list[PaymentBook]]:
        """Return each order's payments."""
        return _by_order(self.payments)

    def holds_by_order(self) -> dict[OrderKey, HoldBook]:
        """Return each order's hold."""
        return {OrderKey(hold.tenant_id, hold.order_id): hold for hold in self.holds}


def _by_order(payments: Iterable[PaymentBook]) -> dict[OrderKey, list[PaymentBook]]:
    found: dict[OrderKey, list[PaymentBook]] = defaultdict(list)
    for payment in payments:
        found[OrderKey(payment.tenant_id, payment.order_id)].append(payment)
    return found


def in_flight(keys: Iterable[str]) -> frozenset[OrderKey]:
    """Return the orders that ordering keys (`tenant/family/order`) are about."""
    found = set()
    for key in keys:
        tenant, _, rest = key.partition("/")
        family, _, subject = rest.partition("/")
        if family in {"order", "stock", "payment"}:
            found.add(OrderKey(tenant, subject))
    return frozenset(found)
