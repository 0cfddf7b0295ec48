"""What orders does by the clock."""

import logging

from mercato.adapters.service import Worker
from mercato.adapters.sweeps import sweep
from mercato.kernel.clock import Clock
from mercato.orders.service.orders import Orders

log = logging.getLogger(__name__)

SWEEP_S = 0.5
_BATCH = 200


def expiry(orders: Orders, clock: Clock) -> Worker:
    """Return the worker that cancels pending orders whose time to pay has run out."""
    return sweep(
        lambda: orders.expire(clock(), _BATCH),
        batch=_BATCH,
        every_s=SWEEP_S,
        log=log,
        failing="expiry cannot go on",
    )
