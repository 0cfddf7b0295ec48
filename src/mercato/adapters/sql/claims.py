"""Idempotency claims in a service's database."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime

from mercato.adapters.sql.database import Database, Tx
from mercato.adapters.sql.steps import ClaimLost
from mercato.kernel.cause import Claim
from mercato.kernel.clock import from_micros, to_micros
from mercato.kernel.shielding import shielded
from mercato.web.idempotency import Held

_SCOPE = "tenant_id = ? AND principal = ? AND route = ? AND key = ?"


class SqlClaims:
    """See web.idempotency.Claims."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._opening: dict[Claim, asyncio.Future[int]] = {}
        self._kept: set[Claim] = set()
        self._seen: set[Claim] = set()
        """Those that were kept when they were last renewed."""

    async def open(
        self, claim: Claim, body_hash: bytes, *, now: datetime, lease_until: datetime
    ) -> Held | None:
        """Store a new claim, or return the one that is there."""
        row = None
        while row is None:
            # Whoever goes away meanwhile frees it, which must not overtake this.
            opening = self._opening[claim] = asyncio.ensure_future(
                self._db.write(
                    "INSERT INTO claims (tenant_id, principal, route, key, body_hash, object_id, attempt,"
                    " state, lease_until, created_at) VALUES (?, ?, ?, ?, ?, ?, 1, 'open', ?, ?)"
                    " ON CONFLICT DO NOTHING",
                    (*_scope(claim), body_hash, claim.object_id, to_micros(lease_until), to_micros(now)),
                )
            )
            opening.add_done_callback(lambda _: self._opening.pop(claim, None))
            if await shielded(opening):
                return None
            # Its holder may give it back between the two; then it is there to be taken.
            row = await self._db.fetch_one(
                "SELECT body_hash, object_id, attempt, state, answer, lease_until, created_at FROM claims"
                f" WHERE {_SCOPE}",
                _scope(claim),
            )
        hashed, object_id, attempt, state, answer, lease, created = row
        found = Claim(claim.tenant, claim.principal, claim.route, claim.key, object_id, attempt)
        return Held(found, hashed, state == "done", answer or b"", from_micros(lease), from_micros(created))

    async def take_over(self, held: Held, *, now: datetime, lease_until: datetime) -> Claim | None:
        """Continue an operation whose holder is gone."""
        claim = held.claim
        taken = await self._db.write(
            f"UPDATE claims SET attempt = attempt + 1, lease_until = ? WHERE {_SCOPE}"
            " AND attempt = ? AND state = 'open' AND lease_until <= ?",
            (to_micros(lease_until), *_scope(claim), claim.attempt, to_micros(now)),
        )
        if not taken:
            return None
        return Claim(
            claim.tenant, claim.principal, claim.route, claim.key, claim.object_id, claim.attempt + 1
        )

    async def replace(self, held: Held) -> None:
        """Delete a claim that is older than a key is kept."""
        await self._db.write(
            f"DELETE FROM claims WHERE {_SCOPE} AND created_at = ?",
            (*_scope(held.claim), to_micros(held.created_at)),
        )

    async def free(self, claim: Claim) -> None:
        """Delete this holder's claim if it has had no effect."""
        if claim in self._opening:
            await asyncio.wait([self._opening[claim]])
        await self._db.write(
            f"DELETE FROM claims WHERE {_SCOPE} AND object_id = ? AND attempt = ? AND state = 'open'",
            (*_scope(claim), claim.object_id, claim.attempt),
        )

    async def suspend(self, claim: Claim) -> None:
        """End this holder's lease, and keep the claim."""
        await self._db.write(
            f"UPDATE claims SET lease_until = 0 WHERE {_SCOPE} AND attempt = ? AND state = 'open'",
            (*_scope(claim), claim.attempt),
        )

    @contextmanager
    def kept(self, claim: Claim) -> Iterator[None]:
        """Have `renew` renew a claim."""
        self._kept.add(claim)
        try:
            yield
        finally:
            self._kept.discard(claim)

    async def renew(self, *, lease_until: datetime) -> None:
        """Renew the claims that are kept, but for those that are so only since the last time."""
        due, self._seen = self._kept & self._seen, set(self._kept)
        if not due:
            return

        async def step(tx: Tx) -> None:
            # Who has one locked is about to have its effect, to renew it or to take it over: no wait is
            # worth it, and who holds many rows must never wait for one.
            unlocked = "FOR UPDATE SKIP LOCKED" if tx.dialect == "postgres" else ""
            for claim in due:
                await tx.execute(
                    "UPDATE claims SET lease_until = ? WHERE (tenant_id, principal, route, key) IN"
                    f" (SELECT tenant_id, principal, route, key FROM claims WHERE {_SCOPE}"
                    f" AND attempt = ? AND state = 'open' {unlocked})",
                    (to_micros(lease_until), *_scope(claim), claim.attempt),
                )

        await self._db.transact(step)

    async def end_leases(self) -> int:
        """End every lease: whoever held one is known to be gone. Return how many were open."""

        async def step(tx: Tx) -> int:
            return await tx.execute("UPDATE claims SET lease_until = 0 WHERE state = 'open'")

        return await self._db.transact(step)

    async def purge(self, *, before: datetime, limit: int) -> int:
        """Delete up to `limit` claims made before that moment; return how many."""

        async def step(tx: Tx) -> int:
            return await tx.execute(
                "DELETE FROM claims WHERE (tenant_id, principal, route, key) IN"
                " (SELECT tenant_id, principal, route, key FROM claims WHERE created_at < ?"
                " ORDER BY created_at LIMIT ?)",
                (to_micros(before), limit),
            )

        return await self._db.transact(step)


async def extend(tx: Tx, claim: Claim, lease_until: datetime) -> None:
    """Make a claim's lease longer, within a step on the way. Raises ClaimLost if it has passed on."""
    held = await tx.execute(
        f"UPDATE claims SET lease_until = ? WHERE {_SCOPE} AND attempt = ? AND state = 'open'",
        (to_micros(lease_until), *_scope(claim), claim.attempt),
    )
    if not held:
        raise ClaimLost("Another request with this Idempotency-Key is in progress.")


def _scope(claim: Claim) -> tuple[str, str, str, str]:
    return claim.tenant, claim.principal, claim.route, claim.key
