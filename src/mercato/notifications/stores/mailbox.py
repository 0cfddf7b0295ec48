"""The local mailbox: mails that go no further, for those who have no mail server, or try things.

It is as good as any mailbox: whoever reads it has the links in it.
"""

import asyncio

import msgspec

from mercato.adapters.sql.database import Database, Row, Tx
from mercato.kernel.ids import MailId, uuid7
from mercato.kernel.paging import Window
from mercato.kernel.tenancy import TenantId
from mercato.notifications.ports import Deposit, Mail, StoredMail
from mercato.notifications.stores.operators import shown_to

_encode = msgspec.json.Encoder().encode
_mail = msgspec.json.Decoder(Mail).decode


_MOST_STORES = 1_000
_TAKE = (
    "INSERT INTO outbox_sequences (key, last)"
    " SELECT ?, COALESCE(max(number), 0) + ? FROM mailbox WHERE tenant_id = ?"
    " ON CONFLICT (key) DO UPDATE SET last = GREATEST(outbox_sequences.last + ?, excluded.last)"
    " RETURNING last"
)
_TRIM = "DELETE FROM mailbox WHERE tenant_id = ? AND number <= ?"
_DEPOSIT = (
    "INSERT INTO mailbox (tenant_id, id, number, notification_id, sending, user_id, mail)"
    " VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (tenant_id, notification_id, sending) DO NOTHING"
)


class _Numbers:
    """Numbers of mails where many leave some at once: taken a few at a time, so that nobody waits for others.

    They go on from those that are there, which another instance may have counted. Some are never used.
    """

    def __init__(self, db: Database, *, keep: int) -> None:
        self._db = db
        self._keep = keep
        self._at_once = max(1, keep // 20)
        self._left: dict[TenantId, range] = {}
        self._taking = asyncio.Lock()

    async def next(self, tenant: TenantId) -> int:
        """Return a number that no other mail of the store has. Raises Unavailable."""
        async with self._taking:
            left = self._left.pop(tenant, range(0)) or await self._take(tenant)
            while len(self._left) >= _MOST_STORES:
                self._left.pop(next(iter(self._left)))
            self._left[tenant] = left[1:]
            return left[0]

    async def _take(self, tenant: TenantId) -> range:
        """Take some numbers, and make room for as many mails."""

        async def step(tx: Tx) -> int:
            row = await tx.fetch_one(_TAKE, (f"{tenant}/mailbox/mails", self._at_once, tenant, self._at_once))
            assert row is not None  # noqa: S101  it returns what it writes
            await tx.put(_TRIM, (tenant, row[0] - self._keep))
            return int(row[0])

        last = await self._db.transact(step)
        return range(last - self._at_once + 1, last + 1)


class LocalMailbox:
    """See notifications.ports.Sender and Mailbox. Sending an email twice leaves it there once.

    It keeps the latest emails of each store; older ones go.
    """

    def __init__(self, db: Database, *, keep: int) -> None:
        """`keep` is how many emails it keeps of each store."""
        self._db = db
        self._keep = keep
        self._numbers = _Numbers(db, keep=keep)

    async def send(self, mail: Mail) -> Deposit:
        """Leave an email to be put into the mailbox, which is done once, however often it is left.

        Raises Unavailable.
        """
        mail_id, content = uuid7(), _encode(mail).decode()
        about = (mail.notification_id, mail.sending, mail.user_id, content)
        if self._db.dialect == "postgres":
            number = await self._numbers.next(mail.tenant)
            return lambda tx: tx.put(_DEPOSIT, (mail.tenant, mail_id, number, *about))

        async def deposit(tx: Tx) -> None:
            added = await tx.execute(
                "INSERT INTO mailbox (tenant_id, id, number, notification_id, sending, user_id, mail)"
                " SELECT ?, ?, COALESCE(max(number), 0) + 1, ?, CAST(? AS INTEGER), ?, ? FROM mailbox"
                " WHERE tenant_id = ?"
                " ON CONFLICT (tenant_id, notification_id, sending) DO NOTHING",
                (mail.tenant, mail_id, *about, mail.tenant),
            )
            if added:
                await tx.execute(
                    "DELETE FROM mailbox WHERE tenant_id = ?"
                    " AND number <= (SELECT max(number) FROM mailbox WHERE tenant_id = ?) - ?",
                    (mail.tenant, mail.tenant, self._keep),
                )

        return deposit

    async def find(self, tenant: TenantId, mail_id: MailId, *, operators: bool) -> StoredMail | None:
        """Return one email."""
        shown = shown_to("mailbox", operators=operators)
        row = await self._db.fetch_one(
            f"SELECT id, mail FROM mailbox WHERE tenant_id = ? AND id = ?{shown}",
            (tenant, mail_id),
        )
        return None if row is None else _load(row)

    async def search(self, tenant: TenantId, window: Window, *, operators: bool) -> list[StoredMail]:
        """Return a window of a store's emails, latest first."""
        shown = shown_to("mailbox", operators=operators)
        seen, bounds = ("", ()) if window.after is None else (" AND id < ?", (window.after,))
        rows = await self._db.search(
            f"SELECT id, mail FROM mailbox WHERE tenant_id = ?{shown}{seen}"
            " ORDER BY id DESC LIMIT ? OFFSET ?",
            (tenant, *bounds, window.fetch, window.offset),
        )
        return [_load(row) for row in rows]

    async def count(self, tenant: TenantId, *, operators: bool) -> int:
        """Return how many emails there are."""
        shown = shown_to("mailbox", operators=operators)
        rows = await self._db.search(f"SELECT count(*) FROM mailbox WHERE tenant_id = ?{shown}", (tenant,))
        return int(rows[0][0])


def _load(row: Row) -> StoredMail:
    mail_id, content = row
    return StoredMail(MailId(mail_id), _mail(content))
