"""Events that have their effects together: on PostgreSQL a commit, and most round trips, are a group's.

A group is of one store and of different keys, in the order in which they came. Its members' turns are
taken by one statement, before the first effect. If anything goes wrong, nothing has happened: whose turn it
is not is told so, and whoever else is to blame, or all, go on in steps of their own.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from mercato.adapters.sql import turns
from mercato.adapters.sql.database import Database, InTheWay, StorageUnavailable, Tx
from mercato.contracts.events import Events, Traced
from mercato.kernel.acting import acting_for
from mercato.kernel.cause import ByEvent
from mercato.kernel.errors import Unavailable
from mercato.kernel.tenancy import TenantId
from mercato.kernel.tracing import SpanKind, TraceContext, current, enter, span

log = logging.getLogger(__name__)

Work = Callable[[Tx], Awaitable[tuple[Any, Events]]]

MOST = 32
"""Members of a group: what it locks is held until all of them are done."""
AT_ONCE = 4
"""Groups under way, each of another store."""
_ROUNDS = 3


class _NotAllInTurn(Exception):
    """At least one member's turn is past, or has not come."""


@dataclass(slots=True, eq=False)
class _Member:
    """One event that waits for its effect."""

    by: ByEvent
    work: Work
    future: asyncio.Future[Any]
    trace: TraceContext | None

    def tell(self, result: Any) -> None:  # noqa: ANN401  work returns what it likes
        if not self.future.done():
            self.future.set_result(result)

    def refuse(self, error: BaseException) -> None:
        if not self.future.done():
            self.future.set_exception(error)


class _Failure(NamedTuple):
    """Why a group's step has come to nothing, and whose work raised it, if one's did."""

    error: Exception
    of: _Member | None = None


class EventGroups:
    """Gathers the steps of events, and runs them in groups."""

    def __init__(
        self,
        db: Database,
        *,
        alone: Callable[[ByEvent, Work], Awaitable[Any]],
        append: Callable[[Tx, Sequence[Traced]], Awaitable[None]],
    ) -> None:
        """`alone` runs the step of one event; `append` publishes events with a step."""
        self._db = db
        self._alone = alone
        self._append = append
        self._waiting: dict[TenantId | None, deque[_Member]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._free = asyncio.Semaphore(AT_ONCE)
        self._most = MOST

    async def run(self, by: ByEvent, work: Work) -> Any:  # noqa: ANN401  work returns what it likes
        """Run the step of an event with those that wait too. See Steps.run."""
        tenant = acting_for()
        member = _Member(by, work, asyncio.get_running_loop().create_future(), current())
        if tenant in self._waiting:
            self._waiting[tenant].append(member)
        else:
            self._waiting[tenant] = deque([member])
            # It begins when those that are ready now have all come.
            task = asyncio.create_task(self._drain(tenant), name="event-group")
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        with span("TRANSACTION group", SpanKind.CLIENT) as waiting:
            waiting.set("db.system.name", "postgresql")
            return await member.future

    async def _drain(self, tenant: TenantId | None) -> None:
        """Carry out a store's groups, one after the other: who came first is served first."""
        # The task began in the context of the first that came.
        enter(None)
        waiting = self._waiting[tenant]
        while waiting:
            async with self._free:
                members = _take(waiting, self._most)
                try:
                    await self._carry_out(members)
                except BaseException as error:
                    for member in (*members, *waiting):
                        member.refuse(error)
                    waiting.clear()
                    if not isinstance(error, Exception):
                        raise
        del self._waiting[tenant]

    async def _carry_out(self, members: list[_Member]) -> None:
        """Give all of them their effects, or tell why not."""
        for _ in range(_ROUNDS):
            failure = await self._together(members)
            if failure is None:
                return
            members = await self._in_turn(members)
            if failure.of in members:
                failure.of.refuse(failure.error)
                members.remove(failure.of)
            elif not isinstance(failure.error, _NotAllInTurn):
                break
            if not members:
                return
        # Side by side: one that others keep waiting keeps nobody else.
        await asyncio.gather(*map(self._go_alone, members))

    async def _go_alone(self, member: _Member) -> None:
        """Give one its effect, in a task of its own."""
        enter(member.trace)
        try:
            member.tell(await self._alone(member.by, member.work))
        except Exception as error:  # noqa: BLE001  whatever it is, the inbox parks the event with it
            member.refuse(error)

    async def _together(self, members: list[_Member]) -> _Failure | None:
        """Run them in one step; say why nothing has come of it, if so. Raises StorageUnavailable."""
        at: _Member | None = None

        async def step(tx: Tx) -> list[Any]:
            nonlocal at
            at = None
            keys, numbers = [each.by.key for each in members], [each.by.sequence for each in members]
            await tx.put(turns.TAKE, (keys, numbers), rows=len(members), otherwise=_NotAllInTurn)
            results, events = list[Any](), list[Traced]()
            for at in members:
                result, told = await at.work(tx)
                results.append(result)
                events += [(event, at.trace) for event in told]
            at = None
            await self._append(tx, events)
            return results

        try:
            results = await self._db.transact(step, patient=len(members) == 1)
        except StorageUnavailable:
            raise
        except InTheWay as error:
            self._most = max(1, self._most // 2)
            return _Failure(error)
        except Exception as error:  # noqa: BLE001  whatever it is, the inbox parks the event with it
            return _Failure(error, at)
        self._most = min(MOST, self._most + 1)
        await self.look_behind([member.by for member in members])
        for member, result in zip(members, results, strict=True):
            member.tell(result)
        return None

    async def _in_turn(self, members: list[_Member]) -> list[_Member]:
        """Return those whose turn it is, as far as is known; tell the others that it is not."""
        found = await self._db.fetch_all(
            "SELECT key, sequence FROM inbox_positions WHERE key = ANY(?)",
            ([member.by.key for member in members],),
        )
        positions: dict[str, int] = dict(found)
        left = []
        for member in members:
            reason = turns.not_in_turn(member.by, positions.get(member.by.key, 0))
            if reason is None:
                left.append(member)
            else:
                member.refuse(reason)
        return left

    async def look_behind(self, events: list[ByEvent]) -> None:
        """Note behind which events others wait, once their effects are there."""
        try:
            await turns.look_behind(self._db, events)
        except Unavailable as error:
            # Whoever goes on looks for itself.
            log.warning("what waits cannot be looked for", extra={"cause": repr(error)})
            for by in events:
                by.followed = True


def _take(waiting: deque[_Member], most: int) -> list[_Member]:
    """Take the first few off, each of another key."""
    taken: dict[str, _Member] = {}
    while waiting and len(taken) < most and waiting[0].by.key not in taken:
        member = waiting.popleft()
        taken[member.by.key] = member
    return [*taken.values()]
