"""The rules of orders: how they are placed, where they may go, and what payment and stock do.

Every function is pure. Amounts are integers in minor units of the order's currency.
"""

from datetime import datetime
from typing import Any, ClassVar

import msgspec

from mercato.contracts.events import Events
from mercato.contracts.order_reading import TimelineEntry
from mercato.contracts.orders import (
    OrderCreated,
    OrderFacts,
    OrderPaymentStatus,
    OrderStatus,
    OrderStatusChanged,
    StockState,
)
from mercato.contracts.payments import PaymentStatus
from mercato.contracts.products import PricedLine
from mercato.kernel import money
from mercato.kernel.errors import Conflict
from mercato.kernel.ids import OrderId, UserId
from mercato.kernel.tenancy import TenantId

MAX_LINES = 90
PAYMENTS = "service:payments"
PRODUCTS = "service:products"
EDITED = "order.updated"
MAX_TIMELINE = 200
"""Only repeated failed payments could make a history longer; the oldest entries go then."""

TRANSITIONS: dict[OrderStatus, frozenset[OrderStatus]] = {
    OrderStatus.PENDING: frozenset({OrderStatus.CONFIRMED, OrderStatus.CANCELLED}),
    OrderStatus.CONFIRMED: frozenset({OrderStatus.PROCESSING, OrderStatus.CANCELLED}),
    OrderStatus.PROCESSING: frozenset({OrderStatus.SHIPPED, OrderStatus.CANCELLED}),
    OrderStatus.SHIPPED: frozenset({OrderStatus.DELIVERED}),
    OrderStatus.DELIVERED: frozenset(),
    OrderStatus.CANCELLED: frozenset(),
}

if set(TRANSITIONS) != set(OrderStatus):
    raise TypeError(f"no transitions for {set(OrderStatus) - set(TRANSITIONS)}")


class InvalidTransition(Conflict):
    """The order cannot go there from where it stands; the message names where it can."""

    code = "INVALID_TRANSITION"

    @classmethod
    def between(cls, now: OrderStatus, wanted: OrderStatus) -> "InvalidTransition":
        """Build the error for a step from `now` to `wanted`."""
        allowed = ", ".join(sorted(TRANSITIONS[now])) or "nothing: this is a final state"
        return cls(f"An order that is {now} cannot become {wanted}; allowed: {allowed}.")


class ReservationPending(Conflict):
    """The order's stock is not held yet."""

    code = "RESERVATION_PENDING"


PAYMENT_MEANS: dict[PaymentStatus, OrderPaymentStatus] = {
    PaymentStatus.PENDING: OrderPaymentStatus.PENDING,
    PaymentStatus.PROCESSING: OrderPaymentStatus.PENDING,
    PaymentStatus.SUCCESS: OrderPaymentStatus.PAID,
    PaymentStatus.FAILED: OrderPaymentStatus.FAILED,
    PaymentStatus.PARTIALLY_REFUNDED: OrderPaymentStatus.PARTIALLY_REFUNDED,
    PaymentStatus.REFUNDED: OrderPaymentStatus.REFUNDED,
    PaymentStatus.CANCELLED: OrderPaymentStatus.UNPAID,
}

if set(PAYMENT_MEANS) != set(PaymentStatus):
    raise TypeError(f"no meaning for {set(PaymentStatus) - set(PAYMENT_MEANS)}")

