"""Notifications, and the local mailbox, as clients see them. No notification has a link in it."""

from datetime import datetime

import msgspec

from mercato.notifications.domain import Notification, Status, Template
from mercato.notifications.ports import Address, StoredMail


class NotificationView(msgspec.Struct, frozen=True, kw_only=True):
    """One email about something that happened."""

    id: str
    tenant_id: str
    template: Template
    recipient: str | None
    """Known once it was tried."""
    subject: str | None
    """As `recipient`."""
    status: Status
    attempts: int
    reason: str | None
    """Why it was skipped or failed, or why the last attempt did."""
    order_id: str | None
    created_at: datetime
    sent_at: datetime | None
    """When it was sent last."""


class PreviewView(msgspec.Struct, frozen=True):
    """The words of an email, as it would be sent now; instead of a link there is none."""

    subject: str
    text: str
    html: str


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
    headers: dict[str, str]
    text: str
    html: str


def view(notification: Notification) -> NotificationView:
    """Show a notification."""
    return NotificationView(
        id=notification.id,
        tenant_id=notification.tenant_id,
        template=notification.template,
        recipient=notification.recipient,
        subject=notification.subject,
        status=notification.status,
        attempts=notification.attempts,
        reason=notification.reason,
        order_id=notification.order_id,
        created_at=notification.created_at,
        sent_at=notification.sent_at,
    )


def summary(stored: StoredMail) -> MailSummary:
    """Show an email in a list."""
    return MailSummary(
        id=stored.id,
        notification_id=stored.mail.notification_id,
        template=stored.mail.template,
        recipient=stored.mail.recipient.email,
        subject=stored.mail.subject,
        created_at=stored.mail.date,
    )


def mail_view(stored: StoredMail) -> MailView:
    """Show an email."""
    mail = stored.mail
    headers = {
        "From": _shown(mail.sender),
        "To": _shown(mail.recipient),
        "Reply-To": mail.reply_to,
        "Subject": mail.subject,
        "Date": mail.date.isoformat(timespec="seconds"),
        "Message-ID": mail.message_id,
        "Auto-Submitted": "auto-generated",
    }
    return MailView(
        id=stored.id,
        notification_id=mail.notification_id,
        template=mail.template,
        recipient=mail.recipient.email,
        subject=mail.subject,
        created_at=mail.date,
        headers={name: value for name, value in headers.items() if value is not None},
        text=mail.text,
        html=mail.html,
    )


def _shown(address: Address) -> str:
    return f"{address.name} <{address.email}>" if address.name else address.email
