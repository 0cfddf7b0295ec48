# Made by `make client` from the OpenAPI document; edits are lost.
"""The local mailbox: emails that go no further, with the links in them."""

from collections.abc import AsyncIterator

from mercato_client.answers import Answer, Listed, Page, each_of
from mercato_client.models.mailbox import MailSummary, MailView
from mercato_client.transport import Request, Transport, decode, path_of


class Mailbox:
    """The local mailbox: emails that go no further, with the links in them."""

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
    ) -> Page[MailSummary]:
        """List the emails in the local mailbox, newest first.

        For the roles admin, operator.
        """
        request = Request(
            "GET",
            "/api/v1/mailbox",
            query={
                "page": page,
                "page_size": page_size,
                "limit": limit,
                "offset": offset,
                "after": after,
                "count": count,
            },
        )
        listed = decode(await self._transport.send(request), Listed[MailSummary])
        return Page(listed.data, listed.meta)

    def iterate(self, *, limit: int = 100) -> AsyncIterator[MailSummary]:
        """Go through the whole list, which is fetched page by page."""
        return each_of(lambda after: self.list(limit=limit, after=after, count=False))

    async def get(self, mail_id: str) -> MailView:
        """Return an email of the local mailbox, links included.

        For the roles admin, operator.
        """
        request = Request("GET", path_of("/api/v1/mailbox/{mail_id}", mail_id=mail_id))
        return decode(await self._transport.send(request), Answer[MailView]).data
