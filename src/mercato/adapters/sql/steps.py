"""The atomic step of one service: the change, its events and its cause in one commit.

There is no other way to publish an event, so none can be lost or without a change.
"""

from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import TypeVar

from mercato.adapters.sql.appending import APPEND
from mercato.adapters.sql.database import Database, Tx
from mercato.adapters.sql.event_groups import EventGroups
from mercato.adapters.sql.turns import take_turn, take_turns
from mercato.adapters.sql.watched import WatchedTx
from mercato.contracts.audit import recorded
from mercato.contracts.events import Events, Payload, Traced
from mercato.kernel.cause import ByCall, ByEvent, BySystem, Cause, Claim, Note
from mercato.kernel.clock import Clock
from mercato.kernel.errors import Conflict, Unavailable
from mercato.kernel.tracing import TraceContext, current
from mercato.messaging.inbox import AlreadyHandled, OutOfTurn

T = TypeVar("T")
Work = Callable[[Tx], Awaitable[tuple[T, Events]]]
"""What a step does: returns the result, and the events to publish with it."""


class ClaimLost(Conflict):
    """Another request has taken over this one's idempotency key."""

    code = "IDEMPOTENCY_KEY_IN_USE"


class Steps:
    """Runs a service's steps on its database."""

    def __init__(self, db: Database, *, source: str, clock: Clock) -> None:
        """`source` is the CloudEvents source of the events, such as `/mercato/orders`."""
        self.db = db
        self.source = source
        self._clock = clock
        self._wake: Callable[[], None] = _nobody
        self._told: Callable[[Sequence[Payload]], None] | None = None
        self._groups: EventGroups | None = None
        if db.dialect == "postgres":
            self._groups = EventGroups(db, alone=self._by_event, append=self._append)

    def on_events(self, wake: Callable[[], None]) -> None:
        """Call `wake` whenever events have been committed."""
        self._wake = wake

    def on_committed(self, told: Callable[[Sequence[Payload]], None]) -> None:
        """Call `told` with the events of each step once they are committed: exactly what has happened."""
        self._told = told

    async def run(self, by: Cause, work: Work[T]) -> T:
        """Run `work` in one transaction with its events and its cause.

        Raises what `work` raises; AlreadyHandled or OutOfTurn for an event whose turn it is
        not; ClaimLost for a call whose claim has passed on. All of them change nothing.
        """
        match by:
            case ByEvent():
                by.followed = False
                if self._groups is None or by.replay:
                    result = await self._by_event(by, work)
                else:
                    result = await self._groups.run(by, work)
                by.recorded = True
                return result
            case ByCall(claim=Claim() as claim):
                return await self._by_claim(by, claim, work)
            case ByCall() | BySystem():
                return await self.db.transact(partial(self._carry_out, work, by, current()))

    async def _carry_out(self, work: Work[T], by: Cause, trace: TraceContext | None, tx: Tx) -> T:
        """Do `work`, and publish its events as part of a trace. The task is another than the caller's."""
        result, events = await _audited(tx, work, by)
        await self._append(tx, [(event, trace) for event in events])
        return result

    async def _by_event(self, by: ByEvent, work: Work[T]) -> T:
        """Run the step of one event, in a transaction of its own."""
        trace = current()

        async def step(tx: Tx) -> T:
            await take_turn(tx, by)
            return await self._carry_out(work, by, trace, tx)

        return await self.db.transact(step)

    async def _by_claim(self, by: ByCall, claim: Claim, work: Work[T]) -> T:
        """Run the step of a call, if its claim has not passed to another holder; store its answer."""
        trace = current()

        async def step(tx: Tx) -> tuple[T, bytes]:
            result = await self._carry_out(work, by, trace, tx)
            answer = by.answer(result) if by.answer is not None else b""
            await tx.put(
                f"UPDATE claims SET state = 'done', answer = ? WHERE {_HELD}",
                (answer, *_held(claim)),
                otherwise=_claim_lost,
            )
            return result, answer

        try:
            result, by.stored = await self.db.transact(step)
        except (ClaimLost, Unavailable):
            raise
        except Exception as error:
            # It may have met what another holder did with the same id.
            if await self.db.fetch_one(f"SELECT 1 FROM claims WHERE {_HELD}", _held(claim)) is None:
                raise _claim_lost() from error
            raise
        return result

    async def tell(self, note: Note) -> None:
        """Tell of an act whose changes are no steps on this database, such as a purge of a store."""

        async def told(_: Tx) -> tuple[None, Events]:
            return None, (recorded(note),)

        await self.run(BySystem(note.actor), told)

    async def settle(self, by: ByEvent) -> None:
        """Take note of an event that has no effect here."""

        async def nothing(_: Tx) -> tuple[None, Events]:
            return None, ()

        await self.run(by, nothing)

    async def settle_all(self, events: Sequence[ByEvent]) -> list[ByEvent]:
        """Take note of those events that are in turn; return the others. All have no effect here."""
        if self._groups is not None:
            others = await self.db.transact(lambda tx: take_turns(tx, events))
            await self._groups.look_behind([by for by in events if by not in others])
            return others
        # In the order of their keys, so that two replicas can never wait for each other.
        ordered = sorted(events, key=lambda by: (by.key, by.sequence))

        async def step(tx: Tx) -> list[ByEvent]:
            others = []
            for by in ordered:
                try:
                    await take_turn(tx, by)
                except (AlreadyHandled, OutOfTurn):
                    # Whose turn it is not has changed nothing.
                    others.append(by)
            return others

        return await self.db.transact(step)

    async def _append(self, tx: Tx, events: Sequence[Traced]) -> None:
        if events:
            await APPEND[tx.dialect](tx, self.source, events, self._clock())
            tx.after_commit(self._wake)
            if self._told is not None:
                tx.after_commit(partial(self._told, [event for event, _ in events]))


async def _audited(tx: Tx, work: Work[T], by: Cause) -> tuple[T, Events]:
    """Do `work`; if somebody answers for it, and it changes anything, tell of it with its events."""
    note = None if isinstance(by, ByEvent) else by.note
    if note is None or note.written:
        return await work(tx)
    watched = WatchedTx(tx)
    result, events = await work(watched)
    if not watched.changed:
        return result, events
    tx.after_commit(note.mark_written)
    return result, (*events, recorded(note))


_HELD = "tenant_id = ? AND principal = ? AND route = ? AND key = ? AND attempt = ? AND state = 'open'"


def _claim_lost() -> ClaimLost:
    return ClaimLost("Another request with this Idempotency-Key is in progress.")


def _held(claim: Claim) -> tuple[str, str, str, str, int]:
    return claim.tenant, claim.principal, claim.route, claim.key, claim.attempt


def _nobody() -> None:
    """Nobody listens yet: the relay's sweep finds the events."""
