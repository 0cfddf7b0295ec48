"""Orders are read by whoever may see them, in one process and over HTTP, in one statement each time."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from datetime import timedelta

import pytest

from mercato.clients.order_reading import OrderReaderClient, serve_order_reading
from mercato.contracts.order_reading import Order, OrderReader, OrdersWanted
from mercato.contracts.orders import OrderPaymentStatus, OrderStatus
from mercato.contracts.payments import PaymentStatus
from mercato.contracts.products import WantedLine
from mercato.kernel.cause import ByCall
from mercato.kernel.errors import Forbidden, ValidationFailed
from mercato.kernel.ids import OrderId, UserId, uuid7
from mercato.kernel.paging import Window, time_key
from mercato.kernel.principal import Principal
from mercato.kernel.versions import ANY_VERSION
from mercato.orders import views
from mercato.orders.service.orders import OrderRequest
from mercato.orders.service.reading import OrderReading
from mercato.orders.stores.reading import SqlOrderReads
from mercato.web.envelope import encode
from tests.behaviour.orders_desk import Desk, open_desk, payment
from tests.behaviour.readers import (
    ADMIN,
    ANN,
    BOB,
    HERE,
    MANY_IDS,
    NO_IDS,
    RIVAL,
    THERE,
    TWIN,
    WAYS,
    Counting,
    Way,
    callers,
    reached,
    shown_otherwise,
    window,
)
from tests.conftest import OpenDatabase

ALLOWED, FORBIDDEN = callers("orders:read")
ALL = OrdersWanted()


@pytest.fixture
async def desk(open_database: OpenDatabase) -> Desk:
    desk = open_desk(await open_database("orders"))
    desk.stock.put("LAMP")
    desk.stock.shelves[THERE, "LAMP"] = desk.stock.shelves[HERE, "LAMP"]
    return desk


@pytest.fixture(params=WAYS)
async def reader(request: pytest.FixtureRequest, desk: Desk) -> AsyncIterator[OrderReader]:
    async with AsyncExitStack() as stack:
        way: Way = request.param
        yield await reached(way, desk.service.reader, "orders", serve_order_reading, OrderReaderClient, stack)


async def place(desk: Desk, who: Principal = ANN, *, quantity: int = 1) -> OrderId:
    """Place an order of somebody's, a second after the one before."""
    desk.clock.forward(seconds=1)
    wanted = OrderRequest(
        lines=(WantedLine("LAMP", quantity),), shipping_address="Here", notes="Ring.", name="Desk"
    )
    placed = await desk.service.service.place(
        who, wanted, order_id=OrderId(uuid7()), by=ByCall(who.user_id), at=desk.clock()
    )
    return placed.id


async def delete(desk: Desk, order_id: OrderId, who: Principal = ANN) -> None:
    orders, by = desk.service.service, ByCall(who.user_id)
    await orders.cancel(who, order_id, "no more", by=by, at=desk.clock())
    await orders.delete(who, order_id, expected=ANY_VERSION, by=by, at=desk.clock())


def ids(orders: tuple[Order, ...]) -> list[OrderId]:
    return [order.id for order in orders]


# Rights


async def test_a_list_has_what_its_reader_may_see(desk: Desk, reader: OrderReader) -> None:
    anns, bobs = await place(desk), await place(desk, BOB)
    for caller in ALLOWED:
        listed = await reader.page(caller.who, ALL, window())
        assert (caller.name, set(ids(listed.items))) == (caller.name, caller.of(anns, bobs))
        assert listed.total == len(listed.items)
        of_bob = await reader.page(caller.who, OrdersWanted(user_id=BOB.user_id), window())
        assert (caller.name, set(ids(of_bob.items))) == (caller.name, caller.of(anns, bobs) & {bobs})
        assert of_bob.total == len(of_bob.items)


async def test_what_its_reader_may_not_see_is_not_there(desk: Desk, reader: OrderReader) -> None:
    anns, bobs = await place(desk), await place(desk, BOB)
    for caller in ALLOWED:
        found = await reader.many(caller.who, [anns, bobs])
        assert (caller.name, set(found)) == (caller.name, caller.of(anns, bobs))
        assert {order.id for order in found.values()} == set(found)
        timelines = await reader.timelines(caller.who, [bobs, anns])
        assert (caller.name, set(timelines)) == (caller.name, caller.of(anns, bobs))


async def test_users_orders_are_told_to_those_who_may_see_them(desk: Desk, reader: OrderReader) -> None:
    anns, bobs = await place(desk), await place(desk, BOB)
    asked = {ANN.user_id, BOB.user_id}
    for caller in ALLOWED:
        found = await reader.of_users(caller.who, [*asked], 5)
        told = {order.id for orders in found.values() for order in orders}
        assert (caller.name, told) == (caller.name, caller.of(anns, bobs))
        assert set(found) == (asked if caller.who.is_staff else asked & {caller.who.user_id})


