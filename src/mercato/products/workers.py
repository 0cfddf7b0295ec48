"""What products does by the clock."""

import asyncio
import logging

from mercato.adapters.service import Worker
from mercato.products.service.orphans import BATCH, Orphans

log = logging.getLogger(__name__)


def orphan_sweep(orphans: Orphans, *, every_s: float) -> Worker:
    """Return the worker that checks overdue holds, again and again."""

    async def run() -> None:
        while True:
            try:
                while await orphans.sweep() == BATCH:
                    pass
            except Exception:
                log.exception("orphaned holds could not be checked")
            await asyncio.sleep(every_s)

    return run
