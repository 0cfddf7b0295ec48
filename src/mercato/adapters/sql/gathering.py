"""Reading single objects from a server: those that are asked for at about the same time, in one statement."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextvars import Context, copy_context
from typing import Generic, TypeVar

from mercato.kernel.tenancy import TenantId

V = TypeVar("V")

MOST_AT_ONCE = 100
"""Objects of one statement."""
MOST_UNDER_WAY = 2
"""Statements of one store, unless they take long: the more there are, the fewer ask together."""
PATIENCE_S = 0.05
"""How long the next one waits for one of them to be over: what is stuck holds up nobody else."""


class Gathering(Generic[V]):
    """Finds objects of stores by their ids, fresh.

    A statement costs the process and the server nearly as much for one row as for ten. So whoever asks
    while as many statements as may be are under way shares the next one, which begins when one of them is
    over, or has taken too long. Nobody is given what was read before they asked.
    """

    def __init__(self, find_many: Callable[[TenantId, Sequence[str]], Awaitable[Mapping[str, V]]]) -> None:
        """`find_many` returns those that there are, by id; it acts for the store that it is called in."""
        self._find_many = find_many
        self._next: dict[TenantId, _Batch[V]] = {}
        self._under_way: dict[TenantId, set[asyncio.Task[None]]] = {}

    async def find(self, tenant: TenantId, key: str) -> V | None:
        """Return an object of the store that the task acts for. Raises what reading raises."""
        loop = asyncio.get_running_loop()
        batch = self._next.get(tenant)
        if batch is None:
            batch = self._next[tenant] = _Batch(copy_context())
            if len(self._under_way.get(tenant, ())) < MOST_UNDER_WAY:
                self._begin(tenant, batch)
            else:
                batch.timer = loop.call_later(PATIENCE_S, self._begin, tenant, batch)
        elif len(batch.asked) >= MOST_AT_ONCE:
            return (await self._find_many(tenant, [key])).get(key)
        answer: asyncio.Future[V | None] = loop.create_future()
        batch.asked.append((key, answer))
        return await answer

    def _begin(self, tenant: TenantId, batch: "_Batch[V]") -> None:
        # In the context of who asked first: it is this one's trace that tells of the statement.
        batch.begun = True
        if batch.timer is not None:
            batch.timer.cancel()
        task = asyncio.get_running_loop().create_task(self._read(tenant, batch), context=batch.context)
        self._under_way.setdefault(tenant, set()).add(task)

    async def _read(self, tenant: TenantId, batch: "_Batch[V]") -> None:
        # Until now, others of this turn of the event loop could join.
        del self._next[tenant]
        try:
            found = await self._find_many(tenant, list({key for key, _ in batch.asked}))
        except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001  whoever asked is told of it
            batch.fail(error)
        else:
            batch.tell(found)
        finally:
            self._end(tenant)

    def _end(self, tenant: TenantId) -> None:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101  a coroutine that runs is in a task
        under_way = self._under_way[tenant]
        under_way.discard(task)
        batch = self._next.get(tenant)
        if batch is not None and not batch.begun:
            self._begin(tenant, batch)
        elif not under_way:
            del self._under_way[tenant]


class _Batch(Generic[V]):
    """What is asked for in one statement, and who waits for it."""

    __slots__ = ("asked", "begun", "context", "timer")

    def __init__(self, context: Context) -> None:
        self.context = context
        self.begun = False
        self.timer: asyncio.TimerHandle | None = None
        self.asked: list[tuple[str, asyncio.Future[V | None]]] = []

    def tell(self, found: Mapping[str, V]) -> None:
        """Tell each what was found for it."""
        for key, answer in self.asked:
            if not answer.done():
                answer.set_result(found.get(key))

    def fail(self, error: BaseException) -> None:
        """Tell all why nothing was found."""
        for _, answer in self.asked:
            if not answer.done():
                answer.set_exception(error)
