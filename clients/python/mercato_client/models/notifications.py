# Made by `make client` from the OpenAPI document; edits are lost.
"""What notifications send and answer."""

from datetime import datetime
from typing import Literal, TypeAlias

import msgspec

from mercato_client.models.shared import Template

Status: TypeAlias = Literal["failed", "queued", "sending", "sent", "skipped"]
"""Where a notification stands."""


class NotificationView(msgspec.Struct, frozen=True, kw_only=True):
    """One email about something that happened."""

    id: str
    tenant_id: str
    template: Template
    recipient: str | None
    subject: str | None
    status: Status
    attempts: int
    reason: str | None
    order_id: str | None
    created_at: datetime
    sent_at: datetime | None


class PreviewView(msgspec.Struct, frozen=True, kw_only=True):
    """The words of an email, as it would be sent now; instead of a link there is none."""

    subject: str
    text: str
    html: str
