"""Replicas of a service that share a PostgreSQL database: a lease of who relays, and calls between them.

The lease is a row, and its time the database's: the replicas' own clocks may differ. A call is a
notification after the commit, never in it: PostgreSQL lets transactions that notify commit one at a time,
which made writes seven times slower with 32 connections.
"""

import asyncio
from collections.abc import Callable
from typing import Any

import asyncpg

from mercato.adapters.sql.database import Database
from mercato.adapters.sql.postgres import PostgresDatabase

LEASE_S = 1.2
"""How long a replica leads unless it renews. With the time between two tries, less than two seconds."""
CHANNEL = "mercato_outbox"
_CONNECT_DEADLINE_S = 5.0
_ALIVE_EVERY_S = 5.0
_NAME = "relay"
_NOW = "CAST(extract(epoch FROM clock_timestamp()) * 1000000 AS bigint)"
_TAKE = f"""
INSERT INTO relay_lease (name, holder, expires_at) VALUES (?, ?, {_NOW} + ?)
ON CONFLICT (name) DO UPDATE SET holder = excluded.holder, expires_at = {_NOW} + ?
WHERE relay_lease.holder = excluded.holder OR relay_lease.expires_at <= {_NOW}
"""


async def is_relayed(db: Database) -> bool:
    """Say whether any replica relays the events of a database."""
    found = await db.fetch_one(f"SELECT 1 FROM relay_lease WHERE name = ? AND expires_at > {_NOW}", (_NAME,))
    return found is not None


class PostgresReplicas:
    """See messaging.replicas.Replicas."""

    def __init__(self, db: PostgresDatabase, me: str, *, lease_s: float = LEASE_S) -> None:
        """`me` names this replica, differently at each start."""
        self._db = db
        self._me = me
        self._lease = int(lease_s * 1_000_000)

    async def lead(self) -> bool:
        """Take the lease if it is free or run out, or renew it."""
        return await self._db.write(_TAKE, (_NAME, self._me, self._lease, self._lease)) == 1

    async def still_leads(self) -> bool:
        """Say whether the lease is held by this replica and has not run out."""
        row = await self._db.fetch_one(
            f"SELECT 1 FROM relay_lease WHERE name = ? AND holder = ? AND expires_at > {_NOW}",
            (_NAME, self._me),
        )
        return row is not None

    async def resign(self) -> None:
        """Let the lease run out now."""
        await self._db.write(
            "UPDATE relay_lease SET expires_at = 0 WHERE name = ? AND holder = ?", (_NAME, self._me)
        )

    async def call(self) -> None:
        """Notify whoever listens."""
        await self._db.fetch_one("SELECT pg_notify(?, '')", (CHANNEL,))

    async def hear(self, wake: Callable[[], None]) -> None:
        """Listen on a connection of one's own. Raises when that is lost."""
        connection = await asyncpg.connect(
            self._db.system_url,
            timeout=_CONNECT_DEADLINE_S,
            command_timeout=_CONNECT_DEADLINE_S,
            server_settings={"application_name": "mercato listener"},
        )
        lost = asyncio.Event()

        def heard(*_: Any) -> None:  # noqa: ANN401  asyncpg's own arguments
            wake()

        connection.add_termination_listener(lambda _: lost.set())
        try:
            await connection.add_listener(CHANNEL, heard)
            wake()
            while not lost.is_set():
                try:
                    async with asyncio.timeout(_ALIVE_EVERY_S):
                        await lost.wait()
                except TimeoutError:
                    # Asked now and then, since a connection may be gone without a word.
                    await connection.fetchval("SELECT 1")
            raise ConnectionResetError("the connection of the listener was lost")
        finally:
            connection.terminate()