MONEY_MOVED = (
    OrderPaymentStatus.PAID,
    OrderPaymentStatus.PARTIALLY_REFUNDED,
    OrderPaymentStatus.REFUNDED,
)
"""Once paid, an order gets no other payment: it can only go on from one of these to the next."""


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """One order. While `stock` is awaiting it cannot be paid; at `hold_until` it expires."""

    EXPIRED: ClassVar[str] = "The time to pay has run out."

    tenant_id: TenantId
    id: OrderId
    user_id: UserId
    name: str | None
    status: OrderStatus
    payment_status: OrderPaymentStatus
    stock: StockState
    hold_until: datetime
    lines: tuple[PricedLine, ...]
    total_amount: int
    currency: str
    shipping_address: str | None
    notes: str | None
    cancel_reason: str | None
    timeline: tuple[TimelineEntry, ...]
    created_at: datetime
    updated_at: datetime
    version: int
    deleted_at: datetime | None = None
    """Since when the order is in no list. What it still stands for, its payment, goes on."""

    def move(
        self, to: OrderStatus, *, by: str, at: datetime, note: str | None = None
    ) -> tuple["Order", Events]:
        """Move on to another status. Raises InvalidTransition, ReservationPending."""
        if to not in TRANSITIONS[self.status]:
            raise InvalidTransition.between(self.status, to)
        if to is OrderStatus.CONFIRMED and self.stock is StockState.AWAITING:
            raise ReservationPending("The order's stock is not reserved yet.")
        moved = self._after(f"order.{to}", by=by, at=at, note=note, status=to)
        if to is OrderStatus.CANCELLED:
            moved = msgspec.structs.replace(moved, cancel_reason=note)
        changed = OrderStatusChanged(
            tenant_id=self.tenant_id,
            order_id=self.id,
            user_id=self.user_id,
            status=to,
            total_amount=self.total_amount,
            currency=self.currency,
            previous=self.status,
            by=by,
            reason=note,
        )
        return moved, (changed,)

    def cancel(self, *, reason: str | None, by: str, staff: bool, at: datetime) -> tuple["Order", Events]:
        """Cancel. A customer may until the order is confirmed, staff until it is shipped."""
        if not staff and self.status is not OrderStatus.PENDING:
            raise InvalidTransition(
                f"An order that is {self.status} can no longer be cancelled by its customer."
            )
        return self.move(OrderStatus.CANCELLED, by=by, at=at, note=reason)

    def edit(
        self,
        *,
        shipping_address: str | None = None,
        notes: str | None = None,
        name: str | None = None,
        by: str,
        at: datetime,
    ) -> tuple["Order", Events]:
        """Change what is given, while the order is pending. Raises InvalidTransition.

        Somebody's corrections in a row are one entry in the history, so that they push nothing
        else out of it.
        """
        if self.status is not OrderStatus.PENDING:
            raise InvalidTransition(f"An order that is {self.status} can no longer be changed.")
        wanted = {"shipping_address": shipping_address, "notes": notes, "name": name}
        changes: dict[str, Any] = {
            name: text for name, text in wanted.items() if text is not None and text != getattr(self, name)
        }
        if not changes:
            return self, ()
        last = self.timeline[-1]
        goes_on = (last.event, last.by) == (EDITED, by)
        told = (last.note or "").split(", ") if goes_on else []
        names = [name for name in wanted if name in changes or name in told]
        edited = self._after(EDITED, by=by, at=at, note=", ".join(names))
        if goes_on:
            changes["timeline"] = (*self.timeline[:-1], edited.timeline[-1])
        return msgspec.structs.replace(edited, **changes), ()

    def delete(self, *, by: str, at: datetime) -> tuple["Order", Events]:
        """Take the order, which must be at its end, out of every list. Raises InvalidTransition."""
        if TRANSITIONS[self.status]:
            final = " or ".join(sorted(each for each, further in TRANSITIONS.items() if not further))
            raise InvalidTransition(
                f"An order that is {self.status} cannot be deleted; it must be {final} first."
            )
        deleted = self._after("order.deleted", by=by, at=at)
        return msgspec.structs.replace(deleted, deleted_at=at), ()

    def expire(self, *, by: str, at: datetime) -> tuple["Order", Events]:
        """Cancel the order if it is still pending and its time is up; else nothing changes."""
        if self.status is not OrderStatus.PENDING or at < self.hold_until:
            return self, ()
        return self.move(OrderStatus.CANCELLED, by=by, at=at, note=self.EXPIRED)

    def reserved(self, *, until: datetime, at: datetime) -> tuple["Order", Events]:
        """Take note that stock is held, if the order was waiting for that."""
        if self.status is not OrderStatus.PENDING or self.stock is StockState.RESERVED:
            return self, ()
        noted = self._after("stock.reserved", by=PRODUCTS, at=at)
        return msgspec.structs.replace(noted, stock=StockState.RESERVED, hold_until=until), ()

    def rejected(self, *, reason: str, at: datetime) -> tuple["Order", Events]:
        """Cancel an order that was waiting for stock there is not."""
        if self.status is not OrderStatus.PENDING or self.stock is StockState.RESERVED:
            return self, ()
        return self.move(OrderStatus.CANCELLED, by=PRODUCTS, at=at, note=reason)

    def payment(
        self, status: PaymentStatus, *, event: str, note: str | None, at: datetime
    ) -> tuple["Order", Events]:
        """Take note of what its payment has come to. A success confirms a pending order.

        A success that finds the order cancelled changes nothing but what is known: payments
        gives the money back. What is told late, as a replayed dead letter is, takes nothing back.
        """
        known, before = PAYMENT_MEANS[status], self.payment_status
        if known is before:
            return self, ()
        if before in MONEY_MOVED and known not in MONEY_MOVED[MONEY_MOVED.index(before) :]:
            return self, ()
        noted = self._after(event, by=PAYMENTS, at=at, note=note)
        noted = msgspec.structs.replace(noted, payment_status=known)
        if status is PaymentStatus.SUCCESS and self.status is OrderStatus.PENDING:
            confirmed, events = noted.move(OrderStatus.CONFIRMED, by=PAYMENTS, at=at)
            return msgspec.structs.replace(confirmed, version=noted.version), events
        return noted, ()

    def facts(self) -> OrderFacts:
        """Return what other services must know."""
        return OrderFacts(
            order_id=self.id,
            user_id=self.user_id,
            status=self.status,
            stock=self.stock,
            total_amount=self.total_amount,
            currency=self.currency,
            is_deleted=self.deleted_at is not None,
        )

    def _after(
        self,
        event: str,
        *,
        by: str,
        at: datetime,
        note: str | None = None,
        status: OrderStatus | None = None,
    ) -> "Order":
        """Return the order one version on, with an entry in its history."""
        status = status or self.status
        entry = TimelineEntry(at, event, status, by, note)
        return msgspec.structs.replace(
            self,
            status=status,
            timeline=(*self.timeline, entry)[-MAX_TIMELINE:],
            updated_at=at,
            version=self.version + 1,
        )


