"""Single flight: whoever asks for the same thing at the same time waits for one answer."""

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Any, Generic, TypeVar

from mercato.kernel.errors import MercatoError, Unavailable

log = logging.getLogger(__name__)

T = TypeVar("T")


class Flights(Generic[T]):
    """Operations under way, each by its key, in tasks that no caller's going away cancels."""

    def __init__(self, most: int) -> None:
        """`most` bounds how many are under way at a time."""
        self._most = most
        self._tasks: dict[str, asyncio.Task[T]] = {}
        self._closed = False

    async def join(self, key: str, start: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Return what the operation under way for `key` returns; `start` it if there is none.

        Raises what the operation raises, and Unavailable where no more can be started.
        """
        task = self._tasks.get(key)
        if task is None:
            if self._closed or len(self._tasks) >= self._most:
                raise Unavailable("Too much is under way with the payment provider.")
            task = self._tasks[key] = asyncio.create_task(start(), name=f"flight-{key}")
            task.add_done_callback(lambda done: self._land(key, done))
        return await asyncio.shield(task)

    async def close(self, *, within_s: float) -> None:
        """Start nothing more and let what is under way end; cancel what takes longer."""
        self._closed = True
        if self._tasks:
            _, late = await asyncio.wait(list(self._tasks.values()), timeout=within_s)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)

    def _land(self, key: str, task: asyncio.Task[T]) -> None:
        del self._tasks[key]
        if task.cancelled():
            return
        # Looked at here too, since everybody who waited may have gone away.
        error = task.exception()
        if error is not None and not isinstance(error, MercatoError):
            log.error("flight failed", extra={"key": key}, exc_info=error)
