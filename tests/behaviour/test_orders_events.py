"""What orders hears has its effect once, however often and in whatever order it is told."""

import asyncio
from typing import Any

import pytest

from mercato.contracts.orders import OrderPaymentStatus, OrderStatus, StockState
from mercato.contracts.payments import PaymentStatus
from mercato.contracts.products import ProductDeleted, ProductUpdated, StockReleased, StockTaken
from mercato.kernel.ids import OrderId, uuid7
from mercato.kernel.tenancy import DEFAULT_TENANT, TenantId
from tests.behaviour.orders_desk import (
    HOLD_S,
    Desk,
    open_desk,
    payment,
    product_created,
    rejected,
    reserved,
    statuses,
)
from tests.conftest import OpenDatabase

SEEDS = range(4)


@pytest.fixture
async def desk(open_database: OpenDatabase) -> Desk:
    desk = open_desk(await open_database("orders"))
    desk.stock.put("LAMP")
    return desk


@pytest.mark.parametrize("seed", SEEDS)
async def test_a_payments_events_three_times_and_shuffled_have_one_effect_each(desk: Desk, seed: int) -> None:
    order_id, at = await desk.placed(), desk.clock()
    through = [
        PaymentStatus.PENDING,
        PaymentStatus.FAILED,
        PaymentStatus.PENDING,
        PaymentStatus.SUCCESS,
        PaymentStatus.PARTIALLY_REFUNDED,
    ]

    await desk.hear_in_disorder(*(payment(order_id, status, at) for status in through), seed=seed)

    order = await desk.order(order_id)
    assert (order.status, order.payment_status) == (
        OrderStatus.CONFIRMED,
        OrderPaymentStatus.PARTIALLY_REFUNDED,
    )
    assert order.version == 1 + len(through)
    assert [each.event for each in order.timeline[1:]] == [
        "payment.created",
        "payment.failed",
        "payment.created",
        "payment.success",
        "order.confirmed",
        "payment.refunded",
    ]
    assert [kind for kind, _ in await desk.events()] == ["order.created", "order.status_changed"]
    assert await desk.parked() == 0


@pytest.mark.parametrize("seed", SEEDS)
async def test_the_events_of_many_orders_do_not_wait_for_each_other(desk: Desk, seed: int) -> None:
    orders = [await desk.placed() for _ in range(5)]
    payloads = [
        payment(order_id, status, desk.clock())
        for order_id in orders
        for status in (PaymentStatus.PENDING, PaymentStatus.SUCCESS)
    ]

    await desk.hear_in_disorder(*payloads, seed=seed)

    assert [(await desk.order(each)).status for each in orders] == [OrderStatus.CONFIRMED] * 5
    assert [(await desk.order(each)).version for each in orders] == [3] * 5


@pytest.mark.parametrize("seed", SEEDS)
async def test_the_catalogue_ends_as_it_was_last_told(desk: Desk, seed: int) -> None:
    item = desk.stock.put("MUG", price=500)
    told: dict[str, Any] = {
        "tenant_id": DEFAULT_TENANT,
        "product_id": item.product_id,
        "sku": "MUG",
        "currency": "USD",
    }
    updates = [ProductUpdated(**told, name="Mug", price=price) for price in (600, 700, 800)]

    await desk.hear_in_disorder(product_created(item), *updates, seed=seed)
    desk.stock.away = True
    assert (await desk.place("MUG")).json["data"]["total_amount"] == 8.0

    await desk.hear_in_disorder(ProductDeleted(**told, name="Mug", price=800), seed=seed)
    assert (await desk.place("MUG")).status == 503


@pytest.mark.parametrize("seed", SEEDS)
async def test_stock_that_was_reserved_taken_and_released_is_noted_once(desk: Desk, seed: int) -> None:
    item = desk.stock.shelves[DEFAULT_TENANT, "LAMP"].item
    await desk.hear(product_created(item))
    desk.stock.away = True
    order_id = await desk.placed()

    await desk.hear_in_disorder(
        reserved(order_id, desk.clock.at.replace(hour=23)),
        StockTaken(tenant_id=DEFAULT_TENANT, order_id=order_id),
        StockReleased(tenant_id=DEFAULT_TENANT, order_id=order_id),
        seed=seed,
    )

    order = await desk.order(order_id)
    assert (order.stock, order.version, order.hold_until.hour) == (StockState.RESERVED, 2, 23)
    assert await desk.parked() == 0


