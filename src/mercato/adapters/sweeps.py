"""Work that is done by the clock, a bounded part at a time."""

import asyncio
import logging
from collections.abc import Awaitable, Callable

from mercato.adapters.service import Worker


def sweep(
    work: Callable[[], Awaitable[int]],
    *,
    batch: int,
    every_s: float,
    log: logging.Logger,
    failing: str,
    **about: str,
) -> Worker:
    """Return a worker that does `work` until there is less than a batch of it, and again after `every_s`.

    `work` returns how much it did: less than `batch` if nothing is left. A failure is logged as
    `failing`, with what it is `about`, and waits for the next time.
    """

    async def run() -> None:
        while True:
            try:
                done = await work()
            except Exception:
                log.exception(failing, extra=about)
                done = 0
            if done < batch:
                await asyncio.sleep(every_s)

    return run
