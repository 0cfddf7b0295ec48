"""Payments are read by whoever may see them, in one process and over HTTP, in one statement each time."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from decimal import Decimal
from pathlib import Path

import pytest

from mercato.clients.payment_reading import PaymentReaderClient, serve_payment_reading
from mercato.contracts.orders import OrderFacts, OrderStatus, StockState
from mercato.contracts.payment_reading import Payment, PaymentReader, PaymentsWanted
from mercato.contracts.payments import PaymentMethod, PaymentStatus
from mercato.kernel.cause import ByCall
from mercato.kernel.errors import Forbidden, ValidationFailed
from mercato.kernel.ids import OrderId, PaymentId, uuid7
from mercato.kernel.principal import Principal
from mercato.payments import views
from mercato.payments.service.payments import PaymentRequest
from mercato.payments.service.reading import PaymentReading
from mercato.payments.stores.reading import SqlPaymentReads
from mercato.web.envelope import encode
from tests.behaviour.payments_till import Till, open_till
from tests.behaviour.readers import (
    ADMIN,
    ANN,
    BOB,
    HERE,
    MANY_IDS,
    NO_IDS,
    RIVAL,
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

ALLOWED, FORBIDDEN = callers("payments:read")
ALL = PaymentsWanted()


@pytest.fixture
async def till(open_database: OpenDatabase, tmp_path: Path) -> AsyncIterator[Till]:
    async with open_till(open_database, tmp_path) as opened:
        yield opened


@pytest.fixture(params=WAYS)
async def reader(request: pytest.FixtureRequest, till: Till) -> AsyncIterator[PaymentReader]:
    async with AsyncExitStack() as stack:
        way: Way = request.param
        yield await reached(
            way, till.service.reader, "payments", serve_payment_reading, PaymentReaderClient, stack
        )


async def open_payment(
    till: Till, who: Principal = ANN, order_id: OrderId | None = None, *, token: str | None = None
) -> Payment:
    """Open a payment of somebody's, a second after the one before. Its order is a new one unless named."""
    till.clock.forward(seconds=1)
    order_id = order_id or OrderId(uuid7())
    facts = OrderFacts(order_id, who.user_id, OrderStatus.PENDING, StockState.RESERVED, 2_000, "USD")
    till.orders.known[who.tenant, order_id] = facts
    wanted = PaymentRequest(order_id=order_id, method=PaymentMethod.CARD, token=token, description="By card.")
    payment_id, by = PaymentId(uuid7()), ByCall(who.user_id)
    made = await till.service.service.open(who, wanted, payment_id=payment_id, by=by, at=till.clock())
    return (await till.service.reader.many(who, [made.id]))[made.id]


async def process(till: Till, payment: Payment, who: Principal = ANN) -> None:
    by = ByCall(who.user_id)
    await till.service.service.process(who, payment.id, part=by, final=by, at=till.clock())


# Rights


async def test_a_list_has_what_its_reader_may_see(till: Till, reader: PaymentReader) -> None:
    anns, bobs = (await open_payment(till)).id, (await open_payment(till, BOB)).id
    for caller in ALLOWED:
        listed = await reader.page(caller.who, ALL, window())
        assert (caller.name, {each.id for each in listed.items}) == (caller.name, caller.of(anns, bobs))
        assert listed.total == len(listed.items)
        of_bob = await reader.page(caller.who, PaymentsWanted(user_id=BOB.user_id), window())
        seen = caller.of(anns, bobs) & {bobs}
        assert (caller.name, {each.id for each in of_bob.items}) == (caller.name, seen)
        assert of_bob.total == len(of_bob.items)


async def test_what_its_reader_may_not_see_is_not_there(till: Till, reader: PaymentReader) -> None:
    anns, bobs = await open_payment(till), await open_payment(till, BOB)
    for caller in ALLOWED:
        found = await reader.many(caller.who, [anns.id, bobs.id])
        assert (caller.name, set(found)) == (caller.name, caller.of(anns.id, bobs.id))
        latest = await reader.latest_of_orders(caller.who, [anns.order_id, bobs.order_id])
        assert (caller.name, set(latest)) == (caller.name, caller.of(anns.order_id, bobs.order_id))
        assert [each.order_id for each in latest.values()] == [*latest]


