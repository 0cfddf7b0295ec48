"""What services are to each other is the same in one process and over HTTP."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Literal

import pytest

from mercato.adapters.identity.revocations import Cut
from mercato.adapters.sql.outbox import SqlOutbox
from mercato.clients.cuts import CutsFollower, ReadCuts, cuts_of, serve_cuts
from mercato.clients.internal import Internal
from mercato.clients.orders import OrderDeskClient, serve_orders
from mercato.clients.outbox import ask_resend, serve_outbox
from mercato.clients.people import PeopleClient, serve_people
from mercato.clients.quotas import QuotasClient, serve_quotas
from mercato.clients.stores import StoreDirectoryClient, serve_stores
from mercato.contracts.orders import OrderDesk, OrderStatus, StockState
from mercato.contracts.stores import Store, StoreDirectory
from mercato.contracts.users import LinkAction, People, Recipient
from mercato.kernel.ids import OrderId, UserId, uuid7
from mercato.kernel.principal import Role
from mercato.kernel.tenancy import DEFAULT_TENANT, StoreStatus, TenantId
from mercato.web.limits import QuotaStore
from tests.behaviour.orders_desk import Desk, open_desk
from tests.behaviour.users_platform import Platform, start
from tests.conftest import OpenDatabase
from tests.reach import over_http

Way = Literal["called directly", "over HTTP"]
NEAR: Way = "called directly"
FAR: Way = "over HTTP"


@pytest.fixture(params=[NEAR, FAR])
def way(request: pytest.FixtureRequest) -> Way:
    """How the service is reached."""
    chosen: Way = request.param
    return chosen


@pytest.fixture
async def reaching() -> AsyncIterator[AsyncExitStack]:
    async with AsyncExitStack() as stack:
        yield stack


# Orders


@pytest.fixture
async def shop(open_database: OpenDatabase) -> Desk:
    opened = open_desk(await open_database("orders"))
    opened.stock.put("LAMP")
    return opened


@pytest.fixture
async def desk(shop: Desk, way: Way, reaching: AsyncExitStack) -> OrderDesk:
    if way == NEAR:
        return shop.service.desk
    internal = Internal()
    serve_orders(internal, shop.service.desk)
    return OrderDeskClient(await reaching.enter_async_context(over_http(internal, "orders")))


async def test_orders_tells_the_facts_of_what_was_placed_and_of_nothing_else(
    shop: Desk, desk: OrderDesk
) -> None:
    first, second, never = await shop.placed(), await shop.placed(), OrderId(uuid7())

    facts = await desk.facts(DEFAULT_TENANT, [first, never, second])

    assert set(facts) == {first, second}
    assert facts[first].status is OrderStatus.PENDING
    assert facts[first].stock is StockState.RESERVED
    assert (facts[first].total_amount, facts[first].currency) == (1_000, "USD")


async def test_orders_tells_another_store_nothing(shop: Desk, desk: OrderDesk) -> None:
    order = await shop.placed()

    assert await desk.facts(TenantId("other"), [order]) == {}


async def test_orders_tells_nothing_when_nothing_is_asked(desk: OrderDesk) -> None:
    assert await desk.facts(DEFAULT_TENANT, []) == {}


async def test_an_order_that_was_cancelled_a_moment_ago_is_told_so(shop: Desk, desk: OrderDesk) -> None:
    order = await shop.placed()
    await desk.facts(DEFAULT_TENANT, [order])
    assert (await shop.call("POST", f"/{order}/cancel", {})).status == 200

    assert (await desk.facts(DEFAULT_TENANT, [order]))[order].status is OrderStatus.CANCELLED


# Stores and the rest of users


@pytest.fixture
async def users(open_database: OpenDatabase, tmp_path: Path) -> Platform:
    return await start(await open_database("users"), tmp_path)


@pytest.fixture
async def directory(users: Platform, way: Way, reaching: AsyncExitStack) -> StoreDirectory:
    if way == NEAR:
        return users.service.directory
    internal = Internal()
    serve_stores(internal, users.service.directory)
    neighbour = await reaching.enter_async_context(over_http(internal, "users"))
    return StoreDirectoryClient(neighbour, clock=lambda: users.clock().timestamp())


async def test_a_store_is_found_as_it_is(users: Platform, directory: StoreDirectory) -> None:
    await users.onboard("tea")

    found = await directory.find(TenantId("tea"))

    assert isinstance(found, Store)
    assert (found.id, found.currency, found.status) == ("tea", "USD", StoreStatus.ACTIVE)


async def test_a_store_that_opens_is_found_at_once_and_one_that_is_not_there_never(
    users: Platform, directory: StoreDirectory
) -> None:
    assert await directory.find(TenantId("tea")) is None
    await users.onboard("tea")
    assert await directory.find(TenantId("tea")) is not None
    assert await directory.find(TenantId("../tea")) is None


async def test_a_suspended_store_is_known_to_be_after_a_second(
    users: Platform, directory: StoreDirectory
) -> None:
    await users.onboard("tea")
    await directory.find(TenantId("tea"))
    operator = await users.operator()
    changed = await users.send(
        "PATCH",
        "/api/v1/tenants/tea",
        {"status": "suspended"},
        headers={"Authorization": f"Bearer {operator}"},
    )
    assert changed.status == 200
    users.clock.forward(seconds=1.1)

    found = await directory.find(TenantId("tea"))

    assert found is not None
    assert found.status is StoreStatus.SUSPENDED


async def test_twenty_who_ask_for_one_store_get_the_same(users: Platform, directory: StoreDirectory) -> None:
    found = await asyncio.gather(*(directory.find(DEFAULT_TENANT) for _ in range(20)))

    assert len(set(found)) == 1


@pytest.fixture
async def quotas(users: Platform, way: Way, reaching: AsyncExitStack) -> QuotaStore:
    if way == NEAR:
        return users.service.quotas
    internal = Internal()
    serve_quotas(internal, users.service.quotas)
    return QuotasClient(await reaching.enter_async_context(over_http(internal, "users")))


async def test_quotas_are_kept_by_day_and_never_become_less(quotas: QuotaStore) -> None:
    today, tea = date(2026, 11, 25), TenantId("tea")
    await quotas.save(today, {tea: 7, DEFAULT_TENANT: 1})
    await quotas.save(today, {tea: 5})

    assert await quotas.load(today) == {tea: 7, DEFAULT_TENANT: 1}
    assert await quotas.load(today + timedelta(days=1)) == {}


async def test_a_user_who_is_deleted_is_refused_by_a_service_that_follows_the_cuts(
    users: Platform, way: Way, reaching: AsyncExitStack
) -> None:
    read: ReadCuts = users.service.cuts.since
    if way == FAR:
        internal = Internal()
        serve_cuts(internal, users.service.cuts.since)
        read = cuts_of(await reaching.enter_async_context(over_http(internal, "users")))
    heard: dict[str, str] = {}
    follower = CutsFollower(read, lambda subject, cut, _: heard.update({subject: cut}))
    await follower.take_up()
    assert heard == {}
    ada = (await users.register())["user"]["id"]
    operator = {"Authorization": f"Bearer {await users.operator()}"}
    assert (await users.send("DELETE", f"/api/v1/users/{ada}", headers=operator)).status in {200, 204}

    await follower.take_up()

    assert heard[ada] > uuid7()[:8]


async def test_however_many_were_cut_at_once_all_of_them_are_heard_of() -> None:
    end = datetime(2026, 11, 25, tzinfo=UTC)
    cuts: list[Cut] = [Cut(f"user-{n}", f"{n:04}", end + timedelta(seconds=n // 700)) for n in range(2_500)]

    async def read(after: datetime, limit: int) -> list[Cut]:
        later = [cut for cut in cuts if cut[2] > after]
        last = later[limit - 1][2] if len(later) >= limit else None
        return later if last is None else [cut for cut in later if cut[2] <= last]

    heard: set[str] = set()
    await CutsFollower(read, lambda subject, *_: heard.add(subject)).take_up()

    assert len(heard) == 2_500


class Phonebook:
    """A People of one user in one store."""

    ann = Recipient(UserId("ann"), "ann@example.com", "Ann", "A", Role.CUSTOMER, is_active=True)

    async def recipient(self, tenant: TenantId, user_id: UserId) -> Recipient | None:
        return self.ann if (tenant, user_id) == (DEFAULT_TENANT, "ann") else None

    async def link(self, tenant: TenantId, user_id: UserId, action: LinkAction) -> str | None:
        return f"https://shop/{action}" if (tenant, user_id) == (DEFAULT_TENANT, "ann") else None


async def test_whom_to_write_to_is_told_for_the_store_that_asks(way: Way, reaching: AsyncExitStack) -> None:
    people: People = Phonebook()
    if way == FAR:
        internal = Internal()
        serve_people(internal, Phonebook())
        people = PeopleClient(await reaching.enter_async_context(over_http(internal, "users")))

    assert await people.recipient(DEFAULT_TENANT, UserId("ann")) == Phonebook.ann
    assert await people.recipient(TenantId("other"), UserId("ann")) is None
    assert await people.link(DEFAULT_TENANT, UserId("ann"), "verify-email") == "https://shop/verify-email"
    assert await people.link(DEFAULT_TENANT, UserId("bob"), "verify-email") is None


# Events


async def test_missed_events_are_sent_again_and_it_is_told_how_many(
    shop: Desk, way: Way, reaching: AsyncExitStack
) -> None:
    order = await shop.placed()
    outbox = SqlOutbox(shop.db)
    key = f"{DEFAULT_TENANT}/order/{order}"
    await outbox.mark_sent([each.position for each in await outbox.unsent(10)], at=shop.clock())
    assert await outbox.unsent(10) == []

    if way == FAR:

        async def resend(of: str, after: int, before: int) -> int:
            return await outbox.resend(of, after=after, before=before)

        internal = Internal()
        serve_outbox(internal, resend)
        sender = await reaching.enter_async_context(over_http(internal, "orders"))
        assert await ask_resend(sender, key, 0, 9) == 1
        assert await ask_resend(sender, "other/order/x", 0, 9) == 0
    else:
        assert await outbox.resend(key, after=0, before=9) == 1

    assert [message.type for message in await outbox.unsent(10)] == ["order.created"]
