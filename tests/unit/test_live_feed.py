"""Who hears of which events, and what becomes of those who do not listen."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any, TypeVar

import msgspec
import pytest
from prometheus_client import CollectorRegistry

from mercato.contracts.events import Event, Payload, ordering_key
from mercato.contracts.orders import OrderCreated, OrderEvent, OrderStatus, OrderStatusChanged, StockState
from mercato.contracts.payments import PaymentMethod, PaymentStatus, PaymentSucceeded
from mercato.gateway.live.counts import Counts
from mercato.gateway.live.feed import MOST_WAITING, Feed, TooSlow
from mercato.kernel.errors import Forbidden, Unauthenticated, Unavailable
from mercato.kernel.ids import OrderId, PaymentId, UserId
from mercato.kernel.principal import Principal, Role
from mercato.kernel.tenancy import TenantId
from tests.waiting import until

AT = datetime(2026, 1, 1, tzinfo=UTC)
T = TypeVar("T")


def somebody(name: str, role: Role = Role.CUSTOMER, tenant: str = "shop", *scopes: str) -> Principal:
    return Principal(UserId(name), f"{name}@example.com", role, TenantId(tenant), frozenset(scopes))


def status_changed(
    order: str, user: str, status: str = "confirmed", tenant: str = "shop"
) -> OrderStatusChanged:
    return OrderStatusChanged(
        tenant_id=TenantId(tenant),
        order_id=OrderId(order),
        user_id=UserId(user),
        status=OrderStatus(status),
        total_amount=1000,
        currency="USD",
        previous=OrderStatus.PENDING,
        by="somebody",
    )


def created(order: str, user: str) -> OrderCreated:
    return OrderCreated(
        tenant_id=TenantId("shop"),
        order_id=OrderId(order),
        user_id=UserId(user),
        status=OrderStatus.PENDING,
        total_amount=1000,
        currency="USD",
        name=None,
        stock=StockState.RESERVED,
        hold_until=AT,
        lines=(),
    )


def paid(order: str, user: str) -> PaymentSucceeded:
    return PaymentSucceeded(
        tenant_id=TenantId("shop"),
        payment_id=PaymentId(f"payment-of-{order}"),
        order_id=OrderId(order),
        user_id=UserId(user),
        status=PaymentStatus.SUCCESS,
        method=PaymentMethod.CARD,
        amount=1000,
        refunded_amount=0,
        currency="USD",
        at=AT,
    )


def encoded(payload: Payload, kind: str = "") -> bytes:
    return msgspec.json.encode(
        Event(
            id="event",
            source="/mercato/orders",
            type=kind or payload.type,
            subject=payload.subject,
            time=AT,
            tenantid=payload.tenant_id,
            partitionkey=ordering_key(payload),
            sequence=f"{1:020}",
            data=msgspec.Raw(msgspec.json.encode(payload)),
        )
    )


class Heard:
    """A subscription that is listened to, and all that it gave."""

    def __init__(self, given: AsyncGenerator[Any, None]) -> None:
        self.given = given
        self.events: list[str] = []
        self.task = asyncio.create_task(self._listen())

    async def _listen(self) -> None:
        async for event in self.given:
            self.events.append(f"{event.order_id} {event.status}")


@pytest.fixture
def counts() -> Counts:
    return Counts(CollectorRegistry())


@pytest.fixture
def feed(counts: Counts) -> Feed:
    return Feed(counts, lambda: True)


@asynccontextmanager
async def listening(*given: AsyncGenerator[Any, None], counts: Counts) -> AsyncIterator[list[Heard]]:
    before = counts.subscribers
    heard = [Heard(each) for each in given]
    await until(lambda: counts.subscribers == before + len(heard))
    yield heard
    for each in heard:
        each.task.cancel()
    await asyncio.gather(*(each.task for each in heard), return_exceptions=True)
    assert counts.subscribers == before


async def test_a_customer_hears_of_their_own_orders_and_staff_of_the_stores(
    feed: Feed, counts: Counts
) -> None:
    async with listening(
        feed.orders(somebody("ann")),
        feed.orders(somebody("bob")),
        feed.orders(somebody("adam", Role.ADMIN)),
        feed.orders(somebody("olga", Role.OPERATOR)),
        feed.orders(somebody("till", Role.SERVICE, "shop", "orders:read")),
        feed.orders(somebody("eve", Role.ADMIN, "other")),
        feed.orders(somebody("ann", Role.CUSTOMER, "other")),
        counts=counts,
    ) as (ann, bob, adam, olga, till, eve, namesake):
        sent = [created("1", "ann"), status_changed("1", "ann"), status_changed("2", "bob")]
        await feed.hear([encoded(each) for each in sent])
        everything = ["1 pending", "1 confirmed", "2 confirmed"]
        for staff in (adam, olga, till):
            await until(lambda staff=staff: staff.events == everything)  # type: ignore[misc]
        assert ann.events == everything[:2]
        assert bob.events == everything[2:]
        assert eve.events == namesake.events == []


async def test_one_order_is_listened_to_alone_and_its_payments_too(feed: Feed, counts: Counts) -> None:
    ann = somebody("ann")
    async with listening(
        feed.orders(ann, OrderId("2")), feed.payments(ann, OrderId("2")), feed.payments(ann), counts=counts
    ) as (order, payment, payments):
        sent: list[Payload] = [
            status_changed("1", "ann"),
            paid("1", "ann"),
            paid("2", "ann"),
            status_changed("2", "ann"),
        ]
        await feed.hear([encoded(each) for each in sent])
        await until(lambda: order.events == ["2 confirmed"])
        await until(lambda: payment.events == ["2 success"])
        await until(lambda: payments.events == ["1 success", "2 success"])


async def test_somebody_elses_order_says_nothing(feed: Feed, counts: Counts) -> None:
    async with listening(
        feed.orders(somebody("ann"), OrderId("2")), feed.orders(somebody("bob")), counts=counts
    ) as (
        ann,
        bob,
    ):
        await feed.hear([encoded(status_changed("2", "bob"))])
        await until(lambda: bob.events == ["2 confirmed"])
        assert ann.events == []


def test_nobody_and_machines_without_the_scope_are_refused_at_once(feed: Feed) -> None:
    machine = somebody("till", Role.SERVICE, "shop", "orders:read")
    with pytest.raises(Unauthenticated):
        feed.orders(None)
    with pytest.raises(Forbidden, match="payments:read"):
        feed.payments(machine)
    with pytest.raises(Forbidden, match="orders:read"):
        feed.orders(somebody("till", Role.SERVICE, "shop", "orders:write"))


def test_who_cannot_hear_says_so(counts: Counts) -> None:
    with pytest.raises(Unavailable):
        Feed(counts, lambda: False).orders(somebody("ann"))


async def test_who_takes_events_too_slowly_is_dropped_and_the_others_are_not(
    feed: Feed, counts: Counts
) -> None:
    slow = feed.orders(somebody("ann"))
    async with listening(feed.orders(somebody("adam", Role.ADMIN)), counts=counts) as (adam,):
        first = asyncio.create_task(anext(slow))
        await until(lambda: counts.subscribers == 2)
        await feed.hear([encoded(status_changed("0", "ann"))])
        assert (await first).order_id == "0"
        for number in range(MOST_WAITING + 1):
            await feed.hear([encoded(status_changed(str(number), "ann"))])
            await until(lambda wanted=number + 2: len(adam.events) == wanted)  # type: ignore[misc]
        with pytest.raises(TooSlow):
            await anext(slow)
        assert counts.dropped == 1
        assert counts.subscribers == 1
        with pytest.raises(StopAsyncIteration):
            await anext(slow)


async def test_what_waits_within_the_bound_is_all_heard_in_order(feed: Feed, counts: Counts) -> None:
    slow: AsyncGenerator[OrderEvent, None] = feed.orders(somebody("ann"))
    first = asyncio.create_task(anext(slow))
    await until(lambda: counts.subscribers == 1)
    await feed.hear([encoded(status_changed(str(number), "ann")) for number in range(MOST_WAITING)])
    heard = [(await first).order_id] + [(await anext(slow)).order_id for _ in range(MOST_WAITING - 1)]
    assert heard == [str(number) for number in range(MOST_WAITING)]
    await slow.aclose()
    assert counts.subscribers == 0


async def test_bytes_that_are_no_event_and_events_of_a_later_version_disturb_nobody(
    feed: Feed, counts: Counts
) -> None:
    async with listening(feed.orders(somebody("ann")), counts=counts) as (ann,):
        broken = encoded(status_changed("1", "ann")).replace(b'"confirmed"', b'"teleported"')
        later = encoded(status_changed("1", "ann"), kind="order.praised")
        await feed.hear([b"{", b"null", b"", broken, later, encoded(status_changed("1", "ann"))])
        await until(lambda: ann.events == ["1 confirmed"])
        assert counts.events == 6
