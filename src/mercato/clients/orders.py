"""contracts.orders.OrderDesk over HTTP."""

from collections.abc import Sequence

from mercato.clients.internal import PREFIX, Asked, Internal, store_of
from mercato.clients.neighbour import Neighbour
from mercato.contracts.orders import OrderDesk, OrderFacts
from mercato.kernel.ids import OrderId
from mercato.kernel.tenancy import TenantId
from mercato.web.call import Call

_FACTS = "/orders/facts"


class AskFacts(Asked, frozen=True):
    """Which orders are asked about."""

    order_ids: tuple[OrderId, ...]


class OrderDeskClient:
    """See contracts.orders.OrderDesk."""

    def __init__(self, orders: Neighbour) -> None:
        self._orders = orders

    async def facts(self, tenant: TenantId, order_ids: Sequence[OrderId]) -> dict[OrderId, OrderFacts]:
        """Return the facts of those of the orders that were placed. Raises Unavailable."""
        asked = AskFacts(order_ids=tuple(order_ids))
        found = await self._orders.ask(
            PREFIX + _FACTS, asked, list[OrderFacts], tenant=tenant, repeatable=True
        )
        return {facts.order_id: facts for facts in found}


def serve_orders(internal: Internal, desk: OrderDesk) -> None:
    """Declare what OrderDeskClient calls."""

    async def facts(call: Call, body: AskFacts) -> list[OrderFacts]:
        """Tell the facts of orders."""
        return list((await desk.facts(store_of(call), body.order_ids)).values())

    internal.on(_FACTS, facts)
