"""Work that goes on though whoever waits for it goes away."""

import asyncio
import logging
from typing import Any, TypeVar

from mercato.kernel.errors import MercatoError

log = logging.getLogger(__name__)

T = TypeVar("T")


async def shielded(work: "asyncio.Future[T]") -> T:
    """Wait for work that goes on if the caller is cancelled. Raises what it raises.

    A refusal that nobody waits for any more is nobody's concern; any other failure is told in the log.
    """
    try:
        return await asyncio.shield(work)
    except asyncio.CancelledError:
        work.add_done_callback(_look_at)
        raise


def _look_at(work: "asyncio.Future[Any]") -> None:
    # To be looked at is what keeps the event loop from telling of it.
    error = None if work.cancelled() else work.exception()
    if error is not None and not isinstance(error, MercatoError):
        log.error("work failed that nobody waits for any more", exc_info=error)
