"""Authentication and rights: who calls, and whether that role may at all."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol

import msgspec

from mercato.contracts.stores import Store
from mercato.kernel.errors import Forbidden, NotFound, Unauthenticated, Unavailable
from mercato.kernel.principal import Principal, Role
from mercato.kernel.rights import check_rights
from mercato.kernel.tenancy import DEFAULT_TENANT, StoreStatus, TenantId
from mercato.web.endpoint import Endpoint
from mercato.web.http import Request

TENANT_HEADER = "x-tenant-id"


class Authenticator(Protocol):
    """Verifies bearer tokens."""

    async def authenticate(self, token: str) -> Principal:
        """Return who the token stands for. Raises Unauthenticated for every other token."""
        ...


FindStore = Callable[[TenantId], Awaitable[Store | None]]
"""Returns a store, whatever its status. Answers may be a second old. Raises Unavailable."""


@dataclass(slots=True)
class Acting:
    """In which store a call acts, and as whom."""

    tenant: TenantId
    caller: Principal | None
    store: Store | None
    """None where the token says it all, and the service that keeps the stores is away."""
    home: TenantId | None = None
    """The caller's own store, where the call acts in another that it named."""


async def caller_of(request: Request, authenticator: Authenticator) -> Principal | None:
    """Return the caller, or None without a token. A token that is not valid is refused."""
    header = request.headers.get("authorization")
    if header is None:
        return None
    scheme, _, token = header.partition(" ")
    if scheme.lower() != "bearer" or not token:
        raise Unauthenticated("Send the token as: Authorization: Bearer TOKEN.")
    return await authenticator.authenticate(token)


def check_role(endpoint: Endpoint, caller: Principal | None) -> None:
    """Refuse a role that may not call the endpoint, before any object is looked up."""
    if endpoint.allow is not None and caller is not None:
        check_rights(caller, endpoint.allow, endpoint.scope)


class Stores:
    """Finds the store that a request acts in."""

    def __init__(self, find: FindStore, domain: str = "") -> None:
        """Below `domain`, if there is one, each store has a host of its own."""
        self._find = find
        self._suffix = f".{domain.lower().strip('.')}" if domain else ""

    async def acting_in(self, request: Request, caller: Principal | None) -> Acting:
        """Return the store the call acts in, and the caller as acting there.

        A token names its store. Operators, machines that may act anywhere, and calls without a
        token name one by header; the latter also by host. Raises NotFound for a store that is
        not there, Unauthenticated for a token of one, Forbidden for one that is suspended.
        """
        named = request.headers.get(TENANT_HEADER)
        if caller is None:
            tenant = TenantId(named if named is not None else self._of_host(request))
            return Acting(tenant, None, _open(await self._find(tenant)))
        if named is None or not caller.names_store:
            return Acting(caller.tenant, caller, await self._of_token(caller))
        tenant = TenantId(named)
        store = await self._find(tenant)
        if store is None:
            raise NotFound("There is no such store.")
        if caller.role is not Role.OPERATOR:
            # A machine is no more than the store that it belongs to.
            await self._of_token(caller)
            _open(store)
        return Acting(tenant, msgspec.structs.replace(caller, tenant=tenant), store, home=caller.tenant)

    async def _of_token(self, caller: Principal) -> Store | None:
        try:
            store = await self._find(caller.tenant)
        except Unavailable:
            return None
        if store is None or store.status is StoreStatus.OFFBOARDED:
            raise Unauthenticated("The store that the token is for is closed.")
        return store if caller.role is Role.OPERATOR else _open(store)

    def _of_host(self, request: Request) -> str:
        """Return the store whose host was called, or the one that needs no name."""
        host = request.headers.get("host", "").lower().partition(":")[0].rstrip(".")
        if not self._suffix or not host.endswith(self._suffix):
            return DEFAULT_TENANT
        return host.removesuffix(self._suffix)


def _open(store: Store | None) -> Store:
    """Return a store that trades. Raises NotFound, Forbidden."""
    if store is None or store.status is StoreStatus.OFFBOARDED:
        raise NotFound("There is no such store.")
    if store.status is StoreStatus.SUSPENDED:
        raise Forbidden("This store is suspended.")
    return store
