"""Requests under way: how many there are, and that none takes longer than it may.

A timer per request would cost a fifth of answering from the cache. Here one timer looks at all
of them, and none is set while there are none.
"""

import asyncio
from typing import Any

_LOOKS_PER_DEADLINE = 20


class UnderWay:
    """Knows the tasks that answer requests, and cuts off those that take too long."""

    def __init__(self, deadline_s: float) -> None:
        """Allow each task `deadline_s`, or up to a twentieth of it more."""
        self.deadline_s = deadline_s
        """How long a task gets that is not allowed another time."""
        self._started: dict[asyncio.Task[Any], float] = {}
        self._cut: set[asyncio.Task[Any]] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._idle = asyncio.Event()

    def __len__(self) -> int:
        """Return how many requests are under way."""
        return len(self._started)

    def begin(self) -> "asyncio.Task[Any]":
        """Count the running task in, and return it."""
        task = asyncio.current_task()
        assert task is not None  # noqa: S101  a coroutine that runs is in a task
        loop = asyncio.get_running_loop()
        self._started[task] = loop.time()
        if self._timer is None:
            self._set_timer(loop)
        return task

    def allow(self, task: "asyncio.Task[Any]", deadline_s: float) -> None:
        """Let a task that has begun just now take so long instead."""
        self._started[task] += deadline_s - self.deadline_s

    def was_cut(self, task: "asyncio.Task[Any]") -> bool:
        """Say whether the task was cancelled for its time; if so that is dealt with now."""
        if task not in self._cut:
            return False
        self._cut.remove(task)
        task.uncancel()
        return True

    def end(self, task: "asyncio.Task[Any]") -> None:
        """Count the task out."""
        del self._started[task]
        self.was_cut(task)
        if not self._started:
            self._idle.set()

    async def drained(self) -> None:
        """Wait until no request is under way."""
        while self._started:
            self._idle.clear()
            await self._idle.wait()

    def _set_timer(self, loop: asyncio.AbstractEventLoop) -> None:
        self._timer = loop.call_later(self.deadline_s / _LOOKS_PER_DEADLINE, self._look, loop)

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        """Cut off what has taken too long, each once."""
        latest = loop.time() - self.deadline_s
        for task, started in self._started.items():
            if started <= latest and task not in self._cut:
                self._cut.add(task)
                task.cancel()
        self._timer = None
        if self._started:
            self._set_timer(loop)
