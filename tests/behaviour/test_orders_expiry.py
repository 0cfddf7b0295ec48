"""The time to pay runs out: an order that is still pending is cancelled, and no other."""

import asyncio
from contextlib import suppress
from datetime import timedelta

import pytest

from mercato.adapters.sql.database import StorageUnavailable
from mercato.contracts.orders import OrderPaymentStatus, OrderStatus, StockState
from mercato.contracts.payments import PaymentStatus
from mercato.kernel.ids import OrderId
from mercato.kernel.tenancy import DEFAULT_TENANT, TenantId
from mercato.orders import workers
from mercato.orders.domain import Order
from tests.behaviour.orders_desk import HOLD_S, Desk, open_desk, payment, product_created, reserved, statuses
from tests.conftest import OpenDatabase

DEADLINE_S = 20.0


@pytest.fixture
async def desk(open_database: OpenDatabase) -> Desk:
    desk = open_desk(await open_database("orders"))
    desk.stock.put("LAMP")
    return desk


async def expire(desk: Desk, limit: int = 100) -> int:
    return await desk.service.service.expire(desk.clock(), limit)


async def test_an_order_is_cancelled_when_its_hold_ends_and_not_before(desk: Desk) -> None:
    order_id = await desk.placed()
    desk.clock.forward(seconds=HOLD_S - 0.000001)
    assert await expire(desk) == 0

    desk.clock.forward(seconds=0.000001)
    assert await expire(desk) == 1

    order = await desk.order(order_id)
    assert (order.status, order.cancel_reason) == (OrderStatus.CANCELLED, Order.EXPIRED)
    assert order.timeline[-1].by == "system:expiry"
    kind, told = (await desk.events())[-1]
    assert (kind, told["status"], told["reason"]) == ("order.status_changed", "cancelled", Order.EXPIRED)
    assert await expire(desk) == 0


async def test_an_order_that_waits_for_its_stock_expires_too(desk: Desk) -> None:
    await desk.hear(product_created(desk.stock.shelves[DEFAULT_TENANT, "LAMP"].item))
    desk.stock.away = True
    order_id = await desk.placed()
    assert (await desk.order(order_id)).stock is StockState.AWAITING

    desk.clock.forward(seconds=HOLD_S)
    await expire(desk)
    await desk.hear(reserved(order_id, desk.clock() + timedelta(seconds=HOLD_S)))

    order = await desk.order(order_id)
    assert (order.status, order.stock) == (OrderStatus.CANCELLED, StockState.AWAITING)


async def test_stock_that_comes_later_moves_the_end_of_the_hold(desk: Desk) -> None:
    await desk.hear(product_created(desk.stock.shelves[DEFAULT_TENANT, "LAMP"].item))
    desk.stock.away = True
    order_id = await desk.placed()
    await desk.hear(reserved(order_id, desk.clock() + timedelta(seconds=2 * HOLD_S)))

    desk.clock.forward(seconds=HOLD_S)
    assert await expire(desk) == 0
    desk.clock.forward(seconds=HOLD_S)
    assert await expire(desk) == 1


async def test_what_is_confirmed_cancelled_or_of_later_is_left_alone(desk: Desk) -> None:
    confirmed, cancelled = await desk.placed(), await desk.placed()
    await desk.hear(payment(confirmed, PaymentStatus.SUCCESS, desk.clock()))
    await desk.call("POST", f"/{cancelled}/cancel", {"reason": "mine"})
    desk.clock.forward(seconds=HOLD_S / 2)
    later = await desk.placed()
    desk.clock.forward(seconds=HOLD_S / 2)

    assert await expire(desk) == 0

    found = [(await desk.order(each)).status for each in (confirmed, cancelled, later)]
    assert found == [OrderStatus.CONFIRMED, OrderStatus.CANCELLED, OrderStatus.PENDING]


