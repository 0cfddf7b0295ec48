"""A consumer's turns: a position for each ordering key, moved in the step that gives an event its effect."""

from collections.abc import Sequence

from mercato.adapters.sql.database import Database, Tx
from mercato.kernel.cause import ByEvent
from mercato.messaging.inbox import AlreadyHandled, OutOfTurn

TAKE = (
    "INSERT INTO inbox_positions (key, sequence) SELECT k, n FROM unnest(?::text[], ?::bigint[]) AS u (k, n)"
    " WHERE n = 1 OR EXISTS (SELECT 1 FROM inbox_positions p WHERE p.key = k) ORDER BY k"
    " ON CONFLICT (key) DO UPDATE SET sequence = excluded.sequence"
    " WHERE inbox_positions.sequence = excluded.sequence - 1"
)
"""Moves the positions of these keys to these numbers, those that stand before them; on PostgreSQL.

In the order of the keys, so that two replicas can never wait for each other.
"""
_BEHIND = (
    "SELECT u.k, p.event_id FROM unnest(?::text[]) AS u (k) CROSS JOIN LATERAL"
    " (SELECT event_id FROM inbox_parked WHERE key = u.k AND state IN ('failed', 'waiting')"
    " ORDER BY sequence LIMIT 2) AS p"
)


async def take_turn(tx: Tx, by: ByEvent) -> None:
    """Record that this event is handled, which only the next in turn can be.

    Raises AlreadyHandled, OutOfTurn.
    """
    by.followed = False
    if by.replay:
        gone = await tx.execute(
            "DELETE FROM inbox_parked WHERE event_id = ? AND state = 'replay'", (by.event_id,)
        )
        if gone == 0:
            raise AlreadyHandled
        return
    if by.sequence == 1:
        moved = await tx.execute(
            "INSERT INTO inbox_positions (key, sequence) VALUES (?, 1) ON CONFLICT (key)"
            # It is there already where somebody parked a later one; see lock_position.
            " DO UPDATE SET sequence = 1 WHERE inbox_positions.sequence = 0",
            (by.key,),
        )
    else:
        moved = await tx.execute(
            "UPDATE inbox_positions SET sequence = ? WHERE key = ? AND sequence = ?",
            (by.sequence, by.key, by.sequence - 1),
        )
    if moved == 0:
        row = await tx.fetch_one("SELECT sequence FROM inbox_positions WHERE key = ?", (by.key,))
        raise not_in_turn(by, 0 if row is None else row[0]) or AlreadyHandled
    await _look_behind(tx, by)


def not_in_turn(by: ByEvent, position: int) -> AlreadyHandled | OutOfTurn | None:
    """Return why it is not an event's turn where its key's position is that; None if it is."""
    if position >= by.sequence:
        return AlreadyHandled()
    return OutOfTurn(position + 1) if position + 1 < by.sequence else None


async def take_turns(tx: Tx, events: Sequence[ByEvent]) -> list[ByEvent]:
    """Record those events that are in turn as handled, on PostgreSQL; return the others."""
    others: list[ByEvent] = []
    rest = sorted(events, key=lambda by: (by.key, by.sequence))
    while rest:
        # Of each key one at a time: the next is in turn when the one before it is handled.
        firsts = {by.key: by for by in reversed(rest)}
        rest = [by for by in rest if firsts[by.key] is not by]
        numbers = [by.sequence for by in firsts.values()]
        moved = {key for (key,) in await tx.fetch_all(f"{TAKE} RETURNING key", ([*firsts], numbers))}
        others += [by for key, by in firsts.items() if key not in moved]
    return others


async def _look_behind(tx: Tx, by: ByEvent) -> None:
    """Forget that the event was parked, if it was, and note whether others wait behind it.

    The position is this step's now. Who parks a later event locks it too: either that one is seen here,
    or whoever parks it sees afterwards that its turn has come.
    """
    parked = await tx.fetch_all(
        "SELECT event_id FROM inbox_parked WHERE key = ? AND state IN ('failed', 'waiting')"
        " ORDER BY sequence LIMIT 2",
        (by.key,),
    )
    if (by.event_id,) in parked:
        await tx.execute("DELETE FROM inbox_parked WHERE event_id = ?", (by.event_id,))
    by.followed = any(event_id != by.event_id for (event_id,) in parked)


async def look_behind(db: Database, events: Sequence[ByEvent]) -> None:
    """Do the same for events whose turns have been committed, on PostgreSQL.

    Who has parked a later one before this is seen here; who does it after this sees that its turn has come.
    """
    by_key = {by.key: by for by in events}
    own: list[str] = []
    for key, event_id in await db.fetch_all(_BEHIND, ([*by_key],)):
        by = by_key[key]
        if event_id == by.event_id:
            own.append(event_id)
        else:
            by.followed = True
    if own:
        await db.write(
            "DELETE FROM inbox_parked WHERE event_id = ANY(?) AND state IN ('failed', 'waiting')", (own,)
        )


async def lock_position(tx: Tx, key: str) -> int:
    """Return the number of the last handled event of `key`; no other step can move it until this one ends."""
    # There must be a row to lock: two replicas may meet before the first event of a key.
    await tx.execute(
        "INSERT INTO inbox_positions (key, sequence) VALUES (?, 0) ON CONFLICT (key) DO NOTHING", (key,)
    )
    row = await tx.lock_one("SELECT sequence FROM inbox_positions WHERE key = ?", (key,))
    assert row is not None  # noqa: S101  it was put there if it was not
    return int(row[0])
