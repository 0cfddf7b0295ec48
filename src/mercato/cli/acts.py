"""What is done at the command line is told in the audit log, as no user's act."""

from mercato.kernel.cause import BySystem, Note
from mercato.kernel.tenancy import DEFAULT_TENANT, TenantId

ACTOR = "command line"


def noted(action: str, kind: str, object_id: str, tenant: TenantId = DEFAULT_TENANT) -> Note:
    """Return what is told of a command, in a store; what is about no single one is told in `default`."""
    return Note(tenant, ACTOR, "command_line", action, kind, object_id)


def act(action: str, kind: str, object_id: str, tenant: TenantId = DEFAULT_TENANT) -> BySystem:
    """Return the cause of a command's change, of which it is told as of `noted`."""
    return BySystem(ACTOR, noted(action, kind, object_id, tenant))
