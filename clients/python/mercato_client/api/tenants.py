# Made by `make client` from the OpenAPI document; edits are lost.
"""Stores: opening, changing and closing them."""

from collections.abc import AsyncIterator
from typing import Literal

from msgspec import UNSET, UnsetType

from mercato_client.answers import Answer, Listed, Page, each_of
from mercato_client.models.shared import Register
from mercato_client.models.tenants import ChangeStore, Onboard, OnboardedView, StoreStatus, TenantView, Tier
from mercato_client.transport import Request, Transport, decode, encode, new_key, path_of


class Tenants:
    """Stores: opening, changing and closing them."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    async def onboard(
        self,
        *,
        id: str,
        name: str,
        admin: Register,
        currency: str | UnsetType = UNSET,
        tier: Tier | UnsetType | None = UNSET,
        idempotency_key: str | None = None,
    ) -> OnboardedView:
        """Open a store with its first admin.

        Needs no token.
        """
        request = Request(
            "POST",
            "/api/v1/tenants",
            content=encode(Onboard(id=id, name=name, admin=admin, currency=currency, tier=tier)),
            key=idempotency_key or new_key(),
        )
        return decode(await self._transport.send(request), Answer[OnboardedView]).data

    async def list(
        self,
        *,
        status: StoreStatus | None = None,
        tier: Tier | None = None,
        page: int | None = None,
        page_size: int | None = None,
        limit: int | None = None,
        offset: int | None = None,
        after: str | None = None,
        count: bool | None = None,
    ) -> Page[TenantView]:
        """List the stores, by id.

        For the roles operator.
        """
        request = Request(
            "GET",
            "/api/v1/tenants",
            query={
                "status": status,
                "tier": tier,
                "page": page,
                "page_size": page_size,
                "limit": limit,
                "offset": offset,
                "after": after,
                "count": count,
            },
        )
        listed = decode(await self._transport.send(request), Listed[TenantView])
        return Page(listed.data, listed.meta)

    def iterate(
        self, *, status: StoreStatus | None = None, tier: Tier | None = None, limit: int = 100
    ) -> AsyncIterator[TenantView]:
        """Go through the whole list, which is fetched page by page."""
        return each_of(
            lambda after: self.list(status=status, tier=tier, limit=limit, after=after, count=False)
        )

    async def get(self, tenant_id: str) -> TenantView:
        """Return the caller's store; to operators, any.

        For everybody who is signed in.
        """
        request = Request("GET", path_of("/api/v1/tenants/{tenant_id}", tenant_id=tenant_id))
        return decode(await self._transport.send(request), Answer[TenantView]).data

    async def change(
        self,
        tenant_id: str,
        *,
        name: str | UnsetType | None = UNSET,
        tier: Tier | UnsetType | None = UNSET,
        status: Literal["active", "suspended"] | UnsetType | None = UNSET,
        version: int | None = None,
    ) -> TenantView:
        """Change a store's name, tier or status. A suspended store lets only operators in.

        For the roles operator.
        """
        request = Request(
            "PATCH",
            path_of("/api/v1/tenants/{tenant_id}", tenant_id=tenant_id),
            content=encode(ChangeStore(name=name, tier=tier, status=status)),
            version=version,
        )
        return decode(await self._transport.send(request), Answer[TenantView]).data

    async def offboard(self, tenant_id: str, *, version: int | None = None) -> TenantView:
        """Close a store for good: logins and tokens stop at once. Its data stays until it is purged.

        For the roles operator.
        """
        request = Request(
            "DELETE", path_of("/api/v1/tenants/{tenant_id}", tenant_id=tenant_id), version=version
        )
        return decode(await self._transport.send(request), Answer[TenantView]).data
