# Made by `make client` from the OpenAPI document; edits are lost.
"""What audit log send and answer."""

from collections.abc import Sequence
from datetime import datetime
from typing import Literal

import msgspec


class AuditEntryView(msgspec.Struct, frozen=True, kw_only=True):
    """An act: `actor` did `action` to an object. `fields` are those that were sent, without their values."""

    id: str
    tenant_id: str
    created_at: datetime
    actor: str
    actor_role: Literal["admin", "command_line", "customer", "operator", "service"]
    action: str
    object_kind: str
    object_id: str
    fields: Sequence[str]
    address: str
    request_id: str
