"""A consumer's inbox in its database."""

from collections.abc import Sequence
from datetime import datetime

import msgspec

from mercato.adapters.sql.database import Row, Tx
from mercato.adapters.sql.steps import Steps
from mercato.adapters.sql.turns import lock_position
from mercato.contracts.events import Events
from mercato.kernel.cause import ByEvent, Cause
from mercato.kernel.clock import from_micros, to_micros
from mercato.messaging.inbox import Parked, ParkedState

_COLUMNS = (
    "event_id, tenant_id, type, key, sequence, body, state, attempts, reason, next_try_at, first_seen_at"
)


class SqlInbox:
    """See messaging.inbox.InboxStore."""

    def __init__(self, steps: Steps) -> None:
        self._steps = steps
        self._db = steps.db

    async def settle(self, by: ByEvent) -> None:
        """Take note of an event that has no effect here."""
        await self._steps.settle(by)

    async def settle_all(self, events: Sequence[ByEvent]) -> list[ByEvent]:
        """Take note of those that are in turn, in one step; return the others."""
        return await self._steps.settle_all(events)

    async def position(self, key: str) -> int:
        """Return the number of the last handled event of `key`."""
        row = await self._db.fetch_one("SELECT sequence FROM inbox_positions WHERE key = ?", (key,))
        return 0 if row is None else int(row[0])

    async def park(self, parked: Parked) -> None:
        """Keep an event for later, or update it."""

        async def step(tx: Tx) -> None:
            if not await _handled(tx, parked):
                await _upsert(tx, parked)

        await self._db.transact(step)

    async def unpark(self, event_id: str) -> None:
        """Forget a parked event whose turn is past."""

        async def step(tx: Tx) -> None:
            await tx.execute(
                "DELETE FROM inbox_parked WHERE event_id = ? AND state IN ('failed', 'waiting')", (event_id,)
            )

        await self._db.transact(step)

    async def bury(self, parked: Parked) -> None:
        """Make an event a dead letter and let its key go on."""

        async def step(tx: Tx) -> None:
            if await _handled(tx, parked):
                return
            await _upsert(tx, msgspec.structs.replace(parked, state=ParkedState.DEAD))
            if parked.state is not ParkedState.REPLAY:
                await _advance(tx, parked.key, parked.sequence)

        await self._db.transact(step)

    async def due(self, now: datetime, limit: int) -> list[Parked]:
        """Return the events whose next try has come."""
        # Named one by one, the states are found by the index; dead letters may be very many.
        rows = await self._db.fetch_all(
            f"SELECT {_COLUMNS} FROM inbox_parked"
            " WHERE state IN ('failed', 'waiting', 'replay') AND next_try_at <= ?"
            " ORDER BY next_try_at, key, sequence LIMIT ?",
            (to_micros(now), limit),
        )
        return [_load(row) for row in rows]

    async def next_of(self, key: str) -> Parked | None:
        """Return the parked event of `key` that is first in turn."""
        row = await self._db.fetch_one(
            f"SELECT {_COLUMNS} FROM inbox_parked WHERE key = ? AND state IN ('failed', 'waiting')"
            " ORDER BY sequence LIMIT 1",
            (key,),
        )
        return None if row is None else _load(row)

    async def parked_keys(self) -> set[str]:
        """Return the ordering keys with an event that will be tried again."""
        rows = await self._db.search("SELECT DISTINCT key FROM inbox_parked WHERE state <> 'dead'")
        return {key for (key,) in rows}

    async def counts(self, most: int) -> dict[ParkedState, int]:
        """Return how many events are kept, by why; of each sort no more than `most` are counted."""
        found: dict[ParkedState, int] = {}
        for state in ParkedState:
            rows = await self._db.search(
                "SELECT count(*) FROM (SELECT 1 FROM inbox_parked WHERE state = ? LIMIT ?) AS counted",
                (state.value, most),
            )
            found[state] = int(rows[0][0])
        return found

    async def skip_to(self, key: str, sequence: int) -> None:
        """Make `sequence` the next in turn, unless an earlier one has come after all."""

        async def step(tx: Tx) -> None:
            # Whoever parks an earlier one has done so before this, or finds its turn past.
            await lock_position(tx, key)
            earlier = await tx.fetch_one(
                "SELECT 1 FROM inbox_parked WHERE key = ? AND sequence < ?"
                " AND state IN ('failed', 'waiting') LIMIT 1",
                (key, sequence),
            )
            if earlier is None:
                await _advance(tx, key, sequence - 1)

        await self._db.transact(step)

    async def dead_letters(self, limit: int, *, after: tuple[datetime, str] | None = None) -> list[Parked]:
        """Return dead letters, oldest first."""
        seen, event_id = (-1, "") if after is None else (to_micros(after[0]), after[1])
        rows = await self._db.fetch_all(
            f"SELECT {_COLUMNS} FROM inbox_parked WHERE state = 'dead' AND (first_seen_at, event_id) > (?, ?)"
            " ORDER BY first_seen_at, event_id LIMIT ?",
            (seen, event_id, limit),
        )
        return [_load(row) for row in rows]

    async def dead_letter(self, event_id: str) -> Parked | None:
        """Return one dead letter."""
        row = await self._db.fetch_one(
            f"SELECT {_COLUMNS} FROM inbox_parked WHERE event_id = ? AND state = 'dead'", (event_id,)
        )
        return None if row is None else _load(row)

    async def replay(self, event_id: str, now: datetime, *, by: Cause) -> bool:
        """Let a dead letter be tried anew, its attempts counted from zero."""

        async def work(tx: Tx) -> tuple[bool, Events]:
            changed = await tx.execute(
                "UPDATE inbox_parked SET state = 'replay', attempts = 0, next_try_at = ?"
                " WHERE event_id = ? AND state = 'dead' AND key <> ''",
                (to_micros(now), event_id),
            )
            return changed == 1, ()

        return await self._steps.run(by, work)

    async def drop(self, event_id: str, *, by: Cause) -> bool:
        """Delete a dead letter."""

        async def work(tx: Tx) -> tuple[bool, Events]:
            gone = await tx.execute(
                "DELETE FROM inbox_parked WHERE event_id = ? AND state = 'dead'", (event_id,)
            )
            return gone == 1, ()

        return await self._steps.run(by, work)


