"""contracts.products.Stock over HTTP."""

from collections.abc import Sequence
from datetime import datetime

from mercato.clients.internal import PREFIX, Asked, Internal, store_of
from mercato.clients.neighbour import Neighbour
from mercato.contracts.products import Reservation, Stock, WantedLine
from mercato.kernel.ids import OrderId
from mercato.kernel.tenancy import TenantId
from mercato.web.call import Call

_RESERVE = "/stock/reserve"


class Reserve(Asked, frozen=True):
    """What is to be held, for which order, until when."""

    order_id: OrderId
    lines: tuple[WantedLine, ...]
    currency: str | None
    until: datetime
    by: str
    at: datetime


class StockClient:
    """See contracts.products.Stock."""

    def __init__(self, products: Neighbour) -> None:
        self._products = products

    async def reserve(  # noqa: PLR0913  the contract's own parameters
        self,
        tenant: TenantId,
        order_id: OrderId,
        lines: Sequence[WantedLine],
        *,
        currency: str | None,
        until: datetime,
        by: str,
        at: datetime,
    ) -> Reservation:
        """Price the lines and hold their stock, once per order, however often it is asked for."""
        asked = Reserve(order_id=order_id, lines=tuple(lines), currency=currency, until=until, by=by, at=at)
        return await self._products.ask(PREFIX + _RESERVE, asked, Reservation, tenant=tenant, repeatable=True)


def serve_stock(internal: Internal, stock: Stock) -> None:
    """Declare what StockClient calls."""

    async def reserve(call: Call, body: Reserve) -> Reservation:
        """Hold stock for an order."""
        return await stock.reserve(
            store_of(call),
            body.order_id,
            body.lines,
            currency=body.currency,
            until=body.until,
            by=body.by,
            at=body.at,
        )

    internal.on(_RESERVE, reserve)
