"""contracts.order_reading.OrderReader over HTTP."""

from collections.abc import Sequence

from mercato.clients.internal import PREFIX, Internal
from mercato.clients.neighbour import Neighbour
from mercato.clients.reading import AskedFor, AskMany, caller_of, reader, told
from mercato.contracts.order_reading import Order, OrderReader, OrdersWanted, TimelineEntry
from mercato.contracts.reading import Listed
from mercato.kernel.ids import OrderId, UserId
from mercato.kernel.paging import Window
from mercato.kernel.principal import Principal
from mercato.web.call import Call

_PAGE, _MANY = "/read/orders/page", "/read/orders/many"
_OF_USERS, _TIMELINES = "/read/orders/of-users", "/read/orders/timelines"


class AskOrders(AskedFor, frozen=True, kw_only=True):
    """Which part of which list is asked for."""

    wanted: OrdersWanted
    window: Window


class AskOfUsers(AskMany, frozen=True, kw_only=True):
    """Of which users, and how many of each."""

    limit: int


class OrderReaderClient:
    """See contracts.order_reading.OrderReader."""

    def __init__(self, orders: Neighbour) -> None:
        self._orders = orders

    async def page(self, caller: Principal, wanted: OrdersWanted, window: Window) -> Listed[Order]:
        """Return a part of a list, latest first."""
        asked = AskOrders(reader=reader(caller), wanted=wanted, window=window)
        return await self._orders.ask(
            PREFIX + _PAGE, asked, Listed[Order], tenant=caller.tenant, repeatable=True
        )

    async def many(self, caller: Principal, order_ids: Sequence[str]) -> dict[OrderId, Order]:
        """Return those of the orders that the caller may see."""
        asked = AskMany(reader=reader(caller), ids=told(order_ids))
        found = await self._orders.ask(
            PREFIX + _MANY, asked, list[Order], tenant=caller.tenant, repeatable=True
        )
        return {order.id: order for order in found}

    async def of_users(
        self, caller: Principal, user_ids: Sequence[str], limit: int
    ) -> dict[UserId, tuple[Order, ...]]:
        """Return each user's latest orders, latest first."""
        asked = AskOfUsers(reader=reader(caller), ids=told(user_ids), limit=limit)
        kind = dict[UserId, tuple[Order, ...]]
        return await self._orders.ask(PREFIX + _OF_USERS, asked, kind, tenant=caller.tenant, repeatable=True)

    async def timelines(
        self, caller: Principal, order_ids: Sequence[str]
    ) -> dict[OrderId, tuple[TimelineEntry, ...]]:
        """Return what happened to those of the orders that the caller may see."""
        asked = AskMany(reader=reader(caller), ids=told(order_ids))
        kind = dict[OrderId, tuple[TimelineEntry, ...]]
        return await self._orders.ask(PREFIX + _TIMELINES, asked, kind, tenant=caller.tenant, repeatable=True)


def serve_order_reading(internal: Internal, orders: OrderReader) -> None:
    """Declare what OrderReaderClient calls."""

    async def page(call: Call, body: AskOrders) -> Listed[Order]:
        """Read a part of a list."""
        return await orders.page(caller_of(call, body), body.wanted, body.window)

    async def many(call: Call, body: AskMany) -> list[Order]:
        """Read orders."""
        return list((await orders.many(caller_of(call, body), body.ids)).values())

    async def of_users(call: Call, body: AskOfUsers) -> dict[UserId, tuple[Order, ...]]:
        """Read users' latest orders."""
        return await orders.of_users(caller_of(call, body), body.ids, body.limit)

    async def timelines(call: Call, body: AskMany) -> dict[OrderId, tuple[TimelineEntry, ...]]:
        """Read what happened to orders."""
        return await orders.timelines(caller_of(call, body), body.ids)

    internal.on(_PAGE, page)
    internal.on(_MANY, many)
    internal.on(_OF_USERS, of_users)
    internal.on(_TIMELINES, timelines)