async def _handled(tx: Tx, parked: Parked) -> bool:
    """Say whether the event has had its turn in the meantime: a second delivery may run beside."""
    if parked.state is ParkedState.DEAD:
        return False
    if parked.state is ParkedState.REPLAY:
        # Its turn is past: its row, deleted with its effect, says that it is still to come.
        row = await tx.lock_one(
            "SELECT 1 FROM inbox_parked WHERE event_id = ? AND state = 'replay'", (parked.event_id,)
        )
        return row is None
    return await lock_position(tx, parked.key) >= parked.sequence


async def _upsert(tx: Tx, parked: Parked) -> None:
    await tx.execute(
        f"INSERT INTO inbox_parked ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
        " ON CONFLICT (event_id) DO UPDATE SET state = excluded.state, attempts = excluded.attempts,"
        " reason = excluded.reason, next_try_at = excluded.next_try_at"
        # A repeated delivery of what is dead or being tried already must not revive it.
        " WHERE inbox_parked.attempts <= excluded.attempts AND inbox_parked.state <> 'dead'",
        (
            parked.event_id,
            parked.tenant_id,
            parked.type,
            parked.key,
            parked.sequence,
            parked.body,
            parked.state.value,
            parked.attempts,
            parked.reason,
            to_micros(parked.next_try_at),
            to_micros(parked.first_seen_at),
        ),
    )


async def _advance(tx: Tx, key: str, sequence: int) -> None:
    await tx.execute(
        "INSERT INTO inbox_positions (key, sequence) VALUES (?, ?) ON CONFLICT (key)"
        " DO UPDATE SET sequence = excluded.sequence WHERE inbox_positions.sequence < excluded.sequence",
        (key, sequence),
    )


def _load(row: Row) -> Parked:
    event_id, tenant_id, kind, key, sequence, body, state, attempts, reason, next_try_at, first_seen_at = row
    return Parked(
        event_id=event_id,
        tenant_id=tenant_id,
        type=kind,
        key=key,
        sequence=sequence,
        body=body,
        state=ParkedState(state),
        attempts=attempts,
        reason=reason,
        next_try_at=from_micros(next_try_at),
        first_seen_at=from_micros(first_seen_at),
    )
