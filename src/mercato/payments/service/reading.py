"""Reading payments, for whoever asks for them."""

from collections.abc import Sequence

from mercato.contracts.payment_reading import Payment, PaymentsWanted
from mercato.contracts.reading import Listed, check_window, listed, sought, told_by, wrong_cursor
from mercato.kernel.acting import acting
from mercato.kernel.ids import OrderId, PaymentId, UserId, is_id
from mercato.kernel.paging import Window, read_time_key, time_key
from mercato.kernel.principal import ANYONE, Principal
from mercato.kernel.rights import check_rights
from mercato.payments.ports import PaymentFilter, PaymentReads

_SCOPE = "payments:read"


class PaymentReading:
    """See contracts.payment_reading.PaymentReader."""

    def __init__(self, reads: PaymentReads) -> None:
        self._reads = reads

    async def page(self, caller: Principal, wanted: PaymentsWanted, window: Window) -> Listed[Payment]:
        """Return a part of a list, latest first."""
        check_rights(caller, ANYONE, _SCOPE)
        check_window(window)
        if window.after is not None and read_time_key(window.after) is None:
            raise wrong_cursor()
        strangers = not caller.is_staff and wanted.user_id not in {None, caller.user_id}
        if strangers or not all(
            is_id(each) for each in (wanted.user_id, wanted.order_id) if each is not None
        ):
            return listed(window, (), 0, _key)
        user_id = None if caller.is_staff else caller.user_id
        which = PaymentFilter(
            user_id=UserId(wanted.user_id) if wanted.user_id else user_id,
            status=wanted.status,
            order_id=OrderId(wanted.order_id) if wanted.order_id else None,
        )
        with acting(caller.tenant):
            found = await self._reads.page(caller.tenant, which, window)
            total = told_by(window, found)
            if window.counted and total is None:
                total = await self._reads.count(caller.tenant, which)
        return listed(window, found, total, _key)

    async def many(self, caller: Principal, payment_ids: Sequence[str]) -> dict[PaymentId, Payment]:
        """Return those of the payments that the caller may see."""
        check_rights(caller, ANYONE, _SCOPE)
        ids = sought(payment_ids)
        if not ids:
            return {}
        with acting(caller.tenant):
            found = await self._reads.many(caller.tenant, ids)
        return {each.id: each for each in found if _is_seen(each, caller)}

    async def latest_of_orders(self, caller: Principal, order_ids: Sequence[str]) -> dict[OrderId, Payment]:
        """Return the latest payment of each order that has one which the caller may see."""
        check_rights(caller, ANYONE, _SCOPE)
        ids = sought(order_ids)
        if not ids:
            return {}
        with acting(caller.tenant):
            found = await self._reads.latest_of(caller.tenant, ids)
        return {each.order_id: each for each in found if _is_seen(each, caller)}


def _key(payment: Payment) -> str:
    return time_key(payment.created_at, payment.id)


def _is_seen(payment: Payment, caller: Principal) -> bool:
    return caller.is_staff or payment.user_id == caller.user_id
