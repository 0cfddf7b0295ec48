"""What users does by the clock."""

import asyncio
import logging
from collections.abc import Awaitable
from datetime import datetime
from typing import Protocol

from mercato.adapters.service import Worker
from mercato.kernel.clock import Clock

log = logging.getLogger(__name__)

_EVERY_S = 300.0
_BATCH = 1_000


class Purge(Protocol):
    """Deletes what has expired."""

    def __call__(self, *, before: datetime, limit: int) -> Awaitable[int]:
        """Delete up to `limit` things that had expired by then; return how many."""
        ...


def purger(purges: dict[str, Purge], *, clock: Clock) -> Worker:
    """Return the worker that deletes what has expired, now and then, in batches."""

    async def run() -> None:
        while True:
            for what, purge in purges.items():
                try:
                    while await purge(before=clock(), limit=_BATCH) == _BATCH:  # noqa: ASYNC110  it deletes
                        await asyncio.sleep(0)
                except Exception:
                    log.exception("what has expired cannot be purged", extra={"what": what})
            await asyncio.sleep(_EVERY_S)

    return run