async def test_whoever_may_read_nothing_is_refused_before_anything_is_looked_up(
    desk: Desk, reader: OrderReader
) -> None:
    order_id = await place(desk)
    for caller in FORBIDDEN:
        for part in (window(), window(0), window(after="x")):
            with pytest.raises(Forbidden):
                await reader.page(caller.who, ALL, part)
        for sought in ([order_id], [], NO_IDS, MANY_IDS):
            for reading in (
                reader.many(caller.who, sought),
                reader.timelines(caller.who, sought),
                reader.of_users(caller.who, sought, 0),
            ):
                with pytest.raises(Forbidden):
                    await reading


async def test_two_users_of_one_id_each_have_the_orders_of_their_own_store(
    desk: Desk, reader: OrderReader
) -> None:
    here, there = await place(desk), await place(desk, TWIN)

    assert set(await reader.many(TWIN, [here, there])) == {there}
    assert ids((await reader.of_users(RIVAL, [ANN.user_id], 5))[ANN.user_id]) == [there]
    assert ids((await reader.page(ANN, ALL, window())).items) == [here]


async def test_staff_has_orders_of_its_own_too(desk: Desk, reader: OrderReader) -> None:
    await place(desk)
    own = await place(desk, ADMIN)

    listed = await reader.page(ADMIN, OrdersWanted(user_id=ADMIN.user_id), window())

    assert ids(listed.items) == [own]


# What is read


async def test_an_order_is_read_as_rest_shows_it(desk: Desk, reader: OrderReader) -> None:
    order_id = await place(desk, quantity=3)
    await desk.hear(payment(order_id, PaymentStatus.FAILED, desk.clock()))
    await desk.hear(payment(order_id, PaymentStatus.SUCCESS, desk.clock()))

    read = (await reader.many(ANN, [order_id]))[order_id]

    kept = await desk.order(order_id)
    shown = encode(views.view(kept))
    assert shown_otherwise(read, shown) == {"total_amount"}
    assert (read.total_amount, read.currency, read.lines) == (3_000, "USD", kept.lines)
    assert (read.status, read.payment_status) == (OrderStatus.CONFIRMED, OrderPaymentStatus.PAID)
    assert (await reader.timelines(ANN, [order_id]))[order_id] == kept.timeline
    assert (await reader.page(ANN, ALL, window())).items == (read,)
    assert (await reader.of_users(ANN, [ANN.user_id], 1))[ANN.user_id] == (read,)


async def test_a_change_is_read_at_once(desk: Desk, reader: OrderReader) -> None:
    order_id = await place(desk)
    await reader.many(ANN, [order_id])
    await desk.service.service.cancel(ANN, order_id, "no more", by=ByCall(ANN.user_id), at=desk.clock())

    order = (await reader.many(ANN, [order_id]))[order_id]

    assert (order.status, order.cancel_reason, order.version) == (OrderStatus.CANCELLED, "no more", 2)


async def test_a_deleted_order_is_not_there(desk: Desk, reader: OrderReader) -> None:
    kept, gone = await place(desk), await place(desk)
    await delete(desk, gone)

    assert set(await reader.many(ADMIN, [kept, gone])) == {kept}
    assert set(await reader.timelines(ADMIN, [kept, gone])) == {kept}
    assert ids((await reader.of_users(ADMIN, [ANN.user_id], 5))[ANN.user_id]) == [kept]
    listed = await reader.page(ADMIN, ALL, window())
    assert (ids(listed.items), listed.total) == ([kept], 1)


async def test_what_cannot_be_an_id_finds_nothing(desk: Desk, reader: OrderReader) -> None:
    order_id = await place(desk)

    assert set(await reader.many(ADMIN, [*NO_IDS, order_id, order_id])) == {order_id}
    assert set(await reader.timelines(ADMIN, [*NO_IDS, uuid7()])) == set()
    assert await reader.of_users(ADMIN, NO_IDS, 5) == {}
    assert await reader.many(ADMIN, []) == {}


# Lists


async def test_a_list_goes_on_where_it_ended_whatever_is_placed_meanwhile(
    desk: Desk, reader: OrderReader
) -> None:
    placed = [await place(desk) for _ in range(3)]
    # Of one moment, so that the ids decide.
    placed += [await placed_now(desk) for _ in range(4)]
    walked: list[OrderId] = []
    after: str | None = None
    while True:
        part = await reader.page(ADMIN, ALL, window(2, after=after, counted=False))
        walked += ids(part.items)
        assert part.total is None
        after = part.end
        if not part.has_more:
            break
        await place(desk)

    assert walked == placed[::-1]


async def placed_now(desk: Desk) -> OrderId:
    desk.clock.forward(seconds=-1)
    return await place(desk)