async def test_a_late_refusal_does_not_cancel_what_has_its_stock(desk: Desk) -> None:
    order_id = await desk.placed()

    await desk.hear(rejected(order_id))

    assert (await desk.order(order_id)).version == 1


async def test_a_payment_for_a_cancelled_order_is_known_and_does_not_revive_it(desk: Desk) -> None:
    order_id = await desk.placed()
    assert (await desk.call("POST", f"/{order_id}/cancel", {"reason": "no more"})).status == 200

    await desk.hear(payment(order_id, PaymentStatus.SUCCESS, desk.clock()))

    order = await desk.order(order_id)
    assert statuses(order) == [OrderStatus.PENDING, OrderStatus.CANCELLED]
    assert (order.payment_status, order.cancel_reason) == (OrderPaymentStatus.PAID, "no more")


async def test_of_a_customers_cancellation_and_a_payment_at_once_one_decides(desk: Desk) -> None:
    orders = [await desk.placed() for _ in range(20)]
    bodies = {each: desk.sent(payment(each, PaymentStatus.SUCCESS, desk.clock())) for each in orders}

    answers = await asyncio.gather(
        *(
            asyncio.gather(desk.call("POST", f"/{each}/cancel", {}), desk.inbox.receive(bodies[each]))
            if n % 2
            else asyncio.gather(desk.inbox.receive(bodies[each]), desk.call("POST", f"/{each}/cancel", {}))
            for n, each in enumerate(orders)
        )
    )

    for order_id, pair in zip(orders, answers, strict=True):
        answer = next(each for each in pair if each is not None)
        order = await desk.order(order_id)
        expected = OrderStatus.CANCELLED if answer.status == 200 else OrderStatus.CONFIRMED
        assert (order.status, order.payment_status) == (expected, OrderPaymentStatus.PAID)
    changes = [data["order_id"] for kind, data in await desk.events() if kind == "order.status_changed"]
    assert sorted(changes) == sorted(orders)


async def test_events_about_an_order_that_was_never_placed_are_let_go(desk: Desk) -> None:
    unknown = OrderId(uuid7())

    await desk.hear(
        reserved(unknown, desk.clock()),
        rejected(unknown),
        payment(unknown, PaymentStatus.SUCCESS, desk.clock()),
    )

    assert (await desk.orders(), await desk.parked(), await desk.events()) == (0, 0, [])


async def test_another_stores_event_does_not_reach_an_order_of_the_same_id(desk: Desk) -> None:
    order_id = await desk.placed()

    await desk.hear(payment(order_id, PaymentStatus.SUCCESS, desk.clock(), tenant=TenantId("other")))

    assert (await desk.order(order_id)).version == 1


async def test_a_success_for_an_order_without_stock_waits_until_it_has_it(desk: Desk) -> None:
    """Payments asks before it opens a payment, so this takes a defect; it must not be lost even so."""
    await desk.hear(product_created(desk.stock.shelves[DEFAULT_TENANT, "LAMP"].item))
    desk.stock.away = True
    order_id = await desk.placed()
    await desk.hear(payment(order_id, PaymentStatus.SUCCESS, desk.clock()))
    assert (await desk.order(order_id)).version == 1
    assert await desk.parked() == 1

    await desk.hear(reserved(order_id, desk.clock.at.replace(hour=23)))
    desk.clock.forward(seconds=10)
    await desk.inbox.sweep()

    assert (await desk.order(order_id)).status is OrderStatus.CONFIRMED
    assert await desk.parked() == 0


async def test_a_restart_knows_what_was_heard(desk: Desk) -> None:
    order_id = await desk.placed()
    bodies = desk.sent(payment(order_id, PaymentStatus.SUCCESS, desk.clock()))
    await desk.inbox.receive(bodies)

    restarted = open_desk(desk.db, stock=desk.stock, clock=desk.clock)
    await asyncio.gather(*(restarted.inbox.receive(bodies) for _ in range(20)))

    order = await restarted.order(order_id)
    assert (order.version, order.status) == (2, OrderStatus.CONFIRMED)
    desk.clock.forward(seconds=HOLD_S)
    await restarted.service.service.expire(desk.clock(), 10)
    assert (await restarted.order(order_id)).version == 2
