"""Notifications over HTTP, for a store's staff."""

from typing import Annotated

import msgspec

from mercato.kernel.errors import NotFound, Unavailable
from mercato.kernel.ids import OrderId
from mercato.notifications.domain import OnItsWay, Status, Template
from mercato.notifications.ports import NotificationFilter, NotificationStore
from mercato.notifications.service.notifications import Notifications, sees_operators
from mercato.notifications.views import NotificationView, PreviewView, view
from mercato.web.call import Call
from mercato.web.endpoint import ADMINS, Routes
from mercato.web.envelope import Page
from mercato.web.paging import latest_first
from mercato.web.spans import SpanQuery, span

_PATH = "/api/v1/notifications"
_Text = Annotated[str, msgspec.Meta(max_length=254)]


class NotificationQuery(SpanQuery, frozen=True, kw_only=True):
    """Which notifications to list: created `from` a time, up to but not at `to` another."""

    status: Status | None = None
    template: Template | None = None
    order_id: _Text | None = None
    recipient: _Text | None = None


def notifications(api: Routes, service: Notifications, store: NotificationStore) -> None:
    """Declare the endpoints."""

    @api.get(_PATH, allow=ADMINS)
    async def list_notifications(call: Call, query: NotificationQuery) -> Page[NotificationView]:
        """List emails that were sent, are on their way, or were given up, newest first."""
        since, before = span(query)
        wanted = NotificationFilter(
            operators=sees_operators(call.principal),
            status=query.status,
            template=query.template,
            order_id=None if query.order_id is None else OrderId(query.order_id),
            recipient=query.recipient,
            since=since,
            before=before,
        )
        return await latest_first(
            query,
            lambda part: store.search(call.tenant, wanted, part),
            lambda: store.count(call.tenant, wanted),
            view,
        )

    @api.get(f"{_PATH}/{{notification_id}}", allow=ADMINS, raises=(NotFound,))
    async def notification(call: Call, notification_id: str) -> NotificationView:
        """Return one email's notification."""
        return view(await service.get(call.principal, notification_id))

    @api.get(f"{_PATH}/{{notification_id}}/preview", allow=ADMINS, raises=(NotFound, Unavailable))
    async def preview_notification(call: Call, notification_id: str) -> PreviewView:
        """Show an email's words as it would be sent now, with a placeholder for any link."""
        worded = await service.preview(call.principal, notification_id)
        return PreviewView(worded.subject, worded.text, worded.html)

    @api.post(
        f"{_PATH}/{{notification_id}}/resend",
        status=202,
        allow=ADMINS,
        idempotent=True,
        raises=(NotFound, OnItsWay),
    )
    async def resend_notification(call: Call, notification_id: str) -> NotificationView:
        """Have an email sent again that was sent, skipped or given up, as another one."""
        again = await service.resend(call.principal, notification_id, at=call.now, by=call.cause(view))
        return view(again)