async def test_whoever_may_read_nothing_is_refused_before_anything_is_looked_up(
    till: Till, reader: PaymentReader
) -> None:
    payment = await open_payment(till)
    for caller in FORBIDDEN:
        for part in (window(), window(0), window(after="x")):
            with pytest.raises(Forbidden):
                await reader.page(caller.who, ALL, part)
        for sought in ([payment.id, payment.order_id], [], NO_IDS, MANY_IDS):
            for reading in (reader.many(caller.who, sought), reader.latest_of_orders(caller.who, sought)):
                with pytest.raises(Forbidden):
                    await reading


async def test_two_users_of_one_id_each_have_the_payments_of_their_own_store(
    till: Till, reader: PaymentReader
) -> None:
    here, there = await open_payment(till), await open_payment(till, TWIN)

    assert await reader.many(TWIN, [here.id, there.id]) == {there.id: there}
    assert await reader.latest_of_orders(RIVAL, [here.order_id, there.order_id]) == {there.order_id: there}
    assert (await reader.page(ANN, ALL, window())).items == (here,)


async def test_staff_has_payments_of_its_own_too(till: Till, reader: PaymentReader) -> None:
    await open_payment(till)
    own = await open_payment(till, ADMIN)

    assert (await reader.page(ADMIN, PaymentsWanted(user_id=ADMIN.user_id), window())).items == (own,)


# What is read


async def test_a_payment_is_read_as_rest_shows_it_and_never_its_token(
    till: Till, reader: PaymentReader
) -> None:
    opened = await open_payment(till, token="tok_visa")
    await process(till, opened)
    for refund_id, amount in ((uuid7(), "5"), (uuid7(), "2.5")):
        await till.service.service.refund(
            ADMIN,
            opened.id,
            Decimal(amount),
            reason="broken",
            refund_id=refund_id,
            by=ByCall(ADMIN.user_id),
            at=till.clock(),
        )

    read = (await reader.many(ANN, [opened.id]))[opened.id]

    kept = await till.service.service.get(ANN, opened.id)
    assert shown_otherwise(read, encode(views.view(kept))) == {"amount", "refunded_amount", "refunds"}
    assert (read.amount, read.refunded_amount, read.currency) == (2_000, 750, "USD")
    assert [(each.id, each.amount, each.status, each.reason) for each in read.refunds] == [
        (each.id, each.amount, each.status, each.reason) for each in kept.refunds
    ]
    assert (read.status, read.provider) == (PaymentStatus.PARTIALLY_REFUNDED, "sandbox")
    assert read.paid_at == kept.paid_at is not None
    assert (await reader.latest_of_orders(ANN, [read.order_id])) == {read.order_id: read}
    assert (await reader.page(ANN, ALL, window())).items == (read,)


async def test_of_an_order_s_payments_the_latest_is_read(till: Till, reader: PaymentReader) -> None:
    opened = [await open_payment(till, token="tok_declined") for _ in range(3)]
    for payment in opened:
        await process(till, payment)
    again = [await open_payment(till, order_id=each.order_id, token="tok_declined") for each in opened[:2]]
    await process(till, again[0])
    last = await open_payment(till, order_id=opened[0].order_id)

    found = await reader.latest_of_orders(ADMIN, [each.order_id for each in opened] * 2 + [uuid7()])

    assert {order: payment.id for order, payment in found.items()} == {
        opened[0].order_id: last.id,
        opened[1].order_id: again[1].id,
        opened[2].order_id: opened[2].id,
    }
    for order_id, payment in found.items():
        assert payment.id == (await till.service.service.latest_of(ADMIN, order_id)).id
    assert found[opened[2].order_id].failure_reason is not None


