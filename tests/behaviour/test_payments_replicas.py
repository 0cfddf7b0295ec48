"""Two replicas of payments on one database and one book of the sandbox: money moves once."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest

from mercato.contracts.payment_books import ChargeOutcome
from mercato.kernel.ids import OrderId, uuid7
from mercato.kernel.tenancy import TenantId
from mercato.payments.ports import (
    Charged,
    ChargeRequest,
    Declined,
    NeverCharged,
    Refunded,
    RefundRefused,
    RefundRequest,
)
from mercato.payments.providers.sandbox import Sandbox
from mercato.payments.wiring import PaymentsSettings
from tests.behaviour.payments_till import Till, open_till
from tests.clock import FakeClock
from tests.conftest import OpenDatabase
from tests.engines import POSTGRES
from tests.sandbox_books import shared_book
from tests.waiting import until

pytestmark = POSTGRES

Outcome = Charged | Declined | NeverCharged
AT = FakeClock()()
WORKERS = 20
HASTY = PaymentsSettings(provider_timeout_s=1.5)
PATIENT = PaymentsSettings(provider_timeout_s=5.0, sandbox_slow_s=0.05)


@dataclass
class Sandboxes:
    """The sandbox of two replicas, and what either told."""

    both: tuple[Sandbox, Sandbox]
    told: Counter[str]

    def of(self, worker: int) -> Sandbox:
        return self.both[worker % 2]


@pytest.fixture
async def sandboxes(open_database: OpenDatabase) -> AsyncIterator[Sandboxes]:
    database = await open_database("payments")
    both = (
        Sandbox(shared_book(database), slow_s=0.01),
        Sandbox(shared_book(database), slow_s=0.01),
    )
    opened = Sandboxes(both, Counter())
    for each in both:
        each.on_news(lambda kind, metadata: opened.told.update([f"{kind} {metadata['key']}"]))
    yield opened
    for each in both:
        await each.close()


def charging(key: str, token: str | None = None) -> ChargeRequest:
    return ChargeRequest(
        key=key,
        tenant=TenantId("acme"),
        amount=1_000,
        currency="USD",
        token=token,
        description=None,
        created_at=AT,
    )


def refunding(charged: Charged, amount: int, key: str) -> RefundRequest:
    return RefundRequest(
        key=key,
        tenant=TenantId("acme"),
        charge_key="k",
        transaction_id=charged.transaction_id,
        amount=amount,
        currency="USD",
        created_at=AT,
    )


@pytest.mark.parametrize("token", [None, "tok_slow", "tok_declined"])
async def test_twenty_workers_of_two_replicas_on_one_key_are_one_charge(
    token: str | None, sandboxes: Sandboxes
) -> None:
    outcomes = await asyncio.gather(
        *(sandboxes.of(worker).charge(charging("k", token)) for worker in range(WORKERS))
    )
    assert len(set(outcomes)) == 1, "all were told the same"
    books = [await each.book() for each in sandboxes.both]
    assert books[0] == books[1]
    assert [charge.key for charge in books[0]] == ["k"]
    assert sandboxes.told == {"charge.settled k": 1}


async def test_a_key_is_charged_or_void_whichever_replica_is_asked_first(sandboxes: Sandboxes) -> None:
    async def race(number: int) -> tuple[str, Outcome, Outcome]:
        request = charging(f"k{number}")
        one, other = sandboxes.of(number), sandboxes.of(number + 1)
        charge, resolution = await asyncio.gather(one.charge(request), other.resolve(request))
        return request.key, charge, resolution

    raced = await asyncio.gather(*(race(number) for number in range(60)))
    book = {charge.key: charge.outcome for charge in await sandboxes.of(0).book()}
    for key, charge, resolution in raced:
        if book[key] is ChargeOutcome.CHARGED:
            assert isinstance(charge, Charged)
            assert resolution == charge
        else:
            assert (type(charge), resolution) == (Declined, NeverCharged())


async def test_refunds_of_two_replicas_never_give_back_more_than_was_taken(sandboxes: Sandboxes) -> None:
    charged = await sandboxes.of(0).charge(charging("k"))
    assert isinstance(charged, Charged)
    outcomes = await asyncio.gather(
        *(sandboxes.of(worker).refund(refunding(charged, 100, uuid7())) for worker in range(WORKERS))
    )
    assert Counter(map(type, outcomes)) == {Refunded: 10, RefundRefused: 10}
    assert [charge.refunded for charge in await sandboxes.of(1).book()] == [1_000]


async def test_one_refund_by_twenty_workers_is_given_back_once(sandboxes: Sandboxes) -> None:
    charged = await sandboxes.of(0).charge(charging("k"))
    assert isinstance(charged, Charged)
    outcomes = await asyncio.gather(
        *(sandboxes.of(worker).refund(refunding(charged, 400, "r")) for worker in range(WORKERS))
    )
    assert set(outcomes) == {Refunded()}
    assert [charge.refunded for charge in await sandboxes.of(1).book()] == [400]
    assert sandboxes.told == {"charge.settled k": 1, "refund.settled k": 1}


@pytest.fixture
async def tills(open_database: OpenDatabase, tmp_path: Path) -> AsyncIterator[tuple[Till, Till]]:
    """Two replicas of payments, each with connections of its own."""
    opened = partial(open_till, open_database, tmp_path, settings=PATIENT, book_of=shared_book)
    async with opened() as one, opened(orders=one.orders, clock=one.clock) as other:
        yield one, other


async def assert_books_agree(till: Till) -> None:
    book = {charge.key: charge.refunded for charge in await till.charges()}
    known: dict[str, int] = {each.payment_id: each.refunded_amount for each in await till.service.books()}
    assert book == {key: known[key] for key in book}


async def test_one_payment_processed_by_two_replicas_at_once_is_charged_once(
    tills: tuple[Till, Till],
) -> None:
    for token in ("tok_visa", "tok_slow"):
        payment_id = await tills[0].open(token=token)
        told = await asyncio.gather(
            *(tills[n % 2].process(payment_id, key=f"{token}{n}") for n in range(WORKERS))
        )
        assert {answer.status for answer in told} == {200}
        assert {each.json["data"]["status"] for each in told} == {"success"}
        assert len({answer.body for answer in told}) == 1
        assert {(await till.show(payment_id))["status"] for till in tills} == {"success"}
        assert [each.key for each in await tills[1].charges()].count(payment_id) == 1
    await assert_books_agree(tills[0])


async def test_who_asks_another_replica_is_told_when_the_provider_gave_no_answer(
    open_database: OpenDatabase, tmp_path: Path
) -> None:
    opened = partial(open_till, open_database, tmp_path, settings=HASTY, book_of=shared_book)
    async with opened() as one, opened(orders=one.orders, clock=one.clock) as other:
        payment_id = await one.open(token="tok_timeout")
        charging = asyncio.create_task(one.process(payment_id))

        async def is_under_way() -> bool:
            return bool((await other.show(payment_id))["status"] == "processing")

        await until(is_under_way)
        assert (await other.process(payment_id)).status == 202
        assert (await charging).status == 202
        assert await other.charges() == []


async def test_refunds_of_one_payment_by_two_replicas_never_exceed_it(tills: tuple[Till, Till]) -> None:
    payment_id = await tills[0].paid(total=2_000)
    told = await asyncio.gather(*(tills[n % 2].refund(payment_id, 2.0, key=f"r{n}") for n in range(WORKERS)))
    for till in tills:
        await till.reconcile(seconds=1)
    assert Counter(answer.status for answer in told) == {200: 10, 409: 10}
    shown = await tills[1].show(payment_id)
    assert (shown["status"], shown["refunded_amount"]) == ("refunded", 20.0)
    await assert_books_agree(tills[0])


async def test_an_order_cancelled_while_another_replica_charges_it_is_paid_back(
    tills: tuple[Till, Till],
) -> None:
    payments = [await tills[0].open(token="tok_slow") for _ in range(10)]
    orders = [OrderId((await tills[0].show(each))["order_id"]) for each in payments]
    await asyncio.gather(
        *(tills[0].process(each) for each in payments), *(tills[1].cancel_order(each) for each in orders)
    )
    for till in tills:
        await till.reconcile(seconds=20)
    for each in payments:
        shown = await tills[0].show(each)
        assert shown["status"] in {"refunded", "cancelled", "failed"}, shown
    await assert_books_agree(tills[1])
