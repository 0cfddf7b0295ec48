"""The rules of payments."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mercato.contracts.payments import PaymentMethod, PaymentStatus, RefundStatus
from mercato.kernel.errors import Conflict
from mercato.kernel.ids import OrderId, PaymentId, UserId
from mercato.kernel.tenancy import TenantId
from mercato.payments.domain import (
    CAPTURED,
    MAX_REFUNDS,
    CheckDelays,
    InvalidTransition,
    Payment,
    RefundTooLarge,
)

AT = datetime(2026, 1, 1, tzinfo=UTC)
LATER = AT + timedelta(seconds=12)
DELAYS = CheckDelays(timedelta(seconds=1), timedelta(minutes=10))


def pending(amount: int = 1_000, method: PaymentMethod = PaymentMethod.CARD) -> Payment:
    return Payment(
        tenant_id=TenantId("acme"),
        id=PaymentId("p"),
        order_id=OrderId("o"),
        user_id=UserId("u"),
        amount=amount,
        currency="USD",
        method=method,
        status=PaymentStatus.PENDING,
        provider="sandbox",
        token="tok_visa",
        description=None,
        created_at=AT,
        updated_at=AT,
    )


def processing(amount: int = 1_000) -> Payment:
    return pending(amount).start(provider="sandbox", at=AT, check_at=LATER)[0]


def paid(amount: int = 1_000) -> Payment:
    return processing(amount).succeed("tx", refund_id="unused", at=AT)[0]


def test_a_token_is_dropped_when_it_has_been_handed_over() -> None:
    assert processing().token is None
    assert pending().cancel(at=AT)[0].token is None


def test_an_outcome_recorded_again_changes_nothing() -> None:
    done = paid()
    assert done.succeed("other", refund_id="r", at=AT) == (done, ())
    assert done.fail("declined", at=AT) == (done, ())
    failed = processing().fail("declined", at=AT)[0]
    assert failed.succeed("tx", refund_id="r", at=AT) == (failed, ())


@pytest.mark.parametrize("payment", [processing(), paid(), processing().fail("declined", at=AT)[0]])
def test_only_a_pending_payment_can_be_started_or_cancelled(payment: Payment) -> None:
    with pytest.raises(InvalidTransition):
        payment.cancel(at=AT)
    with pytest.raises(InvalidTransition):
        payment.start(provider="sandbox", at=AT, check_at=LATER)


@pytest.mark.parametrize("payment", [pending(), processing(), pending().cancel(at=AT)[0]])
def test_what_was_not_taken_cannot_be_refunded(payment: Payment) -> None:
    with pytest.raises(InvalidTransition):
        payment.request_refund(1, None, refund_id="r", at=AT)


def test_a_cancellation_that_meets_a_success_becomes_a_refund_of_the_rest() -> None:
    partly, _ = paid().request_refund(300, None, refund_id="r1", at=AT)
    met, events = partly.meet_cancelled_order(refund_id="r2", at=AT)
    assert [(refund.id, refund.amount) for refund in met.refunds] == [("r1", 300), ("r2", 700)]
    assert met.check_at == AT
    assert events == ()


def test_a_success_that_meets_a_cancelled_order_becomes_a_refund() -> None:
    noted, events = processing().meet_cancelled_order(refund_id="unused", at=AT)
    assert (noted.status, events) == (PaymentStatus.PROCESSING, ())
    done, events = noted.succeed("tx", refund_id="r", at=AT)
    assert [event.type for event in events] == ["payment.success"]
    assert done.pending_refunds == done.amount
    refunded, events = done.refund_succeeded("r", at=AT)
    assert [event.type for event in events] == ["payment.refunded"]
    assert (refunded.status, refunded.check_at) == (PaymentStatus.REFUNDED, None)


def test_the_same_cancellation_again_refunds_nothing_more() -> None:
    met, _ = paid().meet_cancelled_order(refund_id="r1", at=AT)
    assert met.meet_cancelled_order(refund_id="r2", at=AT) == (met, ())


def test_a_pending_payment_ends_with_its_order() -> None:
    met, events = pending().meet_cancelled_order(refund_id="unused", at=AT)
    assert met.status is PaymentStatus.CANCELLED
    assert [event.type for event in events] == ["payment.cancelled"]


def test_cash_goes_back_by_hand_at_once() -> None:
    done, _ = pending(method=PaymentMethod.CASH).mark_paid(at=AT)
    back, events = done.request_refund(None, "broken", refund_id="r", at=AT)
    assert (back.status, back.refunded_amount, back.check_at) == (PaymentStatus.REFUNDED, 1_000, None)
    assert [event.type for event in events] == ["payment.refunded"]


def test_the_same_refund_again_changes_nothing() -> None:
    asked, _ = paid().request_refund(400, None, refund_id="r", at=AT)
    assert asked.request_refund(400, None, refund_id="r", at=AT) == (asked, ())


def test_a_refund_is_settled_once_whatever_is_told_later() -> None:
    asked, _ = paid().request_refund(400, None, refund_id="r", at=AT)
    for settled, _ in (
        asked.refund_succeeded("r", at=AT),
        asked.refund_failed("r", "no", next_refund_id="n", at=AT),
    ):
        assert settled.refund_succeeded("r", at=AT) == (settled, ())
        assert settled.refund_failed("r", "no", next_refund_id="n", at=AT) == (settled, ())


def test_what_the_provider_refuses_can_be_refunded_anew() -> None:
    asked, _ = paid().request_refund(None, None, refund_id="r1", at=AT)
    with pytest.raises(RefundTooLarge):
        asked.request_refund(1, None, refund_id="r2", at=AT)
    refused, events = asked.refund_failed("r1", "no", next_refund_id="n", at=AT)
    assert (refused.refundable, refused.check_at, events) == (1_000, None, ())


def test_what_is_refused_after_the_order_was_cancelled_is_asked_for_again_as_part_of_the_whole() -> None:
    partly, _ = paid().request_refund(300, None, refund_id="part", at=AT)
    met, _ = partly.meet_cancelled_order(refund_id="rest", at=AT)

    again, _ = met.refund_failed("part", "no", next_refund_id="again", at=LATER)

    assert [(refund.id, refund.amount, refund.status.value) for refund in again.refunds] == [
        ("part", 300, "failed"),
        ("rest", 700, "pending"),
        ("again", 300, "pending"),
    ]
    assert (again.refundable, again.check_at) == (0, LATER)


@pytest.mark.parametrize("first", ["part", "rest"])
def test_what_is_refused_twice_is_not_asked_for_for_ever(first: str) -> None:
    payment, _ = paid().request_refund(300, None, refund_id="part", at=AT)
    payment, _ = payment.meet_cancelled_order(refund_id="rest", at=AT)
    for refused in (first, "rest" if first == "part" else "part", "again", "again2"):
        payment, _ = payment.refund_failed(refused, "no", next_refund_id="again", at=AT)

    assert {refund.status for refund in payment.refunds} == {RefundStatus.FAILED}
    assert (len(payment.refunds), payment.refundable, payment.check_at) == (3, 1_000, None)
    # The store's people may try again.
    asked, _ = payment.request_refund(None, None, refund_id="by hand", at=AT)
    assert asked.pending_refunds == 1_000


def test_only_what_is_open_can_be_hastened() -> None:
    started, done = processing(), paid()
    assert done.hasten(at=AT) == (done, ())
    assert pending().hasten(at=AT) == (pending(), ())
    hastened, events = started.hasten(at=AT)
    assert (hastened.check_at, hastened.version, events) == (AT, started.version + 1, ())
    assert hastened.hasten(at=AT) == (hastened, ())


def test_refunds_of_one_payment_are_bounded() -> None:
    payment = paid()
    for number in range(MAX_REFUNDS):
        payment, _ = payment.request_refund(1, None, refund_id=f"r{number}", at=AT)
    with pytest.raises(Conflict):
        payment.request_refund(1, None, refund_id="one more", at=AT)
    # The order's cancellation is no request: it is never turned away.
    met, _ = payment.meet_cancelled_order(refund_id="rest", at=AT)
    assert met.refundable == 0


def test_the_provider_is_asked_ever_more_slowly() -> None:
    payment, waits = processing(), []
    for _ in range(12):
        payment, _ = payment.still_open(DELAYS, at=AT)
        assert payment.check_at is not None
        waits.append((payment.check_at - AT).total_seconds())
    assert waits == [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 600, 600]
    assert DELAYS.after(10**9) == timedelta(minutes=10)


_amounts = st.integers(-10, 1_200) | st.none()
_ids = st.sampled_from([f"r{number}" for number in range(6)])


def _step(payment: Payment, change: Callable[[Payment], tuple[Payment, object]]) -> Payment:
    try:
        return change(payment)[0]
    except Conflict:
        return payment


_changes: st.SearchStrategy[Callable[[Payment], tuple[Payment, object]]] = st.one_of(
    st.builds(lambda: lambda p: p.start(provider="sandbox", at=AT, check_at=LATER)),
    st.builds(lambda r: lambda p: p.succeed("tx", refund_id=r, at=AT), _ids),
    st.builds(lambda: lambda p: p.fail("declined", at=AT)),
    st.builds(lambda: lambda p: p.mark_paid(at=AT)),
    st.builds(lambda: lambda p: p.cancel(at=AT)),
    st.builds(lambda r: lambda p: p.meet_cancelled_order(refund_id=r, at=AT), _ids),
    st.builds(lambda a, r: lambda p: p.request_refund(a, None, refund_id=r, at=AT), _amounts, _ids),
    st.builds(lambda r: lambda p: p.refund_succeeded(r, at=AT), _ids),
    st.builds(lambda r: lambda p: p.refund_failed(r, "no", next_refund_id=f"{r}-again", at=AT), _ids),
    st.builds(lambda: lambda p: p.still_open(DELAYS, at=AT)),
)


@given(
    st.sampled_from([pending(), paid(), pending(method=PaymentMethod.CASH)]),
    st.lists(_changes, max_size=30),
)
def test_refunds_never_exceed_what_was_captured(
    payment: Payment, changes: list[Callable[[Payment], tuple[Payment, object]]]
) -> None:
    for change in changes:
        before, payment = payment, _step(payment, change)
        captured = payment.amount if payment.status in CAPTURED else 0
        assert 0 <= payment.refunded_amount + payment.pending_refunds <= captured
        assert payment.refunded_amount >= before.refunded_amount
        assert (payment.status is PaymentStatus.REFUNDED) == (
            payment.refunded_amount == payment.amount and captured > 0
        )
        waits = payment.status is PaymentStatus.PROCESSING or any(
            refund.status is RefundStatus.PENDING for refund in payment.refunds
        )
        assert (payment.check_at is not None) == waits
