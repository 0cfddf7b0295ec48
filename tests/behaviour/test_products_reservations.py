import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from decimal import Decimal

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mercato.clients.internal import Internal
from mercato.clients.stock import StockClient, serve_stock
from mercato.contracts.orders import OrderStatus, StockState
from mercato.contracts.products import OutOfStock, PriceChanged, Reservation, WantedLine
from mercato.kernel.errors import Conflict, ValidationFailed
from mercato.messaging.inbox import AlreadyHandled
from tests.behaviour.products_shop import TOKYO, Shop, as_event, changed, created, new_order, open_shop
from tests.conftest import OpenDatabase
from tests.reach import over_http


@pytest.fixture(params=["called directly", "over HTTP"])
async def shop(open_database: OpenDatabase, request: pytest.FixtureRequest) -> AsyncIterator[Shop]:
    """A shop whose stock is the same for a neighbour in its process and for one in another."""
    shop = open_shop(await open_database("products"))
    if request.param == "called directly":
        yield shop
        return
    internal = Internal()
    serve_stock(internal, shop.products.stock)
    async with over_http(internal, "products") as products:
        shop.products = replace(shop.products, stock=StockClient(products))
        yield shop


async def test_of_forty_reservations_of_one_item_exactly_one_holds_it(shop: Shop) -> None:
    product = await shop.add("MUG", stock=1)
    outcomes = await asyncio.gather(
        *(shop.reserve([WantedLine("MUG", 1)]) for _ in range(40)), return_exceptions=True
    )
    assert sum(isinstance(outcome, Reservation) for outcome in outcomes) == 1
    assert sum(isinstance(outcome, OutOfStock) for outcome in outcomes) == 39
    assert await shop.stock_of(product) == (1, 1)
    assert await shop.event_types() == ["stock.reserved"]
    await shop.check_books()


async def test_twenty_repeats_for_one_order_hold_once(shop: Shop) -> None:
    product = await shop.add("MUG", stock=30, price=19.99)
    order, until = new_order(), shop.clock.forward(minutes=15)
    outcomes = await asyncio.gather(
        *(shop.reserve([WantedLine(product, 2)], order=order, until=until) for _ in range(20))
    )
    assert all(outcome == outcomes[0] for outcome in outcomes)
    assert outcomes[0].expires_at == until
    assert [(line.sku, line.quantity, line.unit_price) for line in outcomes[0].lines] == [("MUG", 2, 1999)]
    assert await shop.stock_of(product) == (30, 2)
    assert await shop.event_types() == ["stock.reserved"]
    await shop.check_books()


async def test_a_repeat_returns_the_first_reservation_when_nothing_is_left(shop: Shop) -> None:
    product = await shop.add("MUG", stock=2)
    order = new_order()
    first = await shop.reserve([WantedLine(product, 2)], order=order)
    shop.clock.forward(hours=1)
    assert await shop.reserve([WantedLine(product, 2)], order=order) == first


async def test_all_lines_are_held_or_none_and_each_short_one_is_named(shop: Shop) -> None:
    plenty, few, none = await shop.add("A", stock=9), await shop.add("B", stock=3), await shop.add("C")
    with pytest.raises(OutOfStock) as refused:
        await shop.reserve([WantedLine("B", 4), WantedLine(plenty, 1), WantedLine(none, 1)])
    assert {each.field: each.message for each in refused.value.details} == {
        "items[0].quantity": "only 3 available of B",
        "items[2].quantity": "only 0 available of C",
    }
    assert [await shop.stock_of(each) for each in (plenty, few, none)] == [(9, 0), (3, 0), (0, 0)]
    assert await shop.event_types() == []


async def test_a_product_named_twice_is_held_as_one_line(shop: Shop) -> None:
    product = await shop.add("MUG", stock=5)
    held = await shop.reserve([WantedLine("MUG", 2), WantedLine(product, 2)])
    assert [line.quantity for line in held.lines] == [4]
    with pytest.raises(OutOfStock) as refused:
        await shop.reserve([WantedLine("MUG", 1), WantedLine(product, 1)])
    assert len(refused.value.details) == 2
    await shop.check_books()


async def test_crossing_orders_of_the_same_products_all_come_through(shop: Shop) -> None:
    a, b = await shop.add("A", stock=20), await shop.add("B", stock=20)
    lines = [WantedLine(a, 1), WantedLine(b, 1)]
    await asyncio.gather(*(shop.reserve(lines[:: 1 if number % 2 else -1]) for number in range(20)))
    assert await shop.stock_of(a) == await shop.stock_of(b) == (20, 20)
    await shop.check_books()


