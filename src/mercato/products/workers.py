"""What products does by the clock."""

import logging

from mercato.adapters.service import Worker
from mercato.adapters.sweeps import sweep
from mercato.products.service.orphans import BATCH, Orphans

log = logging.getLogger(__name__)


def orphan_sweep(orphans: Orphans, *, every_s: float) -> Worker:
    """Return the worker that checks overdue holds, again and again."""
    return sweep(
        orphans.sweep, batch=BATCH, every_s=every_s, log=log, failing="orphaned holds could not be checked"
    )
