# Made by `make client` from the OpenAPI document; edits are lost.
"""Who did what in a store, and when."""

from collections.abc import AsyncIterator
from datetime import datetime

from mercato_client.answers import Listed, Page, each_of
from mercato_client.models.audit_log import AuditEntryView
from mercato_client.transport import Request, Transport, decode


class AuditLog:
    """Who did what in a store, and when."""

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
        actor: str | None = None,
        action: str | None = None,
        object_kind: str | None = None,
        object_id: str | None = None,
    ) -> Page[AuditEntryView]:
        """List what was done in the store by its staff, its machines and operators, latest first.

        Of customers it tells what concerns their accounts. An entry appears within a second of its change.

        For the roles admin, operator, service.
        """
        request = Request(
            "GET",
            "/api/v1/audit-log",
            query={
                "page": page,
                "page_size": page_size,
                "limit": limit,
                "offset": offset,
                "after": after,
                "count": count,
                "from": from_,
                "to": to,
                "actor": actor,
                "action": action,
                "object_kind": object_kind,
                "object_id": object_id,
            },
        )
        listed = decode(await self._transport.send(request), Listed[AuditEntryView])
        return Page(listed.data, listed.meta)

    def iterate(
        self,
        *,
        from_: datetime | None = None,
        to: datetime | None = None,
        actor: str | None = None,
        action: str | None = None,
        object_kind: str | None = None,
        object_id: str | None = None,
        limit: int = 100,
    ) -> AsyncIterator[AuditEntryView]:
        """Go through the whole list, which is fetched page by page."""
        return each_of(
            lambda after: self.list(
                from_=from_,
                to=to,
                actor=actor,
                action=action,
                object_kind=object_kind,
                object_id=object_id,
                limit=limit,
                after=after,
                count=False,
            )
        )
