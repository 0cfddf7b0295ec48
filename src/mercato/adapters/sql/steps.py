"""The atomic step of one service: the change, its events and its cause in one commit.

There is no other way to publish an event, so none can be lost or without a change.
"""

from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

import msgspec

from mercato.adapters.sql.database import Database, Tx
from mercato.contracts.events import Event, Events, Payload, ordering_key
from mercato.kernel.cause import ByCall, ByEvent, BySystem, Cause, Claim
from mercato.kernel.clock import Clock, to_micros
from mercato.kernel.errors import Conflict
from mercato.kernel.ids import uuid7
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

    def on_events(self, wake: Callable[[], None]) -> None:
        """Call `wake` whenever events have been committed."""
        self._wake = wake

    async def run(self, by: Cause, work: Work[T]) -> T:
        """Run `work` in one transaction with its events and its cause.

        Raises what `work` raises; AlreadyHandled or OutOfTurn for an event whose turn it is
        not; ClaimLost for a call whose claim has passed on. All of them change nothing.
        """

        async def step(tx: Tx) -> tuple[T, bytes | None]:
            if isinstance(by, ByEvent):
                await _take_turn(tx, by)
            if isinstance(by, ByCall) and by.claim is not None:
                await _check_claim(tx, by.claim)
            result, events = await work(tx)
            for payload in events:
                await self._append(tx, payload)
            if events:
                tx.after_commit(self._wake)
            answer = None
            if isinstance(by, ByCall) and by.claim is not None:
                answer = by.answer(result) if by.answer is not None else b""
                await _answer_claim(tx, by.claim, answer)
            return result, answer

        result, answer = await self.db.transact(step)
        match by:
            case ByCall():
                by.stored = answer
            case ByEvent():
                by.recorded = True
            case BySystem():
                pass
        return result

    async def settle(self, by: ByEvent) -> None:
        """Take note of an event that has no effect here."""

        async def nothing(_: Tx) -> tuple[None, Events]:
            return None, ()

        await self.run(by, nothing)

    async def settle_all(self, events: Sequence[ByEvent]) -> list[ByEvent]:
        """Take note of those events that are in turn; return the others. All have no effect here."""

        async def step(tx: Tx) -> list[ByEvent]:
            others = []
            for by in events:
                try:
                    await _take_turn(tx, by)
                except (AlreadyHandled, OutOfTurn):
                    # Whose turn it is not has changed nothing.
                    others.append(by)
            return others

        return await self.db.transact(step)

    async def _append(self, tx: Tx, payload: Payload) -> None:
        key = ordering_key(payload)
        row = await tx.fetch_one(
            "INSERT INTO outbox_sequences (key, last) VALUES (?, 1)"
            " ON CONFLICT (key) DO UPDATE SET last = outbox_sequences.last + 1 RETURNING last",
            (key,),
        )
        assert row is not None  # noqa: S101  INSERT … RETURNING has a row
        now = self._clock()
        event = Event(
            id=uuid7(),
            source=self.source,
            type=payload.type,
            subject=payload.subject,
            time=now,
            tenantid=payload.tenant_id,
            partitionkey=key,
            sequence=f"{row[0]:020}",
            data=msgspec.Raw(msgspec.json.encode(payload)),
        )
        await tx.execute(
            "INSERT INTO outbox (event_id, key, sequence, type, tenant_id, body, created_at)"
            " VALUES (?, ?, ?, ?, ?, ?, ?)",
            (event.id, key, row[0], event.type, event.tenantid, msgspec.json.encode(event), to_micros(now)),
        )


async def _take_turn(tx: Tx, by: ByEvent) -> None:
    """Record that this event is handled, which only the next in turn can be."""
    if by.replay:
        gone = await tx.execute(
            "DELETE FROM inbox_parked WHERE event_id = ? AND state = 'replay'", (by.event_id,)
        )
        if gone == 0:
            raise AlreadyHandled
        return
    if by.sequence == 1:
        moved = await tx.execute(
            "INSERT INTO inbox_positions (key, sequence) VALUES (?, 1)"
            " ON CONFLICT (key) DO UPDATE SET sequence = 1 WHERE inbox_positions.sequence = 0",
            (by.key,),
        )
    else:
        moved = await tx.execute(
            "UPDATE inbox_positions SET sequence = ? WHERE key = ? AND sequence = ?",
            (by.sequence, by.key, by.sequence - 1),
        )
    if moved == 0:
        row = await tx.fetch_one("SELECT sequence FROM inbox_positions WHERE key = ?", (by.key,))
        last = 0 if row is None else row[0]
        if last >= by.sequence:
            raise AlreadyHandled
        raise OutOfTurn(last + 1)
    await tx.execute("DELETE FROM inbox_parked WHERE event_id = ?", (by.event_id,))


_HELD = "tenant_id = ? AND principal = ? AND route = ? AND key = ? AND attempt = ? AND state = 'open'"


async def _check_claim(tx: Tx, claim: Claim) -> None:
    """Refuse a call whose claim has passed to another holder.

    This comes before its work, which would meet what the other holder did with the same id.
    """
    if await tx.fetch_one(f"SELECT 1 FROM claims WHERE {_HELD}", _held(claim)) is None:
        raise ClaimLost("Another request with this Idempotency-Key is in progress.")


async def _answer_claim(tx: Tx, claim: Claim, answer: bytes) -> None:
    """Store the answer with the effect, unless the claim has passed to another holder."""
    stored = await tx.execute(
        f"UPDATE claims SET state = 'done', answer = ? WHERE {_HELD}", (answer, *_held(claim))
    )
    if stored == 0:
        raise ClaimLost("Another request with this Idempotency-Key is in progress.")


def _held(claim: Claim) -> tuple[str, str, str, str, int]:
    return claim.tenant, claim.principal, claim.route, claim.key, claim.attempt


def _nobody() -> None:
    """Nobody listens yet: the relay's sweep finds the events."""
