"""Waiting for a condition, within a deadline."""

import asyncio
from collections.abc import Awaitable, Callable

PAUSE_S = 0.005


async def until(condition: Callable[[], bool | Awaitable[bool]], within_s: float = 20.0) -> None:
    """Wait until `condition` holds. Raises TimeoutError."""
    async with asyncio.timeout(within_s):
        while True:
            holds = condition()
            if holds if isinstance(holds, bool) else await holds:
                return
            await asyncio.sleep(PAUSE_S)
