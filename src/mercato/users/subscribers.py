"""What users does when something happens elsewhere."""

from collections.abc import Mapping

from mercato.contracts.audit import AuditRecorded
from mercato.contracts.events import Event
from mercato.kernel.cause import ByEvent
from mercato.messaging.inbox import Handler
from mercato.users.domain import AuditEntry
from mercato.users.ports import AuditLog

FAMILIES = frozenset({"audit"})


def handlers(log: AuditLog) -> Mapping[str, Handler]:
    """Return what to do by event type."""

    async def on_act(event: Event, by: ByEvent) -> None:
        act = event.payload(AuditRecorded)
        entry = AuditEntry(
            id=event.id,
            tenant_id=act.tenant_id,
            created_at=event.time,
            actor=act.actor,
            actor_role=act.role,
            action=act.action,
            object_kind=act.object_kind,
            object_id=act.object_id,
            fields=act.fields,
            address=act.address,
            request_id=act.request_id,
        )
        await log.add(entry, by=by)

    return {AuditRecorded.type: on_act}
