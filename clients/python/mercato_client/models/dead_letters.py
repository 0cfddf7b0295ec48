# Made by `make client` from the OpenAPI document; edits are lost.
"""What dead letters send and answer."""

from datetime import datetime

import msgspec


class DeadLetterView(msgspec.Struct, frozen=True, kw_only=True):
    """An event that kept failing: where, why, and what it says."""

    id: str
    consumer: str
    type: str
    tenant_id: str
    key: str
    sequence: int
    attempts: int
    reason: str
    first_seen_at: datetime
    body: str
