"""The day's quotas in a relational database."""

from collections.abc import Mapping
from datetime import date
from itertools import islice

from mercato.adapters.sql.database import Database, Tx
from mercato.kernel.tenancy import TenantId

_BATCH = 500
"""How many counts one step writes, so that others are not held up."""
_PURGED = 1_000
"""How many counts of former days one step deletes."""


class SqlQuotas:
    """See web.limits.QuotaStore. Counts of former days are deleted as new ones are written."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def load(self, day: date) -> Mapping[TenantId, int]:
        """Return the counts of a day."""
        rows = await self._db.search("SELECT tenant_id, used FROM quotas WHERE day = ?", (day.isoformat(),))
        return {TenantId(tenant): int(used) for tenant, used in rows}

    async def add(self, day: date, counted: Mapping[TenantId, int]) -> Mapping[TenantId, int]:
        """Add to counts of a day; return what they are then. Several processes may at once."""
        # In one order everywhere, so that no two steps wait for each other.
        counts, totals = iter(sorted(counted.items())), dict[TenantId, int]()
        while some := list(islice(counts, _BATCH)):
            totals |= await self._add(day.isoformat(), some)
        return totals

    async def _add(self, day: str, counts: list[tuple[TenantId, int]]) -> dict[TenantId, int]:
        async def step(tx: Tx) -> dict[TenantId, int]:
            totals = {}
            for tenant, count in counts:
                row = await tx.fetch_one(
                    "INSERT INTO quotas (day, tenant_id, used) VALUES (?, ?, ?)"
                    " ON CONFLICT (day, tenant_id) DO UPDATE SET used = quotas.used + excluded.used"
                    " RETURNING used",
                    (day, tenant, count),
                )
                totals[tenant] = count if row is None else int(row[0])
            await tx.execute(
                "DELETE FROM quotas WHERE (day, tenant_id) IN"
                " (SELECT day, tenant_id FROM quotas WHERE day < ? ORDER BY day LIMIT ?)",
                (day, _PURGED),
            )
            return totals

        return await self._db.transact(step)