async def test_a_list_by_offset_says_how_many_there_are(desk: Desk, reader: OrderReader) -> None:
    placed = [await place(desk) for _ in range(5)]

    first = await reader.page(ADMIN, ALL, window(2))
    last = await reader.page(ADMIN, ALL, window(2, 4))
    beyond = await reader.page(ADMIN, ALL, window(2, 7))

    assert (ids(first.items), first.total, first.has_more) == (placed[:2:-1], 5, True)
    assert (ids(last.items), last.total, last.has_more) == (placed[:1], 5, False)
    assert (beyond.items, beyond.total, beyond.has_more, beyond.end) == ((), 5, False, None)
    assert last.end == time_key(last.items[0].created_at, placed[0])
    followed = await reader.page(ADMIN, ALL, window(2, after=first.end))
    assert (ids(followed.items), followed.total) == (placed[2:0:-1], 5)


async def test_a_list_is_of_a_status_and_of_a_time(desk: Desk, reader: OrderReader) -> None:
    first, second = await place(desk), await place(desk, BOB)
    begin = desk.clock()
    third = await place(desk)
    await desk.hear(payment(second, PaymentStatus.SUCCESS, desk.clock()))

    async def listed(who: Principal, **wanted: object) -> list[OrderId]:
        return ids((await reader.page(who, OrdersWanted(**wanted), window())).items)  # type: ignore[arg-type]  # each test's own

    assert await listed(ADMIN, status=OrderStatus.CONFIRMED) == [second]
    assert await listed(ANN, status=OrderStatus.CONFIRMED) == []
    assert await listed(ADMIN, since=begin) == [third, second]
    assert await listed(ADMIN, before=begin) == [first]
    assert await listed(ADMIN, since=begin, before=begin + timedelta(seconds=1)) == [second]
    assert await listed(ANN, since=begin, user_id=ANN.user_id) == [third]


async def test_each_user_has_their_latest_orders_first(desk: Desk, reader: OrderReader) -> None:
    anns, bobs = list[OrderId](), list[OrderId]()
    for _ in range(4):
        anns.append(await place(desk))
        bobs.append(await place(desk, BOB))
    bobs.append(await placed_now(desk))
    stranger = UserId(uuid7())

    found = await reader.of_users(ADMIN, [BOB.user_id, ANN.user_id, stranger, ANN.user_id], 3)

    assert {user: ids(orders) for user, orders in found.items()} == {
        ANN.user_id: [bobs[-1], *anns[:1:-1]],
        BOB.user_id: bobs[3:0:-1],
        stranger: [],
    }


@pytest.mark.parametrize("bad", [window(0), window(101), window(-1), window(1, -1), window(1, 10**8)])
async def test_a_part_out_of_bounds_is_refused(reader: OrderReader, bad: Window) -> None:
    with pytest.raises(ValidationFailed):
        await reader.page(ADMIN, ALL, bad)


@pytest.mark.parametrize(
    "after", ["", "x", "1", f"1.{'x' * 36}", f"{10**30}.01939e2f-5a00-7c4b-9f3e-2b1d8c6a4e70", "\0"]
)
async def test_what_ended_no_list_is_refused(reader: OrderReader, after: str) -> None:
    with pytest.raises(ValidationFailed) as refused:
        await reader.page(ADMIN, ALL, window(after=after))
    assert refused.value.details[0].field.endswith("after")


async def test_too_much_at_once_is_refused(reader: OrderReader) -> None:
    assert await reader.many(ADMIN, MANY_IDS[1:]) == {}
    for reading in (
        reader.many(ADMIN, MANY_IDS),
        reader.timelines(ADMIN, MANY_IDS),
        reader.of_users(ADMIN, MANY_IDS, 1),
        reader.of_users(ADMIN, MANY_IDS[1:], 6),
        reader.of_users(ADMIN, MANY_IDS[:1], 101),
        reader.of_users(ADMIN, MANY_IDS[:1], 0),
        reader.page(ADMIN, OrdersWanted(user_id="ann"), window()),
    ):
        with pytest.raises(ValidationFailed):
            await reading


# Cost


async def test_each_reading_is_one_statement_however_much_is_read(desk: Desk) -> None:
    placed = [await place(desk, who) for who in (ANN, BOB) for _ in range(6)]
    counting = Counting(desk.db)
    reader = OrderReading(SqlOrderReads(counting))  # type: ignore[arg-type]  # it reads, and no more

    async def read(reading: object) -> int:
        counting.statements.clear()
        await reading  # type: ignore[misc]  # a coroutine of each reader's own
        return len(counting.statements)

    assert await read(reader.many(ADMIN, placed)) == 1
    assert await read(reader.timelines(ADMIN, placed)) == 1
    assert await read(reader.of_users(ADMIN, [ANN.user_id, BOB.user_id], 50)) == 1
    assert await read(reader.page(ADMIN, ALL, window(10, counted=False))) == 1
    # All of it is on the page, so nothing is left to count.
    assert await read(reader.page(ADMIN, ALL, window(20))) == 1
    assert await read(reader.page(ADMIN, ALL, window(10))) == 2
    assert await read(reader.many(ADMIN, NO_IDS)) == 0
    assert await read(reader.of_users(ANN, [BOB.user_id], 1)) == 0
    assert counting.stores == {HERE}
