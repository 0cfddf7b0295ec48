"""contracts.payment_reading.PaymentReader over HTTP."""

from collections.abc import Sequence

from mercato.clients.internal import PREFIX, Internal
from mercato.clients.neighbour import Neighbour
from mercato.clients.reading import AskedFor, AskMany, caller_of, reader, told
from mercato.contracts.payment_reading import Payment, PaymentReader, PaymentsWanted
from mercato.contracts.reading import Listed
from mercato.kernel.ids import OrderId, PaymentId
from mercato.kernel.paging import Window
from mercato.kernel.principal import Principal
from mercato.web.call import Call

_PAGE, _MANY, _LATEST = "/read/payments/page", "/read/payments/many", "/read/payments/latest-of-orders"


class AskPayments(AskedFor, frozen=True, kw_only=True):
    """Which part of which list is asked for."""

    wanted: PaymentsWanted
    window: Window


class PaymentReaderClient:
    """See contracts.payment_reading.PaymentReader."""

    def __init__(self, payments: Neighbour) -> None:
        self._payments = payments

    async def page(self, caller: Principal, wanted: PaymentsWanted, window: Window) -> Listed[Payment]:
        """Return a part of a list, latest first."""
        asked = AskPayments(reader=reader(caller), wanted=wanted, window=window)
        return await self._payments.ask(
            PREFIX + _PAGE, asked, Listed[Payment], tenant=caller.tenant, repeatable=True
        )

    async def many(self, caller: Principal, payment_ids: Sequence[str]) -> dict[PaymentId, Payment]:
        """Return those of the payments that the caller may see."""
        return {payment.id: payment for payment in await self._ask(_MANY, caller, payment_ids)}

    async def latest_of_orders(self, caller: Principal, order_ids: Sequence[str]) -> dict[OrderId, Payment]:
        """Return the latest payment of each order that has one which the caller may see."""
        return {payment.order_id: payment for payment in await self._ask(_LATEST, caller, order_ids)}

    async def _ask(self, path: str, caller: Principal, ids: Sequence[str]) -> list[Payment]:
        asked = AskMany(reader=reader(caller), ids=told(ids))
        return await self._payments.ask(
            PREFIX + path, asked, list[Payment], tenant=caller.tenant, repeatable=True
        )


def serve_payment_reading(internal: Internal, payments: PaymentReader) -> None:
    """Declare what PaymentReaderClient calls."""

    async def page(call: Call, body: AskPayments) -> Listed[Payment]:
        """Read a part of a list."""
        return await payments.page(caller_of(call, body), body.wanted, body.window)

    async def many(call: Call, body: AskMany) -> list[Payment]:
        """Read payments."""
        return list((await payments.many(caller_of(call, body), body.ids)).values())

    async def latest(call: Call, body: AskMany) -> list[Payment]:
        """Read orders' latest payments."""
        return list((await payments.latest_of_orders(caller_of(call, body), body.ids)).values())

    internal.on(_PAGE, page)
    internal.on(_MANY, many)
    internal.on(_LATEST, latest)
