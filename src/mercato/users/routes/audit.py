"""The audit log over HTTP: who did what in the store, and when."""

from datetime import datetime
from typing import Annotated, Literal

import msgspec

from mercato.kernel.principal import AUDIT
from mercato.kernel.tenancy import TenantId
from mercato.users.domain import AuditEntry
from mercato.users.ports import AuditFilter, AuditLog
from mercato.web.call import Call
from mercato.web.endpoint import ADMINS, Routes
from mercato.web.envelope import Page
from mercato.web.paging import latest_first
from mercato.web.spans import SpanQuery, span

_Name = Annotated[str, msgspec.Meta(min_length=1, max_length=64)]


class AuditEntryView(msgspec.Struct, frozen=True, kw_only=True):
    """An act: `actor` did `action` to an object. `fields` are those that were sent, without their values."""

    id: str
    tenant_id: TenantId
    created_at: datetime
    actor: str
    actor_role: Literal["customer", "admin", "operator", "service", "command_line"]
    action: str
    object_kind: str
    object_id: str
    fields: tuple[str, ...]
    address: str
    request_id: str


class AuditQuery(SpanQuery, frozen=True, kw_only=True):
    """Which entries to list: of one actor, of one action, about one kind of object or one object."""

    actor: _Name | None = None
    action: _Name | None = None
    object_kind: _Name | None = None
    object_id: _Name | None = None


def audit(api: Routes, log: AuditLog) -> None:
    """Declare the endpoint."""

    @api.get("/api/v1/audit-log", allow=ADMINS, scope=AUDIT)
    async def list_audit_log(call: Call, query: AuditQuery) -> Page[AuditEntryView]:
        """List what was done in the store by its staff, its machines and operators, latest first.

        Of customers it tells what concerns their accounts. An entry appears within a second of its change.
        """
        since, before = span(query)
        wanted = AuditFilter(
            actor=query.actor,
            action=query.action,
            object_kind=query.object_kind,
            object_id=query.object_id,
            since=since,
            before=before,
        )
        return await latest_first(
            query,
            lambda part: log.search(call.tenant, wanted, part),
            lambda: log.count(call.tenant, wanted),
            _view,
        )


def _view(entry: AuditEntry) -> AuditEntryView:
    return msgspec.convert(entry, AuditEntryView, from_attributes=True)
