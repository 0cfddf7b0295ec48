"""How notifications is put together."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Literal

import msgspec

from mercato.adapters.service import MOST_COUNTED, Gauge, ServiceParts
from mercato.adapters.sql.claims import SqlClaims
from mercato.adapters.sql.database import Database
from mercato.adapters.sql.steps import Steps
from mercato.contracts.stores import StoreDirectory
from mercato.contracts.users import People
from mercato.kernel.clock import Clock
from mercato.kernel.redaction import discreet
from mercato.kernel.tracing import UNTRACED, Tracing
from mercato.notifications.domain import Delays
from mercato.notifications.ports import Sender
from mercato.notifications.routes import routes
from mercato.notifications.service.delivery import Delivery, Terms
from mercato.notifications.service.notifications import Notifications
from mercato.notifications.stores.mailbox import LocalMailbox
from mercato.notifications.stores.sql import SqlNotifications
from mercato.notifications.subscribers import FAMILIES, handlers
from mercato.notifications.templates import JinjaTemplates
from mercato.notifications.workers import Dispatch, purge


class SmtpSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Where the mail server is. `tls` is none, starttls or implicit."""

    host: str
    port: int = 587
    user: str = ""
    password: str = ""
    tls: Literal["none", "starttls", "implicit"] = "starttls"

    __repr__ = discreet


class NotificationsSettings(msgspec.Struct, frozen=True, kw_only=True):
    """How notifications behaves. Times are in seconds."""

    mail_from: str = "no-reply@localhost"
    reply_to: str = ""
    smtp: SmtpSettings | None = None
    """None keeps mails in the local mailbox."""
    keep: int = 1_000
    """How many mails of each store the local mailbox keeps."""
    timeout_s: float = 30.0
    """How long it may take to make one mail, and as long again to send it."""
    first_retry_s: float = 10.0
    most_retry_s: float = 10_800.0
    attempts: int = 15
    retention_days: int = 365
    """How long notifications are kept that were sent or given up."""
    most: int = 16
    """How many mails are sent at the same time."""


@dataclass(frozen=True, slots=True)
class NotificationsService:
    """Notifications, wired."""

    parts: ServiceParts
    service: Notifications
    store: SqlNotifications
    mailbox: LocalMailbox
    dispatch: Dispatch
    timeout_s: float

    async def take_up(self) -> int:
        """Take up at once what a former process, known to be dead, was sending; say how much."""
        return await self.store.make_due()

    async def close(self) -> None:
        """Let mails end that are being sent. The database is the root's to close."""
        await self.dispatch.close(within_s=self.timeout_s)


def build(
    db: Database,
    *,
    clock: Clock,
    people: People,
    stores: StoreDirectory,
    settings: NotificationsSettings,
    traces: Tracing = UNTRACED,
) -> NotificationsService:
    """Wire notifications on its database."""
    steps = Steps(db, source="/mercato/notifications", clock=clock)
    store, claims = SqlNotifications(steps), SqlClaims(db)
    mailbox, templates = LocalMailbox(db, keep=settings.keep), JinjaTemplates()
    service = Notifications(store, people, stores, templates)
    sender: Sender = mailbox if settings.smtp is None else _smtp(settings.smtp, settings.timeout_s)
    delivery = Delivery(store, people, stores, templates, sender, _terms(settings), clock=clock)
    dispatch = Dispatch(delivery, most=settings.most, traces=traces)
    store.on_due(dispatch.wake)

    async def waiting() -> Mapping[tuple[str, ...], int]:
        return {(status.value,): count for status, count in (await store.waiting(MOST_COUNTED)).items()}

    parts = ServiceParts(
        name="notifications",
        steps=steps,
        claims=claims,
        routes=routes(service, store, mailbox, claims),
        handlers=handlers(store, clock),
        families=FAMILIES,
        workers=(dispatch.run, purge(store, clock, timedelta(days=settings.retention_days))),
        gauges=(
            Gauge(
                "mercato_notifications",
                "Emails that wait to be sent, are being sent, or were given up;"
                f" counted up to {MOST_COUNTED}.",
                ("status",),
                waiting,
            ),
        ),
    )
    return NotificationsService(parts, service, store, mailbox, dispatch, settings.timeout_s)


def _terms(settings: NotificationsSettings) -> Terms:
    return Terms(
        mail_from=settings.mail_from,
        reply_to=settings.reply_to or None,
        timeout_s=settings.timeout_s,
        delays=Delays(
            first=timedelta(seconds=settings.first_retry_s),
            most=timedelta(seconds=settings.most_retry_s),
            attempts=settings.attempts,
        ),
    )


def _smtp(settings: SmtpSettings, timeout_s: float) -> Sender:
    # The library is there for those who need it.
    from mercato.notifications.senders.smtp import Server, SmtpSender  # noqa: PLC0415

    server = Server(
        host=settings.host,
        port=settings.port,
        tls=settings.tls,
        user=settings.user,
        password=settings.password,
        timeout_s=timeout_s,
    )
    return SmtpSender(server)
