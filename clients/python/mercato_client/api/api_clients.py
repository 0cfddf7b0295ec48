# Made by `make client` from the OpenAPI document; edits are lost.
"""Machines that act for a store, and what they may do."""

from collections.abc import AsyncIterator, Sequence
from datetime import datetime

from msgspec import UNSET, UnsetType

from mercato_client.answers import Answer, Listed, Page, each_of
from mercato_client.models.api_clients import ApiClientView, CreateApiClient, NewApiClientView
from mercato_client.transport import Request, Transport, decode, encode, new_key, path_of


class ApiClients:
    """Machines that act for a store, and what they may do."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    async def create(
        self,
        *,
        name: str,
        scopes: Sequence[str],
        expires_at: datetime | UnsetType | None = UNSET,
        idempotency_key: str | None = None,
    ) -> NewApiClientView:
        """Make a login for a machine. A repeated call gets the same client with a fresh secret.

        For the roles admin, operator.
        """
        request = Request(
            "POST",
            "/api/v1/api-clients",
            content=encode(CreateApiClient(name=name, scopes=scopes, expires_at=expires_at)),
            key=idempotency_key or new_key(),
        )
        return decode(await self._transport.send(request), Answer[NewApiClientView]).data

    async def list(
        self,
        *,
        page: int | None = None,
        page_size: int | None = None,
        limit: int | None = None,
        offset: int | None = None,
        after: str | None = None,
        count: bool | None = None,
    ) -> Page[ApiClientView]:
        """List the store's machines, newest first.

        For the roles admin, operator.
        """
        request = Request(
            "GET",
            "/api/v1/api-clients",
            query={
                "page": page,
                "page_size": page_size,
                "limit": limit,
                "offset": offset,
                "after": after,
                "count": count,
            },
        )
        listed = decode(await self._transport.send(request), Listed[ApiClientView])
        return Page(listed.data, listed.meta)

    def iterate(self, *, limit: int = 100) -> AsyncIterator[ApiClientView]:
        """Go through the whole list, which is fetched page by page."""
        return each_of(lambda after: self.list(limit=limit, after=after, count=False))

    async def get(self, api_client_id: str) -> ApiClientView:
        """Return one machine's login, without its secret.

        For the roles admin, operator.
        """
        request = Request("GET", path_of("/api/v1/api-clients/{api_client_id}", api_client_id=api_client_id))
        return decode(await self._transport.send(request), Answer[ApiClientView]).data

    async def delete(self, api_client_id: str, *, version: int | None = None) -> None:
        """Delete a machine's login: its tokens stop at once.

        For the roles admin, operator.
        """
        request = Request(
            "DELETE",
            path_of("/api/v1/api-clients/{api_client_id}", api_client_id=api_client_id),
            version=version,
        )
        await self._transport.send(request)
