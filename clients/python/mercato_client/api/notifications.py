# Made by `make client` from the OpenAPI document; edits are lost.
"""Emails to the shoppers of a store."""

from collections.abc import AsyncIterator
from datetime import datetime

from mercato_client.answers import Answer, Listed, Page, each_of
from mercato_client.models.notifications import NotificationView, PreviewView, Status
from mercato_client.models.shared import Template
from mercato_client.transport import Request, Transport, decode, new_key, path_of


class Notifications:
    """Emails to the shoppers of a store."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    async def list(
        self,
        *,
        page: int | None = None,
        page_size: int | None = None,
        limit: int | None = None,
        offset: int | None = None,
        after: str | None = None,
        count: bool | None = None,
        from_: datetime | None = None,
        to: datetime | None = None,
        status: Status | None = None,
        template: Template | None = None,
        order_id: str | None = None,
        recipient: str | None = None,
    ) -> Page[NotificationView]:
        """List emails that were sent, are on their way, or were given up, newest first.

        For the roles admin, operator, service.
        """
        request = Request(
            "GET",
            "/api/v1/notifications",
            query={
                "page": page,
                "page_size": page_size,
                "limit": limit,
                "offset": offset,
                "after": after,
                "count": count,
                "from": from_,
                "to": to,
                "status": status,
                "template": template,
                "order_id": order_id,
                "recipient": recipient,
            },
        )
        listed = decode(await self._transport.send(request), Listed[NotificationView])
        return Page(listed.data, listed.meta)

    def iterate(
        self,
        *,
        from_: datetime | None = None,
        to: datetime | None = None,
        status: Status | None = None,
        template: Template | None = None,
        order_id: str | None = None,
        recipient: str | None = None,
        limit: int = 100,
    ) -> AsyncIterator[NotificationView]:
        """Go through the whole list, which is fetched page by page."""
        return each_of(
            lambda after: self.list(
                from_=from_,
                to=to,
                status=status,
                template=template,
                order_id=order_id,
                recipient=recipient,
                limit=limit,
                after=after,
                count=False,
            )
        )

    async def get(self, notification_id: str) -> NotificationView:
        """Return one email's notification.

        For the roles admin, operator, service.
        """
        request = Request(
            "GET", path_of("/api/v1/notifications/{notification_id}", notification_id=notification_id)
        )
        return decode(await self._transport.send(request), Answer[NotificationView]).data

    async def preview(self, notification_id: str) -> PreviewView:
        """Show an email's words as it would be sent now, with a placeholder for any link.

        For the roles admin, operator, service.
        """
        request = Request(
            "GET", path_of("/api/v1/notifications/{notification_id}/preview", notification_id=notification_id)
        )
        return decode(await self._transport.send(request), Answer[PreviewView]).data

    async def resend(self, notification_id: str, *, idempotency_key: str | None = None) -> NotificationView:
        """Have an email sent again that was sent, skipped or given up, as another one.

        For the roles admin, operator, service.
        """
        request = Request(
            "POST",
            path_of("/api/v1/notifications/{notification_id}/resend", notification_id=notification_id),
            key=idempotency_key or new_key(),
        )
        return decode(await self._transport.send(request), Answer[NotificationView]).data
