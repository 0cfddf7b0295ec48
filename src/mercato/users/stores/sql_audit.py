"""The audit log in a relational database. Entries are added, and deleted when they are old: nothing else."""

from datetime import datetime

from mercato.adapters.sql.database import Row, Tx, Value
from mercato.adapters.sql.steps import Steps
from mercato.adapters.sql.timed import LATEST_FIRST, between, page
from mercato.contracts.events import Events
from mercato.kernel.cause import Cause
from mercato.kernel.clock import from_micros, to_micros
from mercato.kernel.paging import Window
from mercato.kernel.tenancy import TenantId
from mercato.users.domain import AuditEntry
from mercato.users.ports import AuditFilter

_ENTRY = (
    "tenant_id, id, created_at, actor, actor_role, action, object_kind, object_id, fields, address,"
    " request_id"
)


class SqlAuditLog:
    """See users.ports.AuditLog."""

    def __init__(self, steps: Steps) -> None:
        self._steps = steps
        self._db = steps.db

    async def add(self, entry: AuditEntry, *, by: Cause) -> None:
        """Add an entry, once for its id."""

        async def work(tx: Tx) -> tuple[None, Events]:
            await tx.execute(
                f"INSERT INTO audit_log ({_ENTRY}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
                " ON CONFLICT DO NOTHING",
                _values(entry),
            )
            return None, ()

        await self._steps.run(by, work)

    async def search(self, tenant: TenantId, wanted: AuditFilter, window: Window) -> list[AuditEntry]:
        """Return a window of a store's entries, latest first."""
        where, params = _where(tenant, wanted)
        part, bounds = page(window, wanted.since, wanted.before)
        rows = await self._db.search(
            f"SELECT {_ENTRY} FROM audit_log WHERE {where}{part} {LATEST_FIRST}",
            (*params, *bounds, window.fetch, window.offset),
        )
        return [_load(row) for row in rows]

    async def count(self, tenant: TenantId, wanted: AuditFilter) -> int:
        """Return how many entries there are."""
        where, params = _where(tenant, wanted)
        part, bounds = between(wanted.since, wanted.before)
        rows = await self._db.search(
            f"SELECT count(*) FROM audit_log WHERE {where}{part}", (*params, *bounds)
        )
        return int(rows[0][0])

    async def purge(self, *, before: datetime, limit: int) -> int:
        """Delete up to `limit` entries made before that moment, of all stores; return how many."""

        async def step(tx: Tx) -> int:
            return await tx.execute(
                "DELETE FROM audit_log WHERE (tenant_id, id) IN (SELECT tenant_id, id FROM audit_log"
                " WHERE created_at < ? ORDER BY created_at LIMIT ?)",
                (to_micros(before), limit),
            )

        return await self._db.transact(step)


def _where(tenant: TenantId, wanted: AuditFilter) -> tuple[str, list[Value]]:
    where, params = "tenant_id = ?", list[Value]([tenant])
    filters = {
        "object_id": wanted.object_id,
        "action": wanted.action,
        "object_kind": wanted.object_kind,
        "actor": wanted.actor,
    }
    given = [(column, value) for column, value in filters.items() if value is not None]
    for column, value in given:
        # One object has few entries, and an action is about one kind: what says less must not be
        # what they are looked up by.
        says_less = given[0][0] == "object_id" or (column == "object_kind" and wanted.action is not None)
        is_looked_up = column == given[0][0] or not says_less
        where += f" AND {column} = ?" if is_looked_up else f" AND coalesce({column}, '') = ?"
        params.append(value)
    return where, params


def _values(entry: AuditEntry) -> tuple[Value, ...]:
    return (
        entry.tenant_id,
        entry.id,
        to_micros(entry.created_at),
        entry.actor,
        entry.actor_role,
        entry.action,
        entry.object_kind,
        entry.object_id,
        " ".join(entry.fields),
        entry.address,
        entry.request_id,
    )


def _load(row: Row) -> AuditEntry:
    tenant, entry_id, created_at, actor, role, action, kind, object_id, fields, address, request_id = row
    return AuditEntry(
        id=entry_id,
        tenant_id=tenant,
        created_at=from_micros(created_at),
        actor=actor,
        actor_role=role,
        action=action,
        object_kind=kind,
        object_id=object_id,
        fields=tuple(fields.split()),
        address=address,
        request_id=request_id,
    )
