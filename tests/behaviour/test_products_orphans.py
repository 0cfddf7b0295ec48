import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from datetime import timedelta

import pytest

from mercato.contracts.orders import OrderFacts, OrderStatus, StockState
from mercato.contracts.products import WantedLine
from mercato.kernel.errors import Conflict, Unavailable
from mercato.kernel.ids import OrderId, ProductId, UserId
from mercato.kernel.tenancy import TenantId
from mercato.products.domain import ReservationOver
from mercato.products.service.orphans import Orphans
from mercato.products.stores.ledger import Ledger
from mercato.products.stores.sql_holds import SqlHolds
from mercato.products.wiring import ProductsSettings
from tests.behaviour.products_shop import ACME, TOKYO, Shop, changed, new_order, open_shop
from tests.conftest import OpenDatabase
from tests.engines import SQLITE
from tests.waiting import until


class Desk:
    """Orders, as far as the worker can tell."""

    def __init__(self) -> None:
        self.known: dict[OrderId, OrderStatus] = {}
        self.asked: list[tuple[TenantId, int]] = []
        self.before_answering: Callable[[], Awaitable[object]] | None = None
        self.away = False

    async def facts(self, tenant: TenantId, order_ids: Sequence[OrderId]) -> dict[OrderId, OrderFacts]:
        self.asked.append((tenant, len(order_ids)))
        if self.away:
            raise Unavailable("orders is away")
        if self.before_answering is not None:
            await self.before_answering()
        return {
            order: OrderFacts(order, UserId("u"), self.known[order], StockState.RESERVED, 1, "USD")
            for order in order_ids
            if order in self.known
        }


@pytest.fixture
async def shop(open_database: OpenDatabase) -> Shop:
    return open_shop(await open_database("products"), ProductsSettings(orphan_sweep_s=0))


async def sweep(shop: Shop, desk: Desk, deadline_s: float = 20.0) -> int:
    """Check one batch of overdue holds."""
    holds = SqlHolds(shop.products.parts.steps, Ledger(lambda _, __: None))
    minute = timedelta(minutes=1)
    return await Orphans(holds, desk, clock=shop.clock, again_after=minute, deadline_s=deadline_s).sweep()


async def held_product(shop: Shop, order: OrderId) -> ProductId:
    product = await shop.add("MUG", stock=5)
    await shop.reserve([WantedLine(product, 2)], order=order)
    return product


async def test_a_hold_is_left_alone_until_it_is_well_past_its_time(shop: Shop) -> None:
    product = await held_product(shop, new_order())
    desk = Desk()
    shop.clock.forward(minutes=15, seconds=59)
    await sweep(shop, desk)
    assert desk.asked == []
    assert await shop.stock_of(product) == (5, 2)


async def test_a_hold_without_an_order_is_released_and_can_be_made_anew(shop: Shop) -> None:
    order = new_order()
    product = await held_product(shop, order)
    shop.clock.forward(minutes=16)
    await sweep(shop, Desk())
    assert await shop.stock_of(product) == (5, 0)
    assert await shop.event_types() == ["stock.reserved", "stock.released"]
    await shop.check_books()
    await shop.reserve([WantedLine(product, 3)], order=order)
    assert await shop.stock_of(product) == (5, 3)
    await shop.check_books()


async def test_a_cancelled_orders_hold_is_released_for_good(shop: Shop) -> None:
    order, desk = new_order(), Desk()
    product = await held_product(shop, order)
    desk.known[order] = OrderStatus.CANCELLED
    shop.clock.forward(minutes=16)
    await sweep(shop, desk)
    assert await shop.stock_of(product) == (5, 0)
    with pytest.raises(Conflict):
        await shop.reserve([WantedLine(product, 2)], order=order)


@pytest.mark.parametrize(
    "status", [OrderStatus.PENDING, OrderStatus.CONFIRMED, OrderStatus.SHIPPED, OrderStatus.DELIVERED]
)
async def test_a_standing_orders_hold_is_kept_and_asked_about_later(shop: Shop, status: OrderStatus) -> None:
    order, desk = new_order(), Desk()
    product = await held_product(shop, order)
    desk.known[order] = status
    shop.clock.forward(minutes=16)
    await sweep(shop, desk)
    assert len(desk.asked) == 1
    assert await shop.stock_of(product) == (5, 2)
    shop.clock.forward(minutes=1)
    await sweep(shop, desk)
    assert await shop.stock_of(product) == (5, 2)


