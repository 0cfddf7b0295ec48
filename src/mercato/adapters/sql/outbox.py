"""A service's outbox in its database."""

from collections.abc import Sequence
from datetime import datetime

from mercato.adapters.sql.database import Database, Tx
from mercato.kernel.clock import from_micros, to_micros
from mercato.messaging.bus import Message
from mercato.messaging.outbox import UNCOUNTED, OutboxLag

_MARKED_AT_ONCE = 64


class SqlOutbox:
    """See messaging.outbox.Outbox."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def unsent(self, limit: int) -> list[Message]:
        """Return unconfirmed events in commit order."""
        rows = await self._db.fetch_all(
            "SELECT position, type, body, key FROM outbox WHERE sent_at IS NULL ORDER BY position LIMIT ?",
            (limit,),
        )
        return [Message(*row) for row in rows]

    async def mark_sent(self, positions: Sequence[int], *, at: datetime) -> None:
        """Note that the bus has these."""
        sent_at = to_micros(at)
        if self._db.dialect == "postgres":
            sent = "UPDATE outbox SET sent_at = ? WHERE position = ANY(?)"
            await self._db.write(sent, (sent_at, [*positions]))
            return

        async def step(tx: Tx) -> None:
            for start in range(0, len(positions), _MARKED_AT_ONCE):
                some = positions[start : start + _MARKED_AT_ONCE]
                marks = ", ".join("?" * len(some))
                await tx.execute(
                    f"UPDATE outbox SET sent_at = ? WHERE position IN ({marks})", (sent_at, *some)
                )

        await self._db.transact(step)

    async def resend(self, key: str, *, after: int, before: int) -> int:
        """Make the events between the two numbers unsent again; return how many there are."""
        return await self._db.write(
            "UPDATE outbox SET sent_at = NULL WHERE key = ? AND sequence > ? AND sequence < ?",
            (key, after, before),
        )

    async def unsent_keys(self) -> set[str]:
        """Return the ordering keys with an event that waits."""
        rows = await self._db.search("SELECT DISTINCT key FROM outbox WHERE sent_at IS NULL")
        return {key for (key,) in rows}

    async def lag(self, most: int = UNCOUNTED) -> OutboxLag:
        """Return how much waits and since when; no more than `most` are counted."""
        waiting = "FROM outbox WHERE sent_at IS NULL"
        counted = await self._db.search(
            f"SELECT count(*) FROM (SELECT 1 {waiting} LIMIT ?) AS counted", (most,)
        )
        oldest = await self._db.fetch_one(f"SELECT created_at {waiting} ORDER BY position LIMIT 1")
        return OutboxLag(counted[0][0], None if oldest is None else from_micros(oldest[0]))

    async def purge(self, *, before: datetime, limit: int) -> int:
        """Delete events sent before that moment."""
        return await self._db.write(
            # Only the oldest rows are looked at, so that finding nothing costs nothing.
            "DELETE FROM outbox WHERE position IN (SELECT position FROM outbox ORDER BY position LIMIT ?)"
            " AND sent_at IS NOT NULL AND created_at < ?",
            (limit, to_micros(before)),
        )
