"""What orders does by the clock."""

import asyncio
import logging

from mercato.adapters.service import Worker
from mercato.kernel.clock import Clock
from mercato.orders.service import Orders

log = logging.getLogger(__name__)

SWEEP_S = 0.5
_BATCH = 200


def expiry(orders: Orders, clock: Clock) -> Worker:
    """Return the worker that cancels pending orders whose time to pay has run out."""

    async def run() -> None:
        while True:
            try:
                expired = await orders.expire(clock(), _BATCH)
            except Exception:
                log.exception("expiry cannot go on")
                expired = 0
            if expired < _BATCH:
                await asyncio.sleep(SWEEP_S)

    return run
