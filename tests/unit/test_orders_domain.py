"""The rules of orders."""

from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from mercato.contracts.events import Events
from mercato.contracts.orders import (
    OrderCreated,
    OrderPaymentStatus,
    OrderStatus,
    OrderStatusChanged,
    StockState,
)
from mercato.contracts.payments import PaymentStatus
from mercato.contracts.products import PricedLine
from mercato.kernel.errors import ValidationFailed
from mercato.kernel.ids import OrderId, ProductId, UserId
from mercato.kernel.tenancy import TenantId
from mercato.orders.domain import (
    MAX_TIMELINE,
    MONEY_MOVED,
    PAYMENT_MEANS,
    PAYMENTS,
    PRODUCTS,
    TRANSITIONS,
    InvalidTransition,
    Order,
    Placement,
    ReservationPending,
    place,
)

AT = datetime(2026, 1, 1, 12, tzinfo=UTC)
HOLD_UNTIL = AT + timedelta(minutes=15)
LATER = AT + timedelta(minutes=1)
LINES = (
    PricedLine(ProductId("lamp"), "LAMP", "Lamp", 2, 1_999),
    PricedLine(ProductId("mug"), "MUG", "Mug", 1, 500),
)

EVERY_STEP = [(now, to) for now in OrderStatus for to in OrderStatus]
FINAL = [status for status, to in TRANSITIONS.items() if not to]


def placement(
    *,
    lines: tuple[PricedLine, ...] = LINES,
    currency: str = "USD",
    stock: StockState = StockState.RESERVED,
) -> Placement:
    return Placement(
        tenant_id=TenantId("acme"),
        order_id=OrderId("o"),
        user_id=UserId("ann"),
        name=None,
        lines=lines,
        currency=currency,
        stock=stock,
        hold_until=HOLD_UNTIL,
        shipping_address="Here",
        notes=None,
    )


def placed(stock: StockState = StockState.RESERVED, status: OrderStatus = OrderStatus.PENDING) -> Order:
    order, _ = place(placement(stock=stock), by="ann", at=AT)
    return msgspec.structs.replace(order, status=status)


def one_line(unit_price: int, quantity: int = 1) -> tuple[PricedLine, ...]:
    return (PricedLine(ProductId("lamp"), "LAMP", "Lamp", quantity, unit_price),)


def test_a_new_order_is_pending_and_unpaid_and_costs_what_its_lines_do() -> None:
    order, events = place(placement(), by="ann", at=AT)

    assert (order.status, order.payment_status) == (OrderStatus.PENDING, OrderPaymentStatus.UNPAID)
    assert (order.total_amount, order.version) == (4_498, 1)
    assert [(each.event, each.by) for each in order.timeline] == [("order.created", "ann")]
    (created,) = events
    assert isinstance(created, OrderCreated)
    assert (created.lines, created.total_amount, created.hold_until) == (LINES, 4_498, HOLD_UNTIL)


