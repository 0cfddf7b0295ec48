"""Reading orders, for whoever asks for them."""

from collections.abc import Sequence

from mercato.contracts.order_reading import MAX_OF_USERS, Order, OrdersWanted, TimelineEntry
from mercato.contracts.reading import MAX_PAGE, Listed, check_window, listed, sought, told_by, wrong_cursor
from mercato.kernel.acting import acting
from mercato.kernel.errors import ValidationFailed
from mercato.kernel.ids import OrderId, UserId, is_id
from mercato.kernel.paging import Window, read_time_key, time_key
from mercato.kernel.principal import ANYONE, Principal
from mercato.kernel.rights import check_rights
from mercato.orders.ports import OrderFilter, OrderReads

_SCOPE = "orders:read"


class OrderReading:
    """See contracts.order_reading.OrderReader."""

    def __init__(self, reads: OrderReads) -> None:
        self._reads = reads

    async def page(self, caller: Principal, wanted: OrdersWanted, window: Window) -> Listed[Order]:
        """Return a part of a list, latest first."""
        check_rights(caller, ANYONE, _SCOPE)
        check_window(window)
        if window.after is not None and read_time_key(window.after) is None:
            raise wrong_cursor()
        if wanted.user_id is not None and not is_id(wanted.user_id):
            raise ValidationFailed.field("user_id", "must be a user's id")
        if not caller.is_staff and wanted.user_id not in {None, caller.user_id}:
            # Both hold at once: what is the caller's own, and that other user's.
            return listed(window, (), 0, _key)
        user_id = None if caller.is_staff else caller.user_id
        which = OrderFilter(
            UserId(wanted.user_id) if wanted.user_id else user_id, wanted.status, wanted.since, wanted.before
        )
        with acting(caller.tenant):
            found = await self._reads.page(caller.tenant, which, window)
            total = told_by(window, found)
            if window.counted and total is None:
                total = await self._reads.count(caller.tenant, which)
        return listed(window, found, total, _key)

    async def many(self, caller: Principal, order_ids: Sequence[str]) -> dict[OrderId, Order]:
        """Return those of the orders that the caller may see."""
        check_rights(caller, ANYONE, _SCOPE)
        ids = sought(order_ids)
        if not ids:
            return {}
        with acting(caller.tenant):
            found = await self._reads.many(caller.tenant, ids)
        return {each.id: each for each in found if _is_seen(each.user_id, caller)}

    async def of_users(
        self, caller: Principal, user_ids: Sequence[str], limit: int
    ) -> dict[UserId, tuple[Order, ...]]:
        """Return each user's latest orders, latest first."""
        check_rights(caller, ANYONE, _SCOPE)
        ids = [UserId(each) for each in sought(user_ids) if _is_seen(each, caller)]
        if not 1 <= limit <= MAX_PAGE or len(ids) * limit > MAX_OF_USERS:
            raise ValidationFailed.field(
                "limit", f"must be 1 to {MAX_PAGE}, and {MAX_OF_USERS} for all users"
            )
        if not ids:
            return {}
        with acting(caller.tenant):
            found = await self._reads.of_users(caller.tenant, ids, limit)
        found.sort(key=lambda each: (each.created_at, each.id), reverse=True)
        orders: dict[UserId, list[Order]] = {each: [] for each in ids}
        for each in found:
            orders[each.user_id].append(each)
        return {user_id: tuple(theirs) for user_id, theirs in orders.items()}

    async def timelines(
        self, caller: Principal, order_ids: Sequence[str]
    ) -> dict[OrderId, tuple[TimelineEntry, ...]]:
        """Return what happened to those of the orders that the caller may see."""
        check_rights(caller, ANYONE, _SCOPE)
        ids = sought(order_ids)
        if not ids:
            return {}
        with acting(caller.tenant):
            found = await self._reads.histories(caller.tenant, ids)
        return {each.order_id: each.entries for each in found if _is_seen(each.user_id, caller)}


def _key(order: Order) -> str:
    return time_key(order.created_at, order.id)


def _is_seen(user_id: str, caller: Principal) -> bool:
    return caller.is_staff or user_id == caller.user_id
