"""An order is charged at most once, and the books agree, whatever is raced, lost or killed."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from mercato.adapters.http.breaker import CircuitOpen
from mercato.adapters.sql.database import StorageUnavailable
from mercato.contracts.payment_books import ChargeBook
from mercato.kernel.ids import OrderId, PaymentId
from mercato.kernel.tenancy import TenantId
from mercato.messaging.inbox import AlreadyHandled
from mercato.payments.domain import Payment
from mercato.payments.ports import (
    Charged,
    ChargeRequest,
    Declined,
    OutcomeUnknown,
    Refunded,
    RefundRefused,
    RefundRequest,
)
from mercato.payments.wiring import PaymentsSettings
from tests.behaviour.payments_till import ACME, Till, open_till
from tests.conftest import OpenDatabase
from tests.waiting import until


@pytest.fixture
async def till(open_database: OpenDatabase, tmp_path: Path) -> AsyncIterator[Till]:
    async with open_till(open_database, tmp_path) as opened:
        yield opened


async def order_of(till: Till, payment_id: str) -> OrderId:
    return OrderId((await till.show(payment_id))["order_id"])


async def assert_books_agree(till: Till) -> None:
    book = {charge.key: charge for charge in await till.charges()}
    for payment in await till.service.books():
        refunded = book.pop(payment.payment_id).refunded if payment.payment_id in book else 0
        assert refunded == payment.refunded_amount
    assert book == {}


@pytest.mark.parametrize(
    "token, status, reason",
    [
        (None, "success", None),
        ("tok_visa", "success", None),
        ("tok_slow", "success", None),
        ("tok_declined", "failed", "card declined"),
        ("tok_insufficient_funds", "failed", "insufficient funds"),
        ("tok_nobody_knows", "failed", "unknown token"),
    ],
)
async def test_a_token_decides_the_outcome(
    till: Till, token: str | None, status: str, reason: str | None
) -> None:
    payment_id = await till.open(token=token)
    done = await till.process(payment_id)
    shown = done.json["data"]
    assert (done.status, shown["status"], shown["failure_reason"]) == (200, status, reason)
    assert (await till.process(payment_id)).json["data"] == shown
    assert len(await till.charges()) == (status == "success")
    assert (await till.events())[1:] == ["payment.processing", f"payment.{status}"]


@pytest.mark.parametrize(
    "token, status, reason", [("tok_timeout", "failed", "not charged"), ("tok_lost", "success", None)]
)
async def test_an_unknown_outcome_is_asked_for_and_never_guessed(
    till: Till, token: str, status: str, reason: str | None
) -> None:
    payment_id = await till.open(token=token)
    unknown = await till.process(payment_id, key="k")
    assert (unknown.status, unknown.json["data"]["status"]) == (202, "processing")
    await till.reconcile(seconds=0.5)
    assert (await till.show(payment_id))["status"] == "processing"
    await till.reconcile(seconds=0.6)
    shown = await till.show(payment_id)
    assert (shown["status"], shown["failure_reason"]) == (status, reason)
    told = await till.process(payment_id, key="k")
    assert (told.status, told.json["data"]) == (200, shown)
    await assert_books_agree(till)


async def test_processing_again_asks_right_away(till: Till) -> None:
    payment_id = await till.open(token="tok_lost")
    assert (await till.process(payment_id)).status == 202
    told = await till.process(payment_id)
    assert (told.status, told.json["data"]["status"]) == (200, "success")


async def test_twelve_racing_callers_make_one_payment_and_one_charge(till: Till) -> None:
    order_id = till.orders.place()
    made = await asyncio.gather(*(till.create(order_id, token="tok_slow") for _ in range(12)))
    assert sorted(answer.status for answer in made) == [201] + [409] * 11
    payment_id = next(answer.json["data"]["id"] for answer in made if answer.status == 201)
    told = await asyncio.gather(*(till.process(payment_id, key=f"k{n}") for n in range(12)))
    assert {answer.status for answer in told} == {200}
    assert len({answer.body for answer in told}) == 1
    assert [charge.key for charge in await till.charges()] == [payment_id]
    assert (await till.events()).count("payment.success") == 1


async def test_a_caller_who_goes_away_does_not_stop_the_charge(till: Till) -> None:
    payment_id = await till.open(token="tok_slow")
    gone = asyncio.create_task(till.process(payment_id))
    staying = asyncio.create_task(till.process(payment_id))
    await asyncio.sleep(0)
    gone.cancel()
    assert (await staying).json["data"]["status"] == "success"
    assert len(await till.charges()) == 1


async def test_cancelling_and_processing_at_once_let_one_win(till: Till) -> None:
    for _ in range(10):
        payment_id = await till.open()
        cancelled, processed = await asyncio.gather(
            till.call("ann", "POST", f"/{payment_id}/cancel"), till.process(payment_id)
        )
        assert sorted([cancelled.status, processed.status]) == [200, 409]
    await assert_books_agree(till)


async def test_a_payment_cancelled_on_its_way_to_the_provider_is_not_charged(
    till: Till, monkeypatch: pytest.MonkeyPatch
) -> None:
    payment_id = await till.open()
    find = till.service.store.find
    looks = 0

    async def cancelled_after_the_last_look(tenant: TenantId, wanted: PaymentId) -> Payment | None:
        nonlocal looks
        found = await find(tenant, wanted)
        looks += 1
        if looks == 2:
            monkeypatch.undo()
            assert (await till.call("ann", "POST", f"/{payment_id}/cancel")).status == 200
        return found

    monkeypatch.setattr(till.service.store, "find", cancelled_after_the_last_look)
    assert (await till.process(payment_id)).code == "INVALID_TRANSITION"
    assert (await till.show(payment_id))["status"] == "cancelled"
    assert await till.charges() == []


async def test_too_much_under_way_is_refused_before_anything_happens(
    open_database: OpenDatabase, tmp_path: Path
) -> None:
    settings = PaymentsSettings(provider_timeout_s=1.0, most_flights=1)
    async with open_till(open_database, tmp_path, settings=settings) as till:
        stuck, other = await till.open(token="tok_timeout"), await till.open()
        answers = await asyncio.gather(till.process(stuck), till.process(other))
        assert [answer.status for answer in answers] == [202, 503]
        assert (await till.process(other)).status == 200


# Cancelled orders


async def test_a_cancelled_order_ends_its_pending_payment_and_takes_no_other(till: Till) -> None:
    payment_id = await till.open()
    order_id = await order_of(till, payment_id)
    await till.cancel_order(order_id)
    assert (await till.show(payment_id))["status"] == "cancelled"
    # Orders answered "pending" just before; the event came first all the same.
    assert (await till.create(order_id)).code == "CONFLICT"


async def test_a_cancellation_that_meets_a_success_is_refunded(till: Till) -> None:
    payment_id = await till.paid()
    await till.cancel_order(await order_of(till, payment_id))
    await till.reconcile()
    shown = await till.show(payment_id)
    assert (shown["status"], shown["refunded_amount"]) == ("refunded", 20.0)
    await assert_books_agree(till)


async def test_a_success_that_meets_a_cancelled_order_is_refunded(till: Till) -> None:
    payment_id = await till.open(token="tok_lost")
    assert (await till.process(payment_id)).status == 202
    await till.cancel_order(await order_of(till, payment_id))
    assert (await till.show(payment_id))["status"] == "processing"
    await till.reconcile(seconds=2)
    await till.reconcile()
    assert (await till.show(payment_id))["status"] == "refunded"
    assert (await till.events())[-2:] == ["payment.success", "payment.refunded"]
    await assert_books_agree(till)


async def test_a_cancellation_racing_a_charge_never_keeps_the_money(till: Till) -> None:
    for _ in range(20):
        payment_id = await till.open(token="tok_visa")
        order_id = await order_of(till, payment_id)
        await asyncio.gather(till.process(payment_id), till.cancel_order(order_id))
        await till.reconcile()
        assert (await till.show(payment_id))["status"] in {"cancelled", "refunded"}
    await assert_books_agree(till)


async def test_a_repeated_cancellation_refunds_once(till: Till) -> None:
    payment_id = await till.paid()
    order_id = await order_of(till, payment_id)
    await till.cancel_order(order_id)
    with pytest.raises(AlreadyHandled):
        await till.cancel_order(order_id)
    await till.cancel_order(order_id, sequence=2)
    await till.reconcile()
    assert len((await till.show(payment_id))["refunds"]) == 1


# Refunds


async def test_parallel_refunds_each_succeed_while_their_sum_fits(till: Till) -> None:
    payment_id = await till.paid(total=2_000)
    answers = await asyncio.gather(*(till.refund(payment_id, 3) for _ in range(20)))
    assert sorted(answer.status for answer in answers) == [200] * 6 + [409] * 14
    assert (await till.show(payment_id))["refunded_amount"] == 18.0
    rest = await till.refund(payment_id)
    assert (rest.json["data"]["status"], rest.json["data"]["refunded_amount"]) == ("refunded", 20.0)
    assert (await till.refund(payment_id)).code == "CONFLICT"
    await assert_books_agree(till)


async def test_more_than_was_paid_is_not_refunded(till: Till) -> None:
    payment_id = await till.paid(total=2_000)
    assert (await till.refund(payment_id, 20.01)).code == "CONFLICT"
    assert (await till.refund(await till.open())).code == "INVALID_TRANSITION"


async def test_a_refund_without_an_answer_is_carried_out_once_later(
    till: Till, monkeypatch: pytest.MonkeyPatch
) -> None:
    payment_id = await till.paid()
    refund = till.service.sandbox.refund

    async def lost(request: RefundRequest) -> Refunded | RefundRefused:
        await refund(request)
        raise OutcomeUnknown("lost")

    monkeypatch.setattr(till.service.sandbox, "refund", lost)
    unknown = await till.refund(payment_id, 5, key="k")
    assert (unknown.status, unknown.json["data"]["refunds"][0]["status"]) == (202, "pending")
    monkeypatch.undo()
    again = await till.refund(payment_id, 5, key="k")
    assert (again.status, again.json["data"]["refunded_amount"]) == (200, 5.0)
    assert len(again.json["data"]["refunds"]) == 1
    await assert_books_agree(till)


async def test_a_refused_refund_stays_visible(till: Till, monkeypatch: pytest.MonkeyPatch) -> None:
    payment_id = await till.paid()

    async def refuse(_: RefundRequest) -> Refunded | RefundRefused:
        return RefundRefused("account closed")

    monkeypatch.setattr(till.service.sandbox, "refund", refuse)
    told = (await till.refund(payment_id, 5)).json["data"]
    assert (told["status"], told["refunds"][0]["status"]) == ("success", "failed")


async def test_a_partial_refund_refused_after_a_cancellation_goes_back_with_the_rest(
    till: Till, monkeypatch: pytest.MonkeyPatch
) -> None:
    payment_id = await till.paid(total=2_000)
    with monkeypatch.context() as patched:
        patched.setattr(till.service.sandbox, "refund", lambda _: asyncio.Event().wait())
        assert (await till.refund(payment_id, 5)).status == 202
    await till.cancel_order(await order_of(till, payment_id))
    refused: list[RefundRequest] = []
    refund = till.service.sandbox.refund

    async def refuse_the_first(request: RefundRequest) -> Refunded | RefundRefused:
        if request.amount == 500 and not refused:
            refused.append(request)
            return RefundRefused("not now")
        return await refund(request)

    monkeypatch.setattr(till.service.sandbox, "refund", refuse_the_first)
    await till.reconcile(seconds=10)
    await till.reconcile(seconds=10)

    shown = await till.show(payment_id)
    assert (shown["status"], shown["refunded_amount"]) == ("refunded", 20)
    assert [each["failure_reason"] for each in shown["refunds"]] == ["not now", None, None]
    await assert_books_agree(till)


# Crashes


async def die(till: Till) -> None:
    """Drop everything that a killed process would."""
    for task in list(till.service.settlement._flights._tasks.values()):
        task.cancel()


Call = Callable[[ChargeRequest], Awaitable[Charged | Declined]]


@pytest.mark.parametrize("charged", [True, False])
@pytest.mark.parametrize("retried", [True, False], ids=["client retries", "reconciled"])
async def test_a_process_killed_while_charging_charges_at_most_once(
    open_database: OpenDatabase,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    *,
    charged: bool,
    retried: bool,
) -> None:
    slow = PaymentsSettings()
    async with open_till(open_database, tmp_path, settings=slow) as first:
        payment_id = await first.open()
        asked = asyncio.Event()
        charge: Call = first.service.sandbox.charge

        async def killed_on_the_way(request: ChargeRequest) -> Charged | Declined:
            if charged:
                await charge(request)
            asked.set()
            await asyncio.Event().wait()
            raise AssertionError

        monkeypatch.setattr(first.service.sandbox, "charge", killed_on_the_way)
        caller = asyncio.create_task(first.process(payment_id))
        await asked.wait()
        await die(first)
        await asyncio.gather(caller, return_exceptions=True)

        async with open_till(
            open_database, tmp_path, orders=first.orders, clock=first.clock, settings=slow
        ) as second:
            assert (await second.show(payment_id))["status"] == "processing"
            assert await second.service.take_up() == 1
            if retried:
                await second.process(payment_id)
            else:
                await second.reconcile()
            assert (await second.show(payment_id))["status"] == ("success" if charged else "failed")
            assert len(await second.charges()) == charged
            await assert_books_agree(second)


async def test_a_refund_of_a_killed_process_is_taken_up(open_database: OpenDatabase, tmp_path: Path) -> None:
    async with open_till(open_database, tmp_path) as first:
        payment_id = await first.paid()
        await first.cancel_order(await order_of(first, payment_id))
        async with open_till(open_database, tmp_path, orders=first.orders, clock=first.clock) as second:
            assert await second.service.take_up() == 1
            await second.reconcile()
            assert (await second.show(payment_id))["status"] == "refunded"
            assert await second.service.take_up() == 0


async def test_another_process_s_charge_under_way_is_waited_for_and_not_voided(
    open_database: OpenDatabase, tmp_path: Path
) -> None:
    settings = PaymentsSettings(sandbox_slow_s=0.5)
    async with (
        open_till(open_database, tmp_path, settings=settings) as one,
        open_till(open_database, tmp_path, orders=one.orders, clock=one.clock, settings=settings) as another,
    ):
        payment_id = await one.open(token="tok_slow")
        charging = asyncio.create_task(one.process(payment_id))
        while (await another.show(payment_id))["status"] == "pending":  # noqa: ASYNC110  another database
            await asyncio.sleep(0)
        told = await another.process(payment_id)
        assert (told.status, told.json["data"]["status"]) == (200, "success")
        assert (await charging).body == told.body


async def test_an_outcome_that_cannot_be_stored_is_asked_for_later(
    till: Till, monkeypatch: pytest.MonkeyPatch
) -> None:
    payment_id = await till.open()
    charge: Call = till.service.sandbox.charge

    async def then_the_disk_is_full(request: ChargeRequest) -> Charged | Declined:
        outcome = await charge(request)
        monkeypatch.setattr(till.db, "transact", full)
        return outcome

    async def full(_: object) -> None:
        raise StorageUnavailable("The disk is full.")

    monkeypatch.setattr(till.service.sandbox, "charge", then_the_disk_is_full)
    assert (await till.process(payment_id)).status == 503
    monkeypatch.undo()
    await till.reconcile(seconds=1)
    assert (await till.show(payment_id))["status"] == "processing"
    await till.reconcile(seconds=12)
    assert (await till.show(payment_id))["status"] == "success"
    await assert_books_agree(till)


async def test_an_outcome_is_recorded_though_the_caller_s_key_has_passed_on(till: Till) -> None:
    payment_id = await till.open(token="tok_slow")
    caller = asyncio.create_task(till.process(payment_id, key="k"))
    while (await till.show(payment_id))["status"] == "pending":  # noqa: ASYNC110  the row says it
        await asyncio.sleep(0)
    await till.service.parts.claims.purge(before=till.clock.forward(days=2), limit=10)
    assert (await caller).json["data"]["status"] == "success"


# The worker


async def test_the_worker_settles_what_becomes_due(till: Till) -> None:
    worker = asyncio.create_task(till.service.parts.workers[0]())
    payment_id = await till.paid()
    await till.cancel_order(await order_of(till, payment_id))

    async def is_refunded() -> bool:
        return bool((await till.show(payment_id))["status"] == "refunded")

    await until(is_refunded)
    worker.cancel()
    await asyncio.gather(worker, return_exceptions=True)


async def test_a_provider_that_hangs_does_not_hold_up_the_others(
    open_database: OpenDatabase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = PaymentsSettings(provider_timeout_s=1.0, most_checks=2)
    async with open_till(open_database, tmp_path, settings=settings) as till:
        stuck = await till.open(token="tok_lost")
        await till.process(stuck)
        resolve = till.service.sandbox.resolve

        async def hang_for_one(request: ChargeRequest) -> object:
            if request.key == stuck:
                await asyncio.Event().wait()
            return await resolve(request)

        monkeypatch.setattr(till.service.sandbox, "resolve", hang_for_one)
        others = [await till.open(token="tok_lost") for _ in range(4)]
        await asyncio.gather(*(till.process(each) for each in others))
        till.clock.forward(seconds=2)
        async with asyncio.timeout(20):
            while not all([(await till.show(each))["status"] == "success" for each in others]):
                await till.service.reconciler.sweep()
                await asyncio.sleep(0.001)
            assert (await till.show(stuck))["status"] == "processing"
        await till.service.reconciler.idle()


async def test_the_books_name_every_store_s_payments(till: Till) -> None:
    payment_id, by_hand = await till.paid(), await till.open(method="cash")
    await till.refund(payment_id, 5)
    books = {book.payment_id: book for book in await till.service.books()}
    assert {(str(key), book.charge_key) for key, book in books.items()} == {
        (payment_id, payment_id),
        (by_hand, None),
    }
    paid = next(book for book in books.values() if book.charge_key)
    assert (paid.tenant_id, paid.refunded_amount, paid.pending_refunds) == (ACME, 500, 0)
    charge = (await till.service.sandbox.book())[0]
    assert isinstance(charge, ChargeBook)
    assert (charge.key, charge.amount, charge.refunded) == (payment_id, 2_000, 500)


async def test_while_the_provider_is_left_alone_no_charge_begins(
    till: Till, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or the payment would be in processing until it is found out that nothing was charged."""

    def check() -> None:
        raise CircuitOpen("The stripe service keeps failing.", retry_after=17)

    payment = await till.open()
    with monkeypatch.context() as left_alone:
        left_alone.setattr(till.service.sandbox, "check", check)
        refused = await till.process(payment, key="one")
    assert (refused.status, refused.code, refused.headers["retry-after"]) == (503, "CIRCUIT_OPEN", "17")
    assert (await till.show(payment))["status"] == "pending"

    paid = await till.process(payment, key="one")
    assert paid.json["data"]["status"] == "success"
    await assert_books_agree(till)
