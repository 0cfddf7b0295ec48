"""The books that reconciliation compares, read over HTTP: each service tells its own."""

from collections.abc import Awaitable, Callable

import msgspec

from mercato.clients.internal import PREFIX, Internal, Nothing
from mercato.clients.neighbour import Neighbour
from mercato.contracts.order_books import OrderBook
from mercato.contracts.payment_books import ChargeBook, PaymentBook
from mercato.contracts.stock_books import HoldBook, StockBook
from mercato.web.call import Call

_BOOKS = "/books"
_TIMEOUT_S = 60.0


class ServiceBooks(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What one service has in its books, of every store."""

    stores: int = 0
    orders: list[OrderBook] = []
    stock: list[StockBook] = []
    holds: list[HoldBook] = []
    payments: list[PaymentBook] = []
    charges: list[ChargeBook] = []
    keys_under_way: list[str] = []
    """The ordering keys of its events that were not sent, and of those it has not handled yet."""


ReadBooks = Callable[[], Awaitable[ServiceBooks]]


def books_of(service: Neighbour) -> ReadBooks:
    """Return how a service is asked for its books."""

    async def read() -> ServiceBooks:
        return await service.ask(
            PREFIX + _BOOKS, Nothing(), ServiceBooks, repeatable=True, timeout_s=_TIMEOUT_S
        )

    return read


def serve_books(internal: Internal, read: ReadBooks) -> None:
    """Declare what `books_of` calls."""

    async def books(call: Call) -> ServiceBooks:  # noqa: ARG001  they are of all stores
        """Tell the books."""
        return await read()

    internal.on(_BOOKS, books)
