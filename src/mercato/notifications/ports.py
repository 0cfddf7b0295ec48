"""What notifications needs: a store, somebody who words emails, and somebody who takes them further."""

from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime
from typing import Any, Protocol

import msgspec

from mercato.contracts.stores import Store
from mercato.kernel.cause import ByEvent, Cause
from mercato.kernel.ids import MailId, NotificationId, OrderId, UserId
from mercato.kernel.paging import Window
from mercato.kernel.tenancy import TenantId
from mercato.notifications.domain import Facts, Notification, Status, Template

Decide = Callable[[Notification], Notification]
"""A pure decision on one notification. It may run again."""


class NotSentNow(Exception):
    """The mail could not be sent, and trying again may help; the message says why, without secrets."""


class MailRefused(Exception):
    """The mail will never be taken as it is; the message says why, without secrets."""


class Address(msgspec.Struct, frozen=True):
    """A mailbox, and what its owner is called; the name may be empty. Neither has a line break."""

    name: str
    email: str


class Mail(msgspec.Struct, frozen=True, kw_only=True):
    """One email to one recipient. `text` and `html` say the same, links included: it is a secret."""

    tenant: TenantId
    notification_id: NotificationId
    sending: int
    """With the notification's id, which email it is: tried again, it has the same `message_id`."""
    template: Template
    user_id: UserId
    message_id: str
    sender: Address
    recipient: Address
    reply_to: str | None
    subject: str
    text: str
    html: str
    date: datetime


Deposit = Callable[[Any], Awaitable[None]]
"""What is left to do in the step that records that an email was sent, given the step's transaction."""


class Sender(Protocol):
    """Takes emails further."""

    async def send(self, mail: Mail) -> Deposit | None:
        """Take one email, whose fate is known when this returns; or leave a deposit, which is its sending.

        The same email may come again, with the same `message_id`, if what became of it was not
        recorded. Raises NotSentNow, MailRefused. The caller sets a deadline.
        """
        ...


class Letter(msgspec.Struct, frozen=True, kw_only=True):
    """What an email is made of. `name` is what its recipient is greeted by, if anything."""

    template: Template
    store: Store
    name: str | None
    order_id: OrderId | None
    facts: Facts
    link: str | None


class Worded(msgspec.Struct, frozen=True):
    """An email's words; the subject is one line."""

    subject: str
    text: str
    html: str


class Templates(Protocol):
    """Words emails."""

    async def word(self, letter: Letter) -> Worded:
        """Return an email's words. What comes from people stands in them as text and nothing else."""
        ...


class NotificationFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Which notifications a list holds; None leaves a criterion open."""

    operators: bool
    """Whether those to operators may be among them."""
    status: Status | None = None
    template: Template | None = None
    order_id: OrderId | None = None
    recipient: str | None = None
    """An email address, in whatever case."""
    since: datetime | None = None
    before: datetime | None = None


class Standing(msgspec.Struct, frozen=True):
    """Whether a user is an operator, as an event about them says."""

    tenant: TenantId
    user_id: UserId
    is_operator: bool


class NotificationStore(Protocol):
    """Keeps notifications. Every write records its cause in the same commit."""

    async def add(self, notification: Notification | None, *, standing: Standing | None, by: ByEvent) -> None:
        """Queue a notification, unless its event has one of its template, and note who is an operator."""
        ...

    async def find(
        self, tenant: TenantId, notification_id: NotificationId, *, operators: bool
    ) -> Notification | None:
        """Return one notification; one to an operator only where `operators` is said."""
        ...

    async def search(
        self, tenant: TenantId, wanted: NotificationFilter, window: Window
    ) -> list[Notification]:
        """Return a window of a store's notifications, and one more if there are more.

        They are sorted by creation, latest first; the window's cursor is a `time_key`.
        """
        ...

    async def count(self, tenant: TenantId, wanted: NotificationFilter) -> int:
        """Return how many notifications there are."""
        ...

    async def change(
        self,
        tenant: TenantId,
        notification_id: NotificationId,
        decide: Decide,
        *,
        operators: bool,
        by: Cause,
    ) -> Notification:
        """Change one notification. Raises NotFound, and what `decide` raises."""
        ...

    async def claim(self, now: datetime, lease_until: datetime, limit: int) -> list[Notification]:
        """Take notifications of all stores that are due, longest waiting first; each is `sending` then.

        Whoever takes one has it alone until the lease ends. Then it is due again, with one more attempt.
        """
        ...

    async def settle(
        self, claimed: Notification, outcome: Notification, deposit: Deposit | None = None
    ) -> bool:
        """Store what came of a notification that was claimed, with the sender's deposit, in one step.

        Return False, and do nothing, if it has passed to somebody else.
        """
        ...

    async def make_due(self) -> int:
        """Make due at once what is being sent, in all stores; return how many notifications it is."""
        ...

    async def purge(self, *, before: datetime, limit: int) -> int:
        """Delete notifications that were queued before then and are not on their way, up to `limit` a store.

        Return how many were deleted of the store that had most of them.
        """
        ...

    async def waiting(self, most: int) -> Mapping[Status, int]:
        """Return how many of all stores are on their way, or failed; no more than `most` are counted."""
        ...


class StoredMail(msgspec.Struct, frozen=True):
    """An email in the local mailbox."""

    id: MailId
    mail: Mail


class Mailbox(Protocol):
    """Reads the local mailbox. Mails to operators are there only where `operators` is said."""

    async def find(self, tenant: TenantId, mail_id: MailId, *, operators: bool) -> StoredMail | None:
        """Return one email."""
        ...

    async def search(self, tenant: TenantId, window: Window, *, operators: bool) -> list[StoredMail]:
        """Return a window of a store's emails, newest first, and one more if there are more."""
        ...

    async def count(self, tenant: TenantId, *, operators: bool) -> int:
        """Return how many emails there are."""
        ...