async def test_another_expected_price_is_refused_with_the_current_one(shop: Shop) -> None:
    product = await shop.add("MUG", stock=1, price=19.99)
    with pytest.raises(PriceChanged) as refused:
        await shop.reserve([WantedLine(product, 1, Decimal("18.99"))])
    assert refused.value.details[0].message == "the price is 19.99"
    await shop.reserve([WantedLine(product, 1, Decimal("19.990"))])


async def test_other_stores_products_and_currencies_are_unknown_here(shop: Shop) -> None:
    product = await shop.add("MUG", stock=5)
    for name in (product, "MUG"):
        with pytest.raises(ValidationFailed):
            await shop.reserve([WantedLine(name, 1)], tenant=TOKYO)
    with pytest.raises(ValidationFailed, match="currency"):
        await shop.reserve([WantedLine(product, 1)], currency="EUR")
    for hostile in ("", "\0", "'; DROP TABLE products", "x" * 10_000, product.upper()):
        with pytest.raises(ValidationFailed):
            await shop.reserve([WantedLine(hostile, 1)])
    for quantity in (0, -1, 10**18):
        with pytest.raises(ValidationFailed):
            await shop.reserve([WantedLine(product, quantity)])
    assert await shop.stock_of(product) == (5, 0)


async def test_two_stores_may_have_an_order_of_the_same_id(shop: Shop) -> None:
    ours, theirs = await shop.add("MUG", stock=5), await shop.add("MUG", stock=5, token="admin@tokyo")
    order = new_order()
    await shop.reserve([WantedLine("MUG", 1)], order=order)
    await shop.reserve([WantedLine("MUG", 2)], order=order, tenant=TOKYO)
    await shop.deliver(changed(order, OrderStatus.CANCELLED))
    assert await shop.stock_of(ours) == (5, 0)
    assert await shop.stock_of(theirs, token="admin@tokyo") == (5, 2)


async def test_a_confirmed_orders_stock_leaves_the_shelf(shop: Shop) -> None:
    product = await shop.add("MUG", stock=5)
    order = new_order()
    await shop.reserve([WantedLine(product, 2)], order=order)
    await shop.deliver(changed(order, OrderStatus.CONFIRMED))
    assert await shop.stock_of(product) == (3, 0)
    for status in (OrderStatus.PROCESSING, OrderStatus.SHIPPED, OrderStatus.DELIVERED):
        await shop.deliver(changed(order, status))
    assert await shop.stock_of(product) == (3, 0)
    assert await shop.event_types() == ["stock.reserved", "stock.taken"]
    await shop.check_books()


async def test_a_cancelled_orders_hold_is_released(shop: Shop) -> None:
    product = await shop.add("MUG", stock=2)
    await shop.request("GET", f"/{product}")
    order = new_order()
    await shop.reserve([WantedLine(product, 2)], order=order)
    await shop.deliver(changed(order, OrderStatus.CANCELLED))
    assert await shop.stock_of(product) == (2, 0)
    assert (await shop.request("GET", f"/{product}")).data["in_stock"] is True
    with pytest.raises(Conflict):
        await shop.reserve([WantedLine(product, 2)], order=order)
    assert await shop.event_types() == ["stock.reserved", "stock.released"]
    [reason] = await shop.db.fetch_all("SELECT reason FROM stock_movements WHERE kind = 'release'")
    assert reason == ("changed my mind",)
    await shop.check_books()


async def test_a_paid_and_cancelled_orders_stock_is_put_back(shop: Shop) -> None:
    product = await shop.add("MUG", stock=2)
    order = new_order()
    await shop.reserve([WantedLine(product, 2)], order=order)
    await shop.deliver(changed(order, OrderStatus.CONFIRMED))
    await shop.deliver(changed(order, OrderStatus.CANCELLED))
    await shop.deliver(changed(order, OrderStatus.CANCELLED))
    assert await shop.stock_of(product) == (2, 0)
    assert await shop.event_types() == ["stock.reserved", "stock.taken", "stock.released"]
    await shop.check_books()


async def test_a_repeated_event_changes_nothing(shop: Shop) -> None:
    product = await shop.add("MUG", stock=5)
    order = new_order()
    await shop.reserve([WantedLine(product, 2)], order=order)
    event, by = as_event(changed(order, OrderStatus.CONFIRMED), 1, shop.clock())
    handle = shop.products.parts.handlers[event.type]
    outcomes = await asyncio.gather(*(handle(event, by) for _ in range(20)), return_exceptions=True)
    assert sum(isinstance(outcome, AlreadyHandled) for outcome in outcomes) == 19
    assert await shop.stock_of(product) == (3, 0)
    await shop.check_books()


