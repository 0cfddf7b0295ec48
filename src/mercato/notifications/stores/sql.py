"""Notifications in a relational database."""

from collections.abc import Callable, Mapping
from datetime import datetime

import msgspec

from mercato.adapters.sql.database import Row, Tx, Value
from mercato.adapters.sql.steps import Steps
from mercato.adapters.sql.timed import LATEST_FIRST, between, page
from mercato.contracts.events import Events
from mercato.kernel.cause import ByEvent, Cause
from mercato.kernel.clock import from_micros, to_micros
from mercato.kernel.errors import NotFound
from mercato.kernel.ids import NotificationId
from mercato.kernel.paging import Window
from mercato.kernel.tenancy import TenantId
from mercato.notifications.domain import Facts, Notification, Status, Template
from mercato.notifications.ports import Decide, Deposit, NotificationFilter, Standing
from mercato.notifications.stores.operators import shown_to

_COLUMNS = (
    "tenant_id, id, event_id, template, user_id, order_id, facts, status, attempts, sending, reason,"
    " recipient, subject, due_at, created_at, sent_at, traceparent"
)
_CHANGING = (
    "status = ?, attempts = ?, sending = ?, reason = ?, recipient = ?, recipient_key = ?, subject = ?,"
    " due_at = ?, sent_at = ?"
)
_encode = msgspec.json.Encoder().encode
_facts = msgspec.json.Decoder(Facts).decode


class _PassedOn(Exception):
    """Somebody else sends the notification now."""


class SqlNotifications:
    """See notifications.ports.NotificationStore."""

    def __init__(self, steps: Steps) -> None:
        self._steps = steps
        self._db = steps.db
        self._wake: Callable[[], None] = _nobody

    def on_due(self, wake: Callable[[], None]) -> None:
        """Call `wake` whenever something that is due has been committed."""
        self._wake = wake

    async def add(self, notification: Notification | None, *, standing: Standing | None, by: ByEvent) -> None:
        """Queue a notification, unless its event has one of its template, and note who is an operator."""

        async def work(tx: Tx) -> tuple[None, Events]:
            if standing is not None:
                await _note(tx, standing)
            if notification is not None:
                marks = ", ".join("?" * 17)
                await tx.put(
                    f"INSERT INTO notifications ({_COLUMNS}) VALUES ({marks}) ON CONFLICT DO NOTHING",
                    _values(notification),
                )
                tx.after_commit(self._wake)
            return None, ()

        await self._steps.run(by, work)

    async def find(
        self, tenant: TenantId, notification_id: NotificationId, *, operators: bool
    ) -> Notification | None:
        """Return one notification."""
        row = await self._db.fetch_one(_one(operators=operators), (tenant, notification_id))
        return None if row is None else _load(row)

    async def search(
        self, tenant: TenantId, wanted: NotificationFilter, window: Window
    ) -> list[Notification]:
        """Return a window of a store's notifications, latest first."""
        where, params = _where(tenant, wanted)
        part, bounds = page(window, wanted.since, wanted.before)
        rows = await self._db.search(
            f"SELECT {_COLUMNS} FROM notifications WHERE {where}{part} {LATEST_FIRST}",
            (*params, *bounds, window.fetch, window.offset),
        )
        return [_load(row) for row in rows]

    async def count(self, tenant: TenantId, wanted: NotificationFilter) -> int:
        """Return how many notifications there are."""
        where, params = _where(tenant, wanted)
        part, bounds = between(wanted.since, wanted.before)
        rows = await self._db.search(
            f"SELECT count(*) FROM notifications WHERE {where}{part}", (*params, *bounds)
        )
        return int(rows[0][0])

    async def change(
        self,
        tenant: TenantId,
        notification_id: NotificationId,
        decide: Decide,
        *,
        operators: bool,
        by: Cause,
    ) -> Notification:
        """Load, decide and store. Raises NotFound."""

        async def work(tx: Tx) -> tuple[Notification, Events]:
            row = await tx.lock_one(_one(operators=operators), (tenant, notification_id))
            if row is None:
                raise NotFound("There is no such notification.")
            changed = decide(_load(row))
            await tx.execute(
                f"UPDATE notifications SET {_CHANGING} WHERE tenant_id = ? AND id = ?",
                (*_changing(changed), tenant, notification_id),
            )
            tx.after_commit(self._wake)
            return changed, ()

        return await self._steps.run(by, work)

    async def claim(self, now: datetime, lease_until: datetime, limit: int) -> list[Notification]:
        """Take notifications that are due, longest waiting first."""

        async def step(tx: Tx) -> list[Row]:
            return await tx.fetch_all(
                "UPDATE notifications SET status = 'sending', attempts = attempts + 1, due_at = ?"
                " WHERE (tenant_id, id) IN (SELECT tenant_id, id FROM notifications WHERE due_at <= ?"
                # Asked again of each row: another replica may have taken it meanwhile.
                f" ORDER BY due_at LIMIT ?) AND due_at <= ? RETURNING {_COLUMNS}",
                (to_micros(lease_until), to_micros(now), limit, to_micros(now)),
            )

        # A look costs nothing; a step, which there may be nothing for, costs a sync of the disk.
        if await self._db.fetch_one(_IS_DUE, (to_micros(now),)) is None:
            return []
        return sorted(map(_load, await self._db.transact(step)), key=lambda each: (each.created_at, each.id))

    async def settle(
        self, claimed: Notification, outcome: Notification, deposit: Deposit | None = None
    ) -> bool:
        """Store what came of a notification, unless it has passed to somebody else."""

        async def step(tx: Tx) -> None:
            await tx.put(
                f"UPDATE notifications SET {_CHANGING} WHERE tenant_id = ? AND id = ?"
                " AND status = 'sending' AND sending = ? AND attempts = ?",
                (*_changing(outcome), claimed.tenant_id, claimed.id, claimed.sending, claimed.attempts),
                otherwise=_PassedOn,
            )
            if deposit is not None:
                await deposit(tx)

        try:
            await self._db.transact(step)
        except _PassedOn:
            return False
        return True

    async def make_due(self) -> int:
        """Make due at once what is being sent, in all stores."""

        async def step(tx: Tx) -> int:
            return await tx.execute(
                "UPDATE notifications SET due_at = 0 WHERE due_at > 0 AND status = 'sending'"
            )

        return await self._db.transact(step)

    async def purge(self, *, before: datetime, limit: int) -> int:
        """Delete notifications that are not on their way and were queued before then."""
        most, then, row = 0, to_micros(before), await self._db.fetch_one(_NEXT_STORE, ("",))
        while row is not None:
            (tenant,) = row
            # Most often there are none, and then nothing needs to be written.
            if await self._db.fetch_one(_PAST, (tenant, then, 1)):
                deleted = await self._db.write(
                    f"DELETE FROM notifications WHERE tenant_id = ? AND id IN ({_PAST})",
                    (tenant, tenant, then, limit),
                )
                most = max(most, deleted)
            row = await self._db.fetch_one(_NEXT_STORE, (tenant,))
        return most

    async def waiting(self, most: int) -> Mapping[Status, int]:
        """Return how many notifications are on their way, or failed; no more than `most` are counted."""
        under_way = await self._db.search(
            "SELECT count(*), count(CASE WHEN status = 'sending' THEN 1 END) FROM"
            " (SELECT status FROM notifications WHERE due_at IS NOT NULL LIMIT ?) AS counted",
            (most,),
        )
        failed = await self._db.search(
            "SELECT count(*) FROM (SELECT 1 FROM notifications WHERE status = 'failed' LIMIT ?) AS counted",
            (most,),
        )
        total, sending = under_way[0]
        return {Status.QUEUED: total - sending, Status.SENDING: sending, Status.FAILED: failed[0][0]}


