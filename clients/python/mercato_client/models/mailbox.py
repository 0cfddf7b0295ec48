# Made by `make client` from the OpenAPI document; edits are lost.
"""What mailbox send and answer."""

from collections.abc import Mapping
from datetime import datetime

import msgspec

from mercato_client.models.shared import Template


class MailSummary(msgspec.Struct, frozen=True, kw_only=True):
    """One email in the local mailbox, as a list shows it."""

    id: str
    notification_id: str
    template: Template
    recipient: str
    subject: str
    created_at: datetime


class MailView(msgspec.Struct, frozen=True, kw_only=True):
    """One email in the local mailbox, links included."""

    id: str
    notification_id: str
    template: Template
    recipient: str
    subject: str
    created_at: datetime
    headers: Mapping[str, str]
    text: str
    html: str