async def test_an_order_cancelled_before_it_reserved_cannot_reserve_late(shop: Shop) -> None:
    product = await shop.add("MUG", stock=5)
    order = new_order()
    await shop.deliver(changed(order, OrderStatus.CANCELLED))
    with pytest.raises(Conflict):
        await shop.reserve([WantedLine(product, 1)], order=order)
    assert await shop.stock_of(product) == (5, 0)
    assert await shop.event_types() == []
    await shop.check_books()


async def test_a_cancellation_racing_its_reservation_leaves_no_hold(shop: Shop) -> None:
    product = await shop.add("MUG", stock=20)
    orders = [new_order() for _ in range(20)]
    await asyncio.gather(
        *(shop.reserve([WantedLine(product, 1)], order=order) for order in orders),
        *(shop.deliver(changed(order, OrderStatus.CANCELLED)) for order in orders),
        return_exceptions=True,
    )
    assert await shop.stock_of(product) == (20, 0)
    await shop.check_books()


async def test_confirming_without_a_hold_takes_nothing(shop: Shop) -> None:
    product = await shop.add("MUG", stock=5)
    await shop.deliver(changed(new_order(), OrderStatus.CONFIRMED))
    assert await shop.stock_of(product) == (5, 0)
    assert await shop.event_types() == []


async def test_an_awaiting_order_reserves_at_its_own_prices(shop: Shop) -> None:
    product = await shop.add("MUG", stock=5, price=19.99)
    order = new_order()
    event = created(order, [(product, 2)], stock=StockState.AWAITING, at=shop.clock())
    await shop.deliver(event)
    assert await shop.stock_of(product) == (5, 2)
    assert await shop.event_types() == ["stock.reserved"]
    again = await shop.reserve([WantedLine(product, 2)], order=order)
    assert (again.lines, again.expires_at) == (event.lines, event.hold_until)
    await shop.check_books()


async def test_an_order_that_has_its_stock_reserves_nothing_more(shop: Shop) -> None:
    product = await shop.add("MUG", stock=5)
    await shop.deliver(created(new_order(), [(product, 2)], stock=StockState.RESERVED, at=shop.clock()))
    assert await shop.stock_of(product) == (5, 0)


async def test_an_awaiting_order_whose_stock_was_held_after_all_is_told_again(shop: Shop) -> None:
    product = await shop.add("MUG", stock=5)
    order = new_order()
    await shop.reserve([WantedLine(product, 2)], order=order)
    await shop.deliver(created(order, [(product, 2)], stock=StockState.AWAITING, at=shop.clock()))
    assert await shop.stock_of(product) == (5, 2)
    assert await shop.event_types() == ["stock.reserved"] * 2
    await shop.check_books()


async def test_an_awaiting_order_is_told_why_it_gets_no_stock(shop: Shop) -> None:
    few = await shop.add("FEW", stock=1)
    await shop.deliver(created(new_order(), [(few, 2)], stock=StockState.AWAITING, at=shop.clock()))
    theirs = await shop.add("MUG", stock=9, token="admin@tokyo")
    await shop.deliver(
        created(new_order(), [(few, 1), (theirs, 1)], stock=StockState.AWAITING, at=shop.clock())
    )
    told = [data["reason"] for kind, data in await shop.events() if kind == "stock.rejected"]
    assert told == ["Not enough in stock: only 1 available of FEW.", "Not in the catalogue: SKU."]
    assert await shop.stock_of(few) == (1, 0)
    await shop.check_books()


_MOVES = st.lists(
    st.tuples(
        st.sampled_from(["reserve", "confirm", "cancel", "count"]),
        st.integers(min_value=0, max_value=3),
        st.integers(min_value=0, max_value=6),
    ),
    max_size=25,
)


@given(moves=_MOVES)
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_whatever_happens_stock_is_never_oversold_and_movements_add_up(
    shop: Shop, moves: list[tuple[str, int, int]]
) -> None:
    product = await shop.add(f"SKU-{new_order()[-12:]}", stock=5)
    orders = [new_order() for _ in range(4)]
    for move, which, quantity in moves:
        order = orders[which]
        match move:
            case "reserve":
                try:
                    await shop.reserve([WantedLine(product, quantity)], order=order)
                except (Conflict, ValidationFailed):
                    continue
            case "confirm":
                await shop.deliver(changed(order, OrderStatus.CONFIRMED))
            case "cancel":
                await shop.deliver(changed(order, OrderStatus.CANCELLED))
            case _:
                await shop.request("PUT", f"/{product}/inventory", {"stock_quantity": quantity})
    on_hand, reserved = await shop.stock_of(product)
    assert on_hand >= reserved >= 0
    await shop.check_books()