_NEXT_STORE = "SELECT tenant_id FROM notifications WHERE tenant_id > ? ORDER BY tenant_id LIMIT 1"
_PAST = (
    "SELECT id FROM notifications WHERE tenant_id = ? AND created_at < ? AND due_at IS NULL"
    " ORDER BY created_at, id LIMIT ?"
)
_IS_DUE = "SELECT 1 FROM notifications WHERE due_at <= ? LIMIT 1"


async def _note(tx: Tx, standing: Standing) -> None:
    if standing.is_operator:
        sql = "INSERT INTO operators (tenant_id, user_id) VALUES (?, ?) ON CONFLICT DO NOTHING"
    else:
        sql = "DELETE FROM operators WHERE tenant_id = ? AND user_id = ?"
    await tx.put(sql, (standing.tenant, standing.user_id))


def _one(*, operators: bool) -> str:
    shown = shown_to("notifications", operators=operators)
    return f"SELECT {_COLUMNS} FROM notifications WHERE tenant_id = ? AND id = ?{shown}"


def _where(tenant: TenantId, wanted: NotificationFilter) -> tuple[str, list[Value]]:
    criteria: dict[str, Value] = {
        "tenant_id": tenant,
        "order_id": wanted.order_id,
        "recipient_key": None if wanted.recipient is None else wanted.recipient.casefold(),
        "status": wanted.status,
        "template": wanted.template,
    }
    given = {column: value for column, value in criteria.items() if value is not None}
    for selective in ("order_id", "recipient_key"):
        if selective in given:
            # There are few of them: that index is to be searched, and no other one fits an expression.
            named = ("tenant_id", selective)
            given = {
                name if name in named else f"COALESCE({name}, '')": value for name, value in given.items()
            }
            break
    where = " AND ".join(f"{column} = ?" for column in given)
    return where + shown_to("notifications", operators=wanted.operators), list(given.values())


def _values(notification: Notification) -> tuple[Value, ...]:
    return (
        notification.tenant_id,
        notification.id,
        notification.event_id,
        notification.template.value,
        notification.user_id,
        notification.order_id,
        _encode(notification.facts).decode(),
        notification.status.value,
        notification.attempts,
        notification.sending,
        notification.reason,
        notification.recipient,
        notification.subject,
        _micros(notification.due_at),
        to_micros(notification.created_at),
        _micros(notification.sent_at),
        notification.traceparent,
    )


def _changing(notification: Notification) -> tuple[Value, ...]:
    return (
        notification.status.value,
        notification.attempts,
        notification.sending,
        notification.reason,
        notification.recipient,
        None if notification.recipient is None else notification.recipient.casefold(),
        notification.subject,
        _micros(notification.due_at),
        _micros(notification.sent_at),
    )


def _load(row: Row) -> Notification:
    return Notification(
        tenant_id=row[0],
        id=row[1],
        event_id=row[2],
        template=Template(row[3]),
        user_id=row[4],
        order_id=row[5],
        facts=_facts(row[6]),
        status=Status(row[7]),
        attempts=row[8],
        sending=row[9],
        reason=row[10],
        recipient=row[11],
        subject=row[12],
        due_at=_moment(row[13]),
        created_at=from_micros(row[14]),
        sent_at=_moment(row[15]),
        traceparent=row[16],
    )


def _micros(at: datetime | None) -> int | None:
    return None if at is None else to_micros(at)


def _moment(micros: int | None) -> datetime | None:
    return None if micros is None else from_micros(micros)


def _nobody() -> None:
    """Nobody listens yet: the sweep finds what is due."""
