"""The local mailbox: mails that go no further, for those who have no mail server, or try things.

It is as good as any mailbox: whoever reads it has the links in it.
"""

from datetime import datetime

import msgspec

from mercato.adapters.sql.database import Database, Row, Tx
from mercato.adapters.sql.timed import LATEST_FIRST, page
from mercato.kernel.clock import from_micros, to_micros
from mercato.kernel.ids import MailId, uuid7
from mercato.kernel.paging import Window
from mercato.kernel.tenancy import TenantId
from mercato.notifications.ports import Mail, StoredMail
from mercato.notifications.stores.operators import shown_to

_encode = msgspec.json.Encoder().encode
_mail = msgspec.json.Decoder(Mail).decode


class LocalMailbox:
    """See notifications.ports.Sender and Mailbox. Sending an email twice leaves it there once.

    It keeps the latest emails of each store; older ones go.
    """

    def __init__(self, db: Database, *, keep: int) -> None:
        """`keep` is how many emails it keeps of each store."""
        self._db = db
        self._keep = keep

    async def send(self, mail: Mail) -> None:
        """Put an email into the mailbox, unless it is there."""
        mail_id, content = uuid7(), _encode(mail).decode()

        async def step(tx: Tx) -> None:
            added = await tx.execute(
                "INSERT INTO mailbox (tenant_id, id, notification_id, sending, user_id, mail, created_at)"
                " VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
                (
                    mail.tenant,
                    mail_id,
                    mail.notification_id,
                    mail.sending,
                    mail.user_id,
                    content,
                    to_micros(mail.date),
                ),
            )
            if added:
                await tx.execute(
                    "DELETE FROM mailbox WHERE tenant_id = ? AND (created_at, id) <= (SELECT created_at, id"
                    " FROM mailbox WHERE tenant_id = ? ORDER BY created_at DESC, id DESC LIMIT 1 OFFSET ?)",
                    (mail.tenant, mail.tenant, self._keep),
                )

        await self._db.transact(step)

    async def find(self, tenant: TenantId, mail_id: MailId, *, operators: bool) -> StoredMail | None:
        """Return one email."""
        shown = shown_to("mailbox", operators=operators)
        row = await self._db.fetch_one(
            f"SELECT id, mail, created_at FROM mailbox WHERE tenant_id = ? AND id = ?{shown}",
            (tenant, mail_id),
        )
        return None if row is None else _load(row)

    async def search(self, tenant: TenantId, window: Window, *, operators: bool) -> list[StoredMail]:
        """Return a window of a store's emails, latest first."""
        shown = shown_to("mailbox", operators=operators)
        part, bounds = page(window)
        rows = await self._db.search(
            f"SELECT id, mail, created_at FROM mailbox WHERE tenant_id = ?{shown}{part} {LATEST_FIRST}",
            (tenant, *bounds, window.fetch, window.offset),
        )
        return [_load(row) for row in rows]

    async def count(self, tenant: TenantId, *, operators: bool) -> int:
        """Return how many emails there are."""
        shown = shown_to("mailbox", operators=operators)
        rows = await self._db.search(f"SELECT count(*) FROM mailbox WHERE tenant_id = ?{shown}", (tenant,))
        return int(rows[0][0])


def _load(row: Row) -> StoredMail:
    mail_id, content, created_at = row
    at: datetime = from_micros(created_at)
    return StoredMail(MailId(mail_id), _mail(content), at)
