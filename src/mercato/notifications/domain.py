"""The rules of notifications: pure, immutable, with time and chance passed in.

queued → sending → sent | skipped | failed
sending → queued    where trying again may help
sent, skipped, failed → queued    where somebody has it sent again
"""

import enum
import re
import unicodedata
from datetime import datetime, timedelta

import msgspec

from mercato.contracts.users import LinkAction
from mercato.kernel.errors import Conflict
from mercato.kernel.ids import NotificationId, OrderId, UserId
from mercato.kernel.money import to_decimal
from mercato.kernel.tenancy import TenantId

MAX_REASON = 500
MAX_GREETED = 40
"""How long a name may be to be greeted by."""


class Template(enum.StrEnum):
    """What an email is about."""

    WELCOME = "welcome"
    ORDER_CREATED = "order_created"
    ORDER_PAID = "order_paid"
    ORDER_SHIPPED = "order_shipped"
    ORDER_DELIVERED = "order_delivered"
    ORDER_CANCELLED = "order_cancelled"
    PAYMENT_FAILED = "payment_failed"
    REFUNDED = "refunded"
    RESET_PASSWORD = "reset_password"  # noqa: S105  a template's name
    VERIFY_EMAIL = "verify_email"
    INVITATION = "invitation"


LINKS: dict[Template, LinkAction] = {
    Template.WELCOME: "verify-email",
    Template.RESET_PASSWORD: "reset-password",
    Template.VERIFY_EMAIL: "verify-email",
    Template.INVITATION: "accept-invitation",
}
"""Which link an email carries. It is made when the email is sent, and kept nowhere but in it."""

WITHOUT_LINK = frozenset({Template.WELCOME})
"""What is sent also where there is nothing left to link to."""

OF_ACTION: dict[LinkAction, Template] = {
    action: template for template, action in LINKS.items() if template not in WITHOUT_LINK
}
"""The email that is sent for a link's sake."""


class Status(enum.StrEnum):
    """Where a notification stands."""

    QUEUED = "queued"
    SENDING = "sending"
    SENT = "sent"
    SKIPPED = "skipped"
    """There is nobody to write to, or nothing to say any more."""
    FAILED = "failed"
    """It was given up. It is this email's dead letter: somebody may have it sent again."""


OPEN = frozenset({Status.QUEUED, Status.SENDING})
"""Statuses in which it is on its way."""


class OnItsWay(Conflict):
    """What has not been sent, or given up, is not sent again."""


class Line(msgspec.Struct, frozen=True):
    """One line of an order. `unit_price` is in minor units."""

    name: str
    quantity: int
    unit_price: int


class Facts(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What an email tells, as the event had it; never a secret. Amounts are in minor units."""

    currency: str = ""
    amount: int = 0
    """The order's total, or the payment's amount."""
    refunded: int = 0
    """The sum of what has been given back so far."""
    name: str | None = None
    """What the shopper calls the order."""
    lines: tuple[Line, ...] = ()
    hold_until: datetime | None = None
    """Until when the order's stock is held for its payment."""
    method: str = ""
    reason: str | None = None


class Delays(msgspec.Struct, frozen=True):
    """When an email is tried again: each delay is `factor` times the one before, up to `most`."""

    first: timedelta = timedelta(seconds=10)
    factor: float = 3.0
    most: timedelta = timedelta(hours=3)
    attempts: int = 15
    """After how many it is given up: with these delays, after about a day."""

    def after(self, attempts: int, chance: float) -> timedelta:
        """Return how long to wait after that many failures. `chance` in [0, 1) spreads them."""
        full = min(self.first.total_seconds() * self.factor ** (attempts - 1), self.most.total_seconds())
        return timedelta(seconds=full * (0.8 + 0.4 * chance))


class Notification(msgspec.Struct, frozen=True, kw_only=True):
    """One email about one event. `recipient` and `subject` are known once it was tried."""

    tenant_id: TenantId
    id: NotificationId
    event_id: str
    template: Template
    user_id: UserId
    order_id: OrderId | None
    facts: Facts
    status: Status = Status.QUEUED
    attempts: int = 0
    """How often this sending of it was tried."""
    sending: int = 1
    """The how-manieth sending it is: one more each time that somebody has it sent again."""
    reason: str | None = None
    """Why it was skipped or failed, or why the last try did."""
    recipient: str | None = None
    subject: str | None = None
    due_at: datetime | None
    """When it is to be tried, or to be taken from who tries it; None where it is not on its way."""
    created_at: datetime
    sent_at: datetime | None = None
    traceparent: str | None = None
    """Where in a trace it was queued, as W3C writes it."""

    def sent(self, *, recipient: str, subject: str, at: datetime) -> "Notification":
        """Note that the sender has taken it."""
        return msgspec.structs.replace(
            self,
            status=Status.SENT,
            recipient=recipient,
            subject=subject,
            reason=None,
            due_at=None,
            sent_at=at,
        )

    def skipped(self, reason: str) -> "Notification":
        """Note that there is nothing to send."""
        return msgspec.structs.replace(self, status=Status.SKIPPED, reason=reason, due_at=None)

    def failed(self, reason: str) -> "Notification":
        """Give it up."""
        return msgspec.structs.replace(self, status=Status.FAILED, reason=reason[:MAX_REASON], due_at=None)

    def put_off(self, reason: str, delays: Delays, *, at: datetime, chance: float) -> "Notification":
        """Have it tried again later; give it up if it was tried often enough."""
        if self.attempts >= delays.attempts:
            return self.failed(f"{reason} (given up after {self.attempts} attempts)")
        due_at = at + delays.after(self.attempts, chance)
        return msgspec.structs.replace(self, status=Status.QUEUED, reason=reason[:MAX_REASON], due_at=due_at)

    def again(self, *, at: datetime) -> "Notification":
        """Have it sent again, as another sending. Raises OnItsWay."""
        if self.status in OPEN:
            raise OnItsWay(f"The notification is {self.status}: it is on its way.")
        return msgspec.structs.replace(
            self, status=Status.QUEUED, attempts=0, sending=self.sending + 1, reason=None, due_at=at
        )


def greeted(first_name: str) -> str | None:
    """Return the name to greet somebody by; None where it may be no name.

    Whoever registers with somebody else's email chooses the name, and must not write to them by it.
    """
    name = one_line(first_name)
    is_message = len(name) > MAX_GREETED or _not_in_names(name) is not None
    return None if is_message or not name else name


_not_in_names = re.compile(r"[:/@<>{}\[\]|\\=+&%$#!?\d]|\w\.\w").search


def one_line(text: str) -> str:
    """Return a text on one line, without control characters: it becomes part of headers and lines."""
    if text.isprintable() and "  " not in text:
        return text.strip()
    kept = "".join(" " if unicodedata.category(char) in _BREAKING else char for char in text)
    return " ".join(kept.split())


_BREAKING = frozenset({"Cc", "Zl", "Zp", "Cs"})


def money(minor: int, currency: str) -> str:
    """Return an amount for people, with its currency's digits: `1,234.50 EUR`."""
    return f"{to_decimal(minor, currency):,} {currency}"
