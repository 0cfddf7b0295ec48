"""What users does by the clock."""

import logging
from collections.abc import Awaitable
from datetime import datetime
from typing import Protocol

from mercato.adapters.service import Worker
from mercato.adapters.sweeps import sweep
from mercato.kernel.clock import Clock

log = logging.getLogger(__name__)

_EVERY_S = 300.0
_BATCH = 1_000


class Purge(Protocol):
    """Deletes what has expired."""

    def __call__(self, *, before: datetime, limit: int) -> Awaitable[int]:
        """Delete up to `limit` things that had expired by then; return how many."""
        ...


def purger(what: str, purge: Purge, *, clock: Clock) -> Worker:
    """Return the worker that deletes what has expired, now and then, in batches."""
    return sweep(
        lambda: purge(before=clock(), limit=_BATCH),
        batch=_BATCH,
        every_s=_EVERY_S,
        log=log,
        failing="what has expired cannot be purged",
        what=what,
    )