@pytest.mark.parametrize("currency, limit", [("USD", 10**14), ("JPY", 10**12), ("KWD", 10**15)])
def test_a_total_stays_below_a_million_million_units(currency: str, limit: int) -> None:
    order, _ = place(placement(lines=one_line(limit - 1), currency=currency), by="ann", at=AT)
    assert order.total_amount == limit - 1

    with pytest.raises(ValidationFailed) as refused:
        place(placement(lines=one_line(limit // 2, 2), currency=currency), by="ann", at=AT)
    assert [each.field for each in refused.value.details] == ["items"]


@pytest.mark.parametrize("now, to", EVERY_STEP)
def test_an_order_moves_along_the_table_and_nowhere_else(now: OrderStatus, to: OrderStatus) -> None:
    order = placed(status=now)
    if to not in TRANSITIONS[now]:
        with pytest.raises(InvalidTransition) as refused:
            order.move(to, by="ada", at=LATER)
        allowed: list[str] = sorted(TRANSITIONS[now]) or ["final"]
        assert all(word in refused.value.message for word in allowed)
        return

    moved, events = order.move(to, by="ada", at=LATER, note="why")

    assert (moved.status, moved.version, moved.updated_at) == (to, order.version + 1, LATER)
    (changed,) = events
    assert isinstance(changed, OrderStatusChanged)
    assert (changed.previous, changed.status, changed.by, changed.reason) == (now, to, "ada", "why")
    assert moved.timeline[-1].event == f"order.{to}"


def test_only_delivered_and_cancelled_are_final() -> None:
    assert set(FINAL) == {OrderStatus.DELIVERED, OrderStatus.CANCELLED}


def test_an_order_without_its_stock_cannot_be_confirmed() -> None:
    with pytest.raises(ReservationPending):
        placed(StockState.AWAITING).move(OrderStatus.CONFIRMED, by="ada", at=LATER)


@pytest.mark.parametrize("status", [each for each in OrderStatus if each is not OrderStatus.PENDING])
def test_a_customer_cancels_only_what_is_pending(status: OrderStatus) -> None:
    with pytest.raises(InvalidTransition):
        placed(status=status).cancel(reason=None, by="ann", staff=False, at=LATER)

    cancelled, _ = placed().cancel(reason="too dear", by="ann", staff=False, at=LATER)
    assert (cancelled.status, cancelled.cancel_reason) == (OrderStatus.CANCELLED, "too dear")


@pytest.mark.parametrize("status", [OrderStatus.PENDING, OrderStatus.CONFIRMED, OrderStatus.PROCESSING])
def test_staff_cancels_until_the_goods_leave(status: OrderStatus) -> None:
    cancelled, _ = placed(status=status).cancel(reason="broken", by="ada", staff=True, at=LATER)

    assert (cancelled.status, cancelled.cancel_reason) == (OrderStatus.CANCELLED, "broken")


def test_an_order_expires_at_its_hold_end_and_not_before() -> None:
    order = placed()
    early = HOLD_UNTIL - timedelta(microseconds=1)
    assert order.expire(by="system", at=early) == (order, ())

    expired, events = order.expire(by="system", at=HOLD_UNTIL)

    assert (expired.status, expired.cancel_reason) == (OrderStatus.CANCELLED, Order.EXPIRED)
    assert len(events) == 1


@pytest.mark.parametrize("status", [each for each in OrderStatus if each is not OrderStatus.PENDING])
def test_what_is_no_longer_pending_minds_neither_its_hold_nor_its_stock(status: OrderStatus) -> None:
    order = placed(StockState.AWAITING, status)

    assert order.expire(by="system", at=HOLD_UNTIL)[0] is order
    assert order.reserved(until=HOLD_UNTIL, at=LATER)[0] is order
    assert order.rejected(reason="none left", at=LATER)[0] is order


def test_stock_that_comes_later_makes_the_order_payable_for_as_long_as_it_is_held() -> None:
    until = HOLD_UNTIL + timedelta(minutes=5)
    noted, events = placed(StockState.AWAITING).reserved(until=until, at=LATER)

    assert (noted.stock, noted.hold_until, events) == (StockState.RESERVED, until, ())
    assert noted.timeline[-1].by == PRODUCTS
    assert noted.reserved(until=HOLD_UNTIL, at=LATER)[0] is noted
    assert noted.rejected(reason="none left", at=LATER)[0] is noted


def test_stock_that_there_is_not_cancels_the_order_with_the_reason() -> None:
    cancelled, _ = placed(StockState.AWAITING).rejected(reason="none left", at=LATER)

    assert (cancelled.status, cancelled.cancel_reason) == (OrderStatus.CANCELLED, "none left")


def test_a_payment_that_succeeds_confirms_the_order_in_one_version() -> None:
    order = placed()
    paid, events = order.payment(PaymentStatus.SUCCESS, event="payment.success", note=None, at=LATER)

    assert (paid.status, paid.payment_status) == (OrderStatus.CONFIRMED, OrderPaymentStatus.PAID)
    assert paid.version == order.version + 1
    assert [each.event for each in paid.timeline[1:]] == ["payment.success", "order.confirmed"]
    assert [type(each) for each in events] == [OrderStatusChanged]
    assert paid.payment(PaymentStatus.SUCCESS, event="payment.success", note=None, at=LATER)[0] is paid


@pytest.mark.parametrize("status", [each for each in PaymentStatus if each is not PaymentStatus.SUCCESS])
def test_any_other_news_of_a_payment_is_only_noted(status: PaymentStatus) -> None:
    order = placed()
    noted, events = order.payment(status, event=f"payment.{status}", note="card declined", at=LATER)

    assert (noted.status, noted.payment_status) == (OrderStatus.PENDING, PAYMENT_MEANS[status])
    assert events == ()
    if PAYMENT_MEANS[status] is not OrderPaymentStatus.UNPAID:
        assert (noted.timeline[-1].note, noted.timeline[-1].by) == ("card declined", PAYMENTS)


def test_a_payment_that_finds_the_order_cancelled_does_not_revive_it() -> None:
    cancelled, _ = placed().cancel(reason=None, by="ann", staff=False, at=LATER)
    noted, events = cancelled.payment(PaymentStatus.SUCCESS, event="payment.success", note=None, at=LATER)

    assert (noted.status, noted.payment_status) == (OrderStatus.CANCELLED, OrderPaymentStatus.PAID)
    assert events == ()


def test_news_of_a_payment_that_comes_late_takes_nothing_back() -> None:
    """A dead letter is replayed when its turn is past."""
    order, _ = placed().payment(PaymentStatus.FAILED, event="payment.failed", note=None, at=LATER)
    for status in (PaymentStatus.SUCCESS, PaymentStatus.PARTIALLY_REFUNDED, PaymentStatus.REFUNDED):
        order, _ = order.payment(status, event=f"payment.{status}", note=None, at=LATER)
        assert order.payment_status is PAYMENT_MEANS[status]
        for late in (
            PaymentStatus.PENDING,
            PaymentStatus.FAILED,
            PaymentStatus.SUCCESS,
            PaymentStatus.CANCELLED,
        ):
            assert order.payment(late, event=f"payment.{late}", note=None, at=LATER) == (order, ())


@given(st.integers(min_value=MAX_TIMELINE, max_value=MAX_TIMELINE + 50))
@settings(max_examples=5, deadline=None)
def test_a_history_is_bounded_and_keeps_the_newest(changes: int) -> None:
    order = placed()
    for n in range(changes):
        status = PaymentStatus.FAILED if n % 2 else PaymentStatus.PENDING
        order, _ = order.payment(status, event="payment", note=str(n), at=LATER)

    assert len(order.timeline) == MAX_TIMELINE
    assert order.timeline[-1].note == str(changes - 1)
    assert order.version == changes + 1


class OrderLife(RuleBasedStateMachine):
    """Whatever happens to an order, in whatever order, it keeps to its rules."""

    def __init__(self) -> None:
        super().__init__()
        self.order = placed()
        self.now = AT

    @initialize(
        stock=st.sampled_from(StockState), quantity=st.integers(1, 1_000), price=st.integers(0, 10**9)
    )
    def is_placed(self, stock: StockState, quantity: int, price: int) -> None:
        self.order, _ = place(
            placement(lines=one_line(price, quantity), stock=stock),
            by="ann",
            at=AT,
        )
        self.total = price * quantity

    def take(self, outcome: tuple[Order, Events]) -> None:
        """Check one change against the table, and go on from it."""
        before, (after, events) = self.order, outcome
        moved = [event for event in events if isinstance(event, OrderStatusChanged)]
        assert len(moved) == len(events) == (before.status is not after.status)
        if after is before:
            return
        assert after.version == before.version + 1
        if moved:
            assert moved[0].previous is before.status
            assert moved[0].status is after.status
            assert after.status in TRANSITIONS[before.status]
        kept = msgspec.structs.replace(
            after,
            status=before.status,
            payment_status=before.payment_status,
            stock=before.stock,
            hold_until=before.hold_until,
            cancel_reason=before.cancel_reason,
            timeline=before.timeline,
            updated_at=before.updated_at,
            version=before.version,
        )
        assert kept == before
        self.order = after

    @rule(seconds=st.integers(0, 1_200))
    def time_passes(self, seconds: int) -> None:
        self.now += timedelta(seconds=seconds)

    @rule(to=st.sampled_from(OrderStatus))
    def staff_moves_it(self, to: OrderStatus) -> None:
        try:
            self.take(self.order.move(to, by="ada", at=self.now))
        except InvalidTransition:
            assert to not in TRANSITIONS[self.order.status]
        except ReservationPending:
            assert (to, self.order.stock) == (OrderStatus.CONFIRMED, StockState.AWAITING)

    @rule(staff=st.booleans())
    def somebody_cancels_it(self, staff: bool) -> None:  # noqa: FBT001  hypothesis gives it by name
        try:
            self.take(self.order.cancel(reason="no more", by="x", staff=staff, at=self.now))
        except InvalidTransition:
            assert self.order.status is not OrderStatus.PENDING

    @rule()
    def the_clock_looks_at_it(self) -> None:
        due = self.order.status is OrderStatus.PENDING and self.now >= self.order.hold_until
        self.take(self.order.expire(by="system", at=self.now))
        assert not due or self.order.status is OrderStatus.CANCELLED

    @rule(minutes=st.integers(1, 30))
    def stock_is_held(self, minutes: int) -> None:
        self.take(self.order.reserved(until=self.now + timedelta(minutes=minutes), at=self.now))

    @rule()
    def stock_is_refused(self) -> None:
        self.take(self.order.rejected(reason="none left", at=self.now))

    @rule(status=st.sampled_from(PaymentStatus))
    def its_payment_changes(self, status: PaymentStatus) -> None:
        before = self.order.payment_status
        try:
            self.take(self.order.payment(status, event=f"payment.{status}", note=None, at=self.now))
        except ReservationPending:
            # Payments asks orders before it opens a payment, so this success has no order.
            assert (status, self.order.stock) == (PaymentStatus.SUCCESS, StockState.AWAITING)
            return
        if before in MONEY_MOVED:
            assert self.order.payment_status in MONEY_MOVED[MONEY_MOVED.index(before) :]
        else:
            assert self.order.payment_status is PAYMENT_MEANS[status]

    @invariant()
    def what_holds_always(self) -> None:
        order = self.order
        assert order.total_amount == sum(line.unit_price * line.quantity for line in order.lines)
        assert len(order.timeline) <= MAX_TIMELINE
        assert order.timeline[-1].status is order.status
        assert (order.status is OrderStatus.CANCELLED) or order.cancel_reason is None


def test_an_order_keeps_to_its_rules_whatever_happens_to_it() -> None:
    run_state_machine_as_test(
        OrderLife, settings=settings(max_examples=150, stateful_step_count=30, deadline=None)
    )
