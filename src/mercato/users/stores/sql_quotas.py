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

    async def save(self, day: date, used: Mapping[TenantId, int]) -> None:
        """Write counts of a day. A count that is kept already never becomes less."""
        counts = iter(used.items())
        while some := list(islice(counts, _BATCH)):
            await self._save(day.isoformat(), some)

    async def _save(self, day: str, counts: list[tuple[TenantId, int]]) -> None:
        async def step(tx: Tx) -> None:
            for tenant, used in counts:
                await tx.execute(
                    "INSERT INTO quotas (day, tenant_id, used) VALUES (?, ?, ?)"
                    " ON CONFLICT (day, tenant_id) DO UPDATE SET used = excluded.used"
                    " WHERE quotas.used < excluded.used",
                    (day, tenant, used),
                )
            await tx.execute(
                "DELETE FROM quotas WHERE (day, tenant_id) IN"
                " (SELECT day, tenant_id FROM quotas WHERE day < ? ORDER BY day LIMIT ?)",
                (day, _PURGED),
            )

        await self._db.transact(step)