async def test_what_cannot_be_an_id_finds_nothing(till: Till, reader: PaymentReader) -> None:
    payment = await open_payment(till)

    assert await reader.many(ADMIN, [*NO_IDS, payment.id, payment.id]) == {payment.id: payment}
    assert await reader.latest_of_orders(ADMIN, [*NO_IDS, payment.id]) == {}
    assert await reader.many(ADMIN, []) == {}
    for wanted in (PaymentsWanted(order_id="x"), PaymentsWanted(user_id="x")):
        assert (await reader.page(ADMIN, wanted, window())).items == ()


# Lists


async def test_a_list_goes_on_where_it_ended_whatever_is_opened_meanwhile(
    till: Till, reader: PaymentReader
) -> None:
    opened = [await open_payment(till) for _ in range(3)]
    for _ in range(4):
        # Of one moment, so that the ids decide.
        till.clock.forward(seconds=-1)
        opened.append(await open_payment(till))
    walked: list[Payment] = []
    after: str | None = None
    while True:
        part = await reader.page(ADMIN, ALL, window(2, after=after, counted=False))
        walked += part.items
        assert part.total is None
        after = part.end
        if not part.has_more:
            break
        await open_payment(till)

    assert walked == opened[::-1]


async def test_a_list_by_offset_says_how_many_there_are(till: Till, reader: PaymentReader) -> None:
    opened = [await open_payment(till) for _ in range(5)]

    first = await reader.page(ADMIN, ALL, window(2))
    last = await reader.page(ADMIN, ALL, window(2, 4))
    beyond = await reader.page(ADMIN, ALL, window(2, 7))

    assert (first.items, first.total, first.has_more) == (tuple(opened[:2:-1]), 5, True)
    assert (last.items, last.total, last.has_more) == (tuple(opened[:1]), 5, False)
    assert (beyond.items, beyond.total, beyond.has_more, beyond.end) == ((), 5, False, None)


async def test_a_list_is_of_a_status_and_of_an_order(till: Till, reader: PaymentReader) -> None:
    anns, bobs = await open_payment(till), await open_payment(till, BOB)
    await process(till, bobs, BOB)

    async def listed(who: Principal, wanted: PaymentsWanted) -> list[PaymentId]:
        return [each.id for each in (await reader.page(who, wanted, window())).items]

    assert await listed(ADMIN, PaymentsWanted(status=PaymentStatus.SUCCESS)) == [bobs.id]
    assert await listed(ANN, PaymentsWanted(status=PaymentStatus.SUCCESS)) == []
    assert await listed(ADMIN, PaymentsWanted(order_id=anns.order_id)) == [anns.id]
    assert await listed(BOB, PaymentsWanted(order_id=anns.order_id)) == []
    both = PaymentsWanted(order_id=bobs.order_id, status=PaymentStatus.SUCCESS, user_id=BOB.user_id)
    assert await listed(ADMIN, both) == [bobs.id]


async def test_what_is_out_of_bounds_is_refused(reader: PaymentReader) -> None:
    assert await reader.many(ADMIN, MANY_IDS[1:]) == {}
    for reading in (
        reader.many(ADMIN, MANY_IDS),
        reader.latest_of_orders(ADMIN, MANY_IDS),
        reader.page(ADMIN, ALL, window(0)),
        reader.page(ADMIN, ALL, window(101)),
        reader.page(ADMIN, ALL, window(1, -1)),
        reader.page(ADMIN, ALL, window(after="x")),
    ):
        with pytest.raises(ValidationFailed):
            await reading


# Cost


async def test_each_reading_is_one_statement_however_much_is_read(till: Till) -> None:
    opened = [await open_payment(till) for _ in range(12)]
    counting = Counting(till.db)
    reader = PaymentReading(SqlPaymentReads(counting))  # type: ignore[arg-type]  # it reads, and no more

    assert len(await reader.many(ADMIN, [each.id for each in opened])) == 12
    assert len(await reader.latest_of_orders(ADMIN, [each.order_id for each in opened])) == 12
    assert len((await reader.page(ADMIN, ALL, window(10, counted=False))).items) == 10
    # All of it is on the page, so nothing is left to count.
    assert (await reader.page(ADMIN, ALL, window(20))).total == 12
    assert len(counting.statements) == 4
    assert counting.stores == {HERE}
