"""Who did what: what every service tells of the acts that are answered for."""

from mercato.contracts.events import Payload
from mercato.kernel.cause import Note


class AuditRecorded(Payload, frozen=True, kw_only=True):
    """Somebody who answers for it changed something. Of what they sent, only fields' names are told."""

    type = "audit.recorded"

    actor: str
    role: str
    action: str
    object_kind: str
    object_id: str
    fields: tuple[str, ...]
    address: str
    request_id: str

    @property
    def subject(self) -> str:
        """The object: acts on one keep their order, and those on others do not wait for them."""
        return f"{self.object_kind}:{self.object_id}"


def recorded(note: Note) -> AuditRecorded:
    """Return the event that tells of a noted act."""
    return AuditRecorded(
        tenant_id=note.tenant,
        actor=note.actor,
        role=note.role,
        action=note.action,
        object_kind=note.object_kind,
        object_id=note.object_id,
        fields=note.fields,
        address=note.address,
        request_id=note.request_id,
    )
