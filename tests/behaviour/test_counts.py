"""What happens is counted once, with its commit, however often it is asked for or told of."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from mercato.adapters.sql.steps import Steps
from mercato.contracts.orders import OrderStatus, StockState
from mercato.contracts.payments import PaymentStatus
from mercato.contracts.products import OutOfStock, WantedLine
from mercato.kernel.cause import BySystem
from mercato.messaging.bus import Refused
from mercato.messaging.inbox import BODY_MOST, AlreadyHandled
from tests.behaviour.inbox_consumer import ATTEMPTS, Consumer, consumer_on
from tests.behaviour.orders_desk import open_desk, payment
from tests.behaviour.payments_till import Till, open_till
from tests.behaviour.products_shop import as_event, created, new_order, open_shop
from tests.clock import FakeClock
from tests.conftest import OpenDatabase
from tests.measured import figures
from tests.things import ThingSeen, changed, encoded, event_id

EVENTS, DELAY = "mercato_inbox_events", "mercato_event_delay_seconds"


@pytest.fixture
async def consumer(open_database: OpenDatabase) -> Consumer:
    clock = FakeClock()
    return await consumer_on(Steps(await open_database("orders"), source="/mercato/x", clock=clock), clock)


@pytest.fixture
async def till(open_database: OpenDatabase, tmp_path: Path) -> AsyncIterator[Till]:
    async with open_till(open_database, tmp_path) as opened:
        yield opened


def outcomes(consumer: Consumer) -> dict[str, float]:
    counted = figures(consumer.inbox.measures)
    return {name[-1]: figure for name, figure in counted.items() if name[0] == EVENTS}


async def test_a_repeated_event_is_counted_as_handled_once(consumer: Consumer) -> None:
    await consumer.take(1, 2)
    await asyncio.gather(*(consumer.take(1, 2, 3) for _ in range(5)))
    counted = figures(consumer.inbox.measures)
    assert (counted[EVENTS, "consumer", "handled"], counted[DELAY, "consumer"]) == (3, 3)
    assert counted[EVENTS, "consumer", "duplicate"] == 2 + 5 * 3 - 3


async def test_what_has_no_effect_here_is_told_apart(consumer: Consumer) -> None:
    await consumer.inbox.receive([encoded(ThingSeen(tenant_id=changed("b", 1).tenant_id, thing="b", n=1))])
    assert outcomes(consumer) == {"passed": 1}


async def test_failures_dead_letters_and_what_waits_are_counted(consumer: Consumer) -> None:
    consumer.failing.add(event_id("a", 1))
    await consumer.take(1, 2)
    assert outcomes(consumer) == {"failed": 1, "waiting": 1}
    await consumer.give_up_on(1)
    assert outcomes(consumer) == {"failed": ATTEMPTS - 1, "waiting": 1, "dead": 1, "handled": 1}
    consumer.failing.clear()
    await consumer.store.replay(event_id("a", 1), consumer.clock(), by=BySystem("test"))
    await consumer.later(seconds=1)
    assert outcomes(consumer)["handled"] == 2


async def test_bytes_that_are_of_no_use_are_counted(consumer: Consumer) -> None:
    with pytest.raises(Refused):
        await consumer.inbox.receive([b"no event", b"x" * (BODY_MOST + 1)])
    assert outcomes(consumer) == {"refused": 2}


async def test_an_order_and_what_becomes_of_it_are_counted_once(open_database: OpenDatabase) -> None:
    desk = open_desk(await open_database("orders"))
    desk.stock.put("LAMP", available=2)
    for _ in range(3):
        placed = await desk.place("LAMP", key="the-same")
    order_id = placed.json["data"]["id"]
    assert (await desk.place("LAMP", "LAMP", "LAMP")).status == 409
    paid = payment(order_id, PaymentStatus.SUCCESS, desk.clock())
    await desk.hear_in_disorder(paid, seed=1)
    for _ in range(3):
        await desk.call("POST", f"/{order_id}/cancel", who="adam", key="go")

    counted = figures(desk.service.parts.measures)

    assert counted == {
        ("mercato_orders_placed", StockState.RESERVED.value): 1,
        ("mercato_order_transitions", OrderStatus.CONFIRMED.value): 1,
        ("mercato_order_transitions", OrderStatus.CANCELLED.value): 1,
    }


async def test_money_is_counted_once(till: Till) -> None:
    order_id = till.orders.place(total=2_000)
    for _ in range(2):
        opened = await till.create(order_id, key="open")
    payment_id = opened.json["data"]["id"]
    await asyncio.gather(*(till.process(payment_id, key="pay") for _ in range(4)))
    await till.process(payment_id)
    for amount, key in ((5.0, "a"), (5.0, "a"), (2.5, "b")):
        await till.refund(payment_id, amount, key=key)
    await till.reconcile(seconds=60)
    assert (await till.show(payment_id))["refunded_amount"] == 7.5

    assert figures(till.service.parts.measures) == {
        ("mercato_payments", "card", "success"): 1,
        ("mercato_revenue_minor_units", "USD"): 2_000,
        ("mercato_refunded_minor_units", "USD"): 750,
    }


async def test_what_was_not_paid_is_no_revenue(till: Till) -> None:
    declined = await till.open(token="tok_declined")
    await till.process(declined)
    await till.process(declined)
    given_up = await till.open(method="cash")
    await till.call("ann", "POST", f"/{given_up}/cancel")
    assert figures(till.service.parts.measures) == {
        ("mercato_payments", "card", "failed"): 1,
        ("mercato_payments", "cash", "cancelled"): 1,
    }


async def test_a_cancelled_order_gives_its_money_back_once(till: Till) -> None:
    order_id = till.orders.place(total=2_000)
    opened = await till.create(order_id)
    await till.process(opened.json["data"]["id"])
    await till.cancel_order(order_id)
    with pytest.raises(AlreadyHandled):
        await till.cancel_order(order_id)
    await till.reconcile(seconds=60)
    counted = figures(till.service.parts.measures)
    assert counted["mercato_refunded_minor_units", "USD"] == 2_000


async def test_a_want_of_stock_is_counted_for_each_order_that_meets_it(open_database: OpenDatabase) -> None:
    shop = open_shop(await open_database("products"))
    mug = await shop.add("MUG", stock=1)
    with pytest.raises(OutOfStock):
        await shop.reserve([WantedLine("MUG", 2)])
    assert figures(shop.products.parts.measures) == {("mercato_stock_outs",): 1}
    await shop.reserve([WantedLine("MUG", 1)])
    late = created(new_order(), [(mug, 1)], stock=StockState.AWAITING, at=shop.clock())
    event, by = as_event(late, 1, shop.clock())
    await shop.products.parts.handlers[late.type](event, by)
    with pytest.raises(AlreadyHandled):
        await shop.products.parts.handlers[late.type](event, by)
    assert figures(shop.products.parts.measures) == {("mercato_stock_outs",): 2}