async def test_everything_is_kept_while_orders_is_away(shop: Shop) -> None:
    product = await held_product(shop, new_order())
    desk = Desk()
    desk.away = True
    shop.clock.forward(days=1)
    await sweep(shop, desk)
    assert await shop.stock_of(product) == (5, 2)
    desk.away = False
    await sweep(shop, desk)
    assert await shop.stock_of(product) == (5, 0)


async def test_everything_is_kept_while_orders_does_not_answer(shop: Shop) -> None:
    product = await held_product(shop, new_order())
    desk = Desk()
    desk.before_answering = asyncio.Event().wait
    shop.clock.forward(days=1)
    await sweep(shop, desk, deadline_s=0.05)
    assert await shop.stock_of(product) == (5, 2)


async def test_a_placement_tried_again_while_orders_is_asked_keeps_its_hold(shop: Shop) -> None:
    order, desk = new_order(), Desk()
    product = await held_product(shop, order)
    shop.clock.forward(hours=1)

    async def try_again() -> None:
        await shop.reserve([WantedLine(product, 2)], order=order)

    desk.before_answering = try_again
    await sweep(shop, desk)
    assert await shop.stock_of(product) == (5, 2)
    await shop.check_books()


async def test_an_order_that_dies_while_it_is_asked_about_cannot_reserve_late(shop: Shop) -> None:
    order, desk = new_order(), Desk()
    product = await held_product(shop, order)
    shop.clock.forward(hours=1)
    desk.before_answering = lambda: shop.deliver(changed(order, OrderStatus.CANCELLED))
    await sweep(shop, desk)
    with pytest.raises(ReservationOver):
        await shop.reserve([WantedLine(product, 2)], order=order)
    assert await shop.stock_of(product) == (5, 0)


async def test_each_store_is_asked_about_apart_and_in_bounded_batches(shop: Shop) -> None:
    ours = await shop.add("MUG", stock=200)
    theirs = await shop.add("MUG", stock=200, token="admin@tokyo")
    await asyncio.gather(*(shop.reserve([WantedLine("MUG", 1)]) for _ in range(110)))
    await asyncio.gather(*(shop.reserve([WantedLine("MUG", 1)], tenant=TOKYO) for _ in range(10)))
    shop.clock.forward(hours=1)
    desk = Desk()
    assert [await sweep(shop, desk) for _ in range(3)] == [100, 20, 0]
    assert max(size for _, size in desk.asked) <= 100
    assert {tenant for tenant, _ in desk.asked} == {ACME, TOKYO}
    assert await shop.stock_of(ours) == (200, 0)
    assert await shop.stock_of(theirs, token="admin@tokyo") == (200, 0)
    await shop.check_books()


async def test_the_worker_outlives_its_failures(shop: Shop) -> None:
    product = await held_product(shop, new_order())
    shop.clock.forward(hours=1)
    desk = Desk()

    async def fail() -> None:
        if len(desk.asked) < 3:
            raise RuntimeError("a defect")

    desk.before_answering = fail
    worker = asyncio.create_task(shop.products.orphan_worker(desk)())

    async def is_free() -> bool:
        return await shop.stock_of(product) == (5, 0)

    await until(is_free)
    worker.cancel()
    with suppress(asyncio.CancelledError):
        await worker
    assert len(desk.asked) == 3


@SQLITE
async def test_overdue_holds_are_found_by_an_index(shop: Shop) -> None:
    plan = await shop.db.fetch_all(
        "EXPLAIN QUERY PLAN SELECT order_id FROM reservations"
        " WHERE state = 'held' AND next_check_at <= ? ORDER BY next_check_at LIMIT ?",
        (1, 1),
    )
    assert [row[3] for row in plan] == ["SEARCH reservations USING INDEX reservations_due (next_check_at<?)"]