class Placement(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of an order when it is placed, its lines priced by the catalogue."""

    tenant_id: TenantId
    order_id: OrderId
    user_id: UserId
    name: str | None
    lines: tuple[PricedLine, ...]
    currency: str
    stock: StockState
    hold_until: datetime
    shipping_address: str | None
    notes: str | None


def place(placed: Placement, *, by: str, at: datetime) -> tuple[Order, Events]:
    """Return a new pending order. Raises ValidationFailed for a total of 10^12 units or more."""
    total = sum(line.unit_price * line.quantity for line in placed.lines)
    money.check_total(total, placed.currency, field="items")
    order = Order(
        tenant_id=placed.tenant_id,
        id=placed.order_id,
        user_id=placed.user_id,
        name=placed.name,
        status=OrderStatus.PENDING,
        payment_status=OrderPaymentStatus.UNPAID,
        stock=placed.stock,
        hold_until=placed.hold_until,
        lines=placed.lines,
        total_amount=total,
        currency=placed.currency,
        shipping_address=placed.shipping_address,
        notes=placed.notes,
        cancel_reason=None,
        timeline=(TimelineEntry(at, "order.created", OrderStatus.PENDING, by),),
        created_at=at,
        updated_at=at,
        version=1,
    )
    created = OrderCreated(
        tenant_id=order.tenant_id,
        order_id=order.id,
        user_id=order.user_id,
        status=order.status,
        total_amount=total,
        currency=order.currency,
        name=order.name,
        stock=order.stock,
        hold_until=order.hold_until,
        lines=order.lines,
    )
    return order, (created,)
