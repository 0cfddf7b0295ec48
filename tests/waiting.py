"""Waiting for a condition, within a deadline."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")

PAUSE_S = 0.005


async def until(condition: Callable[[], bool | Awaitable[bool]], within_s: float = 20.0) -> float:
    """Wait until `condition` holds; return how many seconds that took. Raises TimeoutError."""
    began = time.monotonic()
    async with asyncio.timeout(within_s):
        while True:
            holds = condition()
            if holds if isinstance(holds, bool) else await holds:
                return time.monotonic() - began
            await asyncio.sleep(PAUSE_S)


async def repeated(ask: Callable[[], Awaitable[T]], again: Callable[[T], bool], within_s: float) -> T:
    """Ask until the answer is one that is not to be asked for `again`; return it. Raises TimeoutError."""
    async with asyncio.timeout(within_s):
        while True:
            answer = await ask()
            if not again(answer):
                return answer
            await asyncio.sleep(PAUSE_S)
