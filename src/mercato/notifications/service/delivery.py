"""Sending one notification: whom it goes to, what it says, and what came of it.

Nothing is asked of others inside a step. A step records what came of it; whoever dies before that leaves
the notification to be sent again, under the same Message-ID.
"""

import asyncio
import logging
import random
import re
from collections.abc import Callable
from datetime import timedelta

import msgspec

from mercato.contracts.stores import Store, StoreDirectory
from mercato.contracts.users import People, Recipient
from mercato.kernel.clock import Clock
from mercato.kernel.errors import Unavailable
from mercato.kernel.tracing import SpanKind, span
from mercato.notifications.domain import (
    LINKS,
    WITHOUT_LINK,
    Delays,
    Notification,
    Status,
    greeted,
    one_line,
)
from mercato.notifications.ports import (
    Address,
    Deposit,
    Letter,
    Mail,
    MailRefused,
    NotificationStore,
    NotSentNow,
    Sender,
    Templates,
    Worded,
)

log = logging.getLogger(__name__)

_url = re.compile(r"(?i)\b[a-z][a-z0-9+.-]*://\S+")
_LINK = "[link]"
_parts = re.compile(r"[^\s/?&=#]{12,}").findall
"""What of a link may be its token, wherever a store's own pages have it."""


class Skip(Exception):
    """There is nothing to send; the message says why."""


class Terms(msgspec.Struct, frozen=True, kw_only=True):
    """How emails are sent."""

    mail_from: str
    """The address that all of them come from, under each store's name."""
    reply_to: str | None
    timeout_s: float
    """How long it may take to make one, and as long again to send it."""
    delays: Delays

    @property
    def lease(self) -> timedelta:
        """How long whoever takes a notification has it: longer than they can be at it."""
        return timedelta(seconds=2 * self.timeout_s + 30)


class Delivery:
    """Sends what was claimed, and records what came of it."""

    def __init__(  # noqa: PLR0913  each is one collaborator
        self,
        store: NotificationStore,
        people: People,
        stores: StoreDirectory,
        templates: Templates,
        sender: Sender,
        terms: Terms,
        *,
        clock: Clock,
        chance: Callable[[], float] = random.random,
    ) -> None:
        """`chance` returns numbers in [0, 1), which spread what is tried again."""
        self._store = store
        self._people = people
        self._stores = stores
        self._templates = templates
        self._sender = sender
        self._terms = terms
        self._clock = clock
        self._chance = chance

    async def claim(self, limit: int) -> list[Notification]:
        """Take notifications that are due."""
        now = self._clock()
        return await self._store.claim(now, now + self._terms.lease, limit)

    async def deliver(self, claimed: Notification) -> None:
        """Send a notification that was claimed. Raises Unavailable if what came of it cannot be kept."""
        outcome, deposit = await self._outcome(claimed)
        if not await self._store.settle(claimed, outcome, deposit):
            log.warning("notification passed to another sender", extra=_about(claimed))
            return
        if outcome.status is Status.FAILED:
            log.error("mail given up", extra=_about(outcome) | {"cause": outcome.reason})
        elif outcome.status is Status.QUEUED:
            log.warning("mail not sent yet", extra=_about(outcome) | {"cause": outcome.reason})

    async def _outcome(self, claimed: Notification) -> tuple[Notification, Deposit | None]:
        if claimed.attempts > self._terms.delays.attempts:
            # Whoever tried it last did not live to say what came of it.
            return claimed.failed("every attempt to send it was broken off"), None
        try:
            async with asyncio.timeout(self._terms.timeout_s):
                mail = await self._mail(claimed)
            known = msgspec.structs.replace(claimed, recipient=mail.recipient.email, subject=mail.subject)
            return await self._send(known, mail)
        except Skip as skipped:
            return claimed.skipped(str(skipped)), None
        except Unavailable as away:
            return self._put_off(claimed, away.message), None
        except TimeoutError:
            return self._put_off(claimed, "what it needs did not answer in time"), None
        except Exception as error:
            # Its words may hold what the mail holds: the log has its type and place.
            log.exception("mail cannot be made", extra=_about(claimed))
            return self._put_off(claimed, f"it cannot be made: {type(error).__name__}"), None

    async def _send(self, known: Notification, mail: Mail) -> tuple[Notification, Deposit | None]:
        try:
            with span("mail send", SpanKind.CLIENT):
                async with asyncio.timeout(self._terms.timeout_s):
                    deposit = await self._sender.send(mail)
        except MailRefused as refused:
            return known.failed(_without_links(str(refused), mail)), None
        except NotSentNow as later:
            return self._put_off(known, _without_links(str(later), mail)), None
        except TimeoutError:
            return self._put_off(known, "the mail server did not answer in time"), None
        sent = known.sent(recipient=mail.recipient.email, subject=mail.subject, at=self._clock())
        return sent, deposit

    def _put_off(self, notification: Notification, reason: str) -> Notification:
        return notification.put_off(reason, self._terms.delays, at=self._clock(), chance=self._chance())

    async def _mail(self, notification: Notification) -> Mail:
        """Make the email. Raises Skip, Unavailable."""
        tenant, user_id = notification.tenant_id, notification.user_id
        store = await self._stores.find(tenant)
        if store is None:
            raise Skip("the store is gone")
        recipient = await self._people.recipient(tenant, user_id)
        if recipient is None:
            raise Skip("there is no such user of the store")
        if not recipient.is_active:
            raise Skip("the user is disabled")
        link = await self._link(notification)
        with span("mail render"):
            worded = await self._templates.word(letter(notification, store, recipient, link))
        return self._addressed(notification, store, recipient, worded)

    async def _link(self, notification: Notification) -> str | None:
        action = LINKS.get(notification.template)
        if action is None:
            return None
        link = await self._people.link(notification.tenant_id, notification.user_id, action)
        if link is None and notification.template not in WITHOUT_LINK:
            raise Skip("there is nothing left to link to")
        return link

    def _addressed(
        self, notification: Notification, store: Store, recipient: Recipient, worded: Worded
    ) -> Mail:
        mail_from = self._terms.mail_from
        return Mail(
            tenant=notification.tenant_id,
            notification_id=notification.id,
            sending=notification.sending,
            template=notification.template,
            user_id=notification.user_id,
            message_id=f"<{notification.id}.{notification.sending}@{mail_from.rpartition('@')[2]}>",
            sender=Address(one_line(store.name), mail_from),
            recipient=Address(one_line(f"{recipient.first_name} {recipient.last_name}"), recipient.email),
            reply_to=self._terms.reply_to,
            subject=worded.subject,
            text=worded.text,
            html=worded.html,
            date=self._clock(),
        )


def letter(notification: Notification, store: Store, recipient: Recipient | None, link: str | None) -> Letter:
    """Return what an email is made of. Whoever is not known is greeted without a name."""
    return Letter(
        template=notification.template,
        store=store,
        name=None if recipient is None else greeted(recipient.first_name),
        order_id=notification.order_id,
        facts=notification.facts,
        link=link,
    )


def _without_links(reason: str, mail: Mail) -> str:
    """Return a reason in which nothing of the mail's links is: servers like to say what they dislike."""
    told = _url.sub(_LINK, reason)
    for part in _parts(" ".join(_url.findall(mail.text))):
        told = told.replace(part, _LINK)
    return one_line(told)


def _about(notification: Notification) -> dict[str, object]:
    return {
        "tenant": notification.tenant_id,
        "notification": notification.id,
        "template": notification.template.value,
        "attempts": notification.attempts,
    }
