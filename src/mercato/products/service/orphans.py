"""Holds that nobody came back for: the order was never written, or its end was not heard of."""

import asyncio
import logging
from collections import defaultdict
from collections.abc import Mapping
from datetime import datetime, timedelta

from mercato.contracts.orders import OrderDesk, OrderFacts, OrderStatus
from mercato.kernel.cause import BySystem
from mercato.kernel.clock import Clock
from mercato.kernel.errors import Unavailable
from mercato.kernel.ids import OrderId
from mercato.kernel.tenancy import TenantId
from mercato.products import domain
from mercato.products.domain import Hold, HoldState, Outcome, Product
from mercato.products.ports import HoldStore

log = logging.getLogger(__name__)

BATCH = 100
_BY = BySystem("orphaned-holds")


class Orphans:
    """Asks orders about holds past their time. Orders alone decides an order's fate."""

    def __init__(
        self, store: HoldStore, desk: OrderDesk, *, clock: Clock, again_after: timedelta, deadline_s: float
    ) -> None:
        """`again_after` is when a hold that is kept is asked about anew; `deadline_s` bounds each ask."""
        self._store = store
        self._desk = desk
        self._clock = clock
        self._again_after = again_after
        self._deadline_s = deadline_s

    async def sweep(self) -> int:
        """Check one batch of holds; return how many. What orders cannot be asked about is kept."""
        now = self._clock()
        by_tenant: dict[TenantId, list[Hold]] = defaultdict(list)
        for hold in await self._store.due(now, BATCH):
            by_tenant[hold.tenant_id].append(hold)
        checked = 0
        for tenant, holds in by_tenant.items():
            facts = await self._ask(tenant, [hold.order_id for hold in holds])
            if facts is None:
                continue
            for hold in holds:
                await self._settle(hold, facts.get(hold.order_id), now)
            checked += len(holds)
        return checked

    async def _ask(self, tenant: TenantId, order_ids: list[OrderId]) -> dict[OrderId, OrderFacts] | None:
        try:
            async with asyncio.timeout(self._deadline_s):
                return await self._desk.facts(tenant, order_ids)
        except (Unavailable, TimeoutError) as error:
            log.warning("orders is away: holds are kept", extra={"tenant": tenant, "cause": repr(error)})
            return None

    async def _settle(self, seen: Hold, order: OrderFacts | None, now: datetime) -> None:
        def decide(hold: Hold | None, _: Mapping[str, Product]) -> Outcome:
            if hold is None or hold.state is not HoldState.HELD or hold.next_check_at != seen.next_check_at:
                # Somebody acted on it since: what orders said then does not count any more.
                return Outcome(hold)
            if order is None:
                released = domain.release(hold, "the order was never placed")
                # Without its row, so that the same placement, tried again, can hold anew.
                return Outcome(None, released.movements, released.events)
            if order.status is OrderStatus.CANCELLED:
                return domain.release(hold, "the order is cancelled")
            return domain.check_later(hold, self._again_after, at=now)

        await self._store.change(seen.tenant_id, seen.order_id, decide, by=_BY, at=now)