async def test_every_stores_orders_expire_oldest_first_and_a_batch_at_a_time(desk: Desk) -> None:
    shelf = desk.stock.shelves[DEFAULT_TENANT, "LAMP"]
    desk.stock.shelves[TenantId("other"), "LAMP"] = shelf
    theirs = OrderId((await desk.place("LAMP", who="bea")).json["data"]["id"])
    mine = []
    for _ in range(4):
        desk.clock.forward(seconds=1)
        mine.append(await desk.placed())
    desk.clock.forward(seconds=HOLD_S)

    assert await expire(desk, limit=3) == 3

    assert (await desk.order(theirs, TenantId("other"))).status is OrderStatus.CANCELLED
    left = [(await desk.order(each)).status for each in mine]
    assert left == [OrderStatus.CANCELLED] * 2 + [OrderStatus.PENDING] * 2
    assert await expire(desk, limit=3) == 2


async def test_twenty_sweeps_at_once_cancel_an_order_once(desk: Desk) -> None:
    order_id = await desk.placed()
    desk.clock.forward(seconds=HOLD_S)

    await asyncio.gather(*(expire(desk) for _ in range(20)))

    assert (await desk.order(order_id)).version == 2
    assert len(await desk.events()) == 2


async def test_of_expiry_and_payment_at_once_exactly_one_wins(desk: Desk) -> None:
    won: set[OrderStatus] = set()
    rounds = 0
    # Where steps run beside each other it takes a few rounds until each has won once.
    while won != {OrderStatus.CONFIRMED, OrderStatus.CANCELLED}:
        won |= await race(desk, rounds)
        rounds += 1
        assert rounds < 20


async def race(desk: Desk, rounds: int) -> set[OrderStatus]:
    """Let 40 orders expire while they are paid; return what became of them.

    From round to round expiry begins later, and the last payment comes much later: whoever was always first
    will not be so for long.
    """
    before = len(await desk.events())
    orders = [await desk.placed() for _ in range(40)]
    bodies = {each: desk.sent(payment(each, PaymentStatus.SUCCESS, desk.clock())) for each in orders}
    desk.clock.forward(seconds=HOLD_S)

    async def pay(number: int, after_s: float) -> None:
        await asyncio.sleep(after_s)
        await desk.inbox.receive(bodies[orders[number]])

    half = len(orders) // 2
    # Half of them at once, and half over the time that expiry takes, wherever its steps are carried out.
    at_once = [desk.inbox.receive(bodies[each]) for each in orders[:half]]
    spread = [pay(half + number, number * 0.001 * (1 + rounds)) for number in range(half)]

    async def expire_after(after_s: float) -> None:
        await asyncio.sleep(after_s)
        await expire(desk)

    await asyncio.gather(*at_once, expire_after(rounds * 0.002), *spread)

    found = [await desk.order(each) for each in orders]
    for order in found:
        assert len(statuses(order)) == 2
        assert order.payment_status is OrderPaymentStatus.PAID
    events = (await desk.events())[before:]
    changes = [data["order_id"] for kind, data in events if kind == "order.status_changed"]
    assert sorted(changes) == sorted(orders)
    return {order.status for order in found}


async def test_the_worker_expires_and_outlives_a_database_that_is_away(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workers, "SWEEP_S", 0.001)
    order_id = await desk.placed()
    desk.clock.forward(seconds=HOLD_S)
    find_expired, failures = desk.service.store.expired, [StorageUnavailable("away"), ValueError("a defect")]

    async def failing_first(*args: object) -> list[tuple[TenantId, OrderId]]:
        if failures:
            raise failures.pop()
        return await find_expired(desk.clock(), 10)

    monkeypatch.setattr(desk.service.store, "expired", failing_first)
    cancelled = asyncio.Event()
    desk.service.parts.steps.on_events(cancelled.set)
    (worker,) = desk.service.parts.workers
    running = asyncio.create_task(worker())
    await asyncio.wait_for(cancelled.wait(), DEADLINE_S)
    assert (await desk.order(order_id)).status is OrderStatus.CANCELLED
    assert not running.done()

    running.cancel()
    with suppress(asyncio.CancelledError):
        await running
