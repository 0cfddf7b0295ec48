"""Authentication and rights: who calls, and whether that role may at all."""

from collections.abc import Awaitable, Callable
from typing import Protocol

import msgspec

from mercato.kernel.errors import Forbidden, NotFound, Unauthenticated
from mercato.kernel.principal import PLATFORM, Principal
from mercato.kernel.tenancy import DEFAULT_TENANT, TenantId
from mercato.web.endpoint import Endpoint
from mercato.web.http import Request

TENANT_HEADER = "x-tenant-id"


class Authenticator(Protocol):
    """Verifies bearer tokens."""

    async def authenticate(self, token: str) -> Principal:
        """Return who the token stands for. Raises Unauthenticated for every other token."""
        ...


KnownStore = Callable[[TenantId], Awaitable[bool]]
"""Says whether a store of that id is open for business. Answers may be some seconds old."""


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
    """Refuse a role that may not call the endpoint, before anything is looked up."""
    if endpoint.allow is None:
        return
    if caller is None:
        raise Unauthenticated("Sign in first.")
    if caller.role not in endpoint.allow:
        raise Forbidden("Your role may not do this.")


async def acting_in(
    request: Request, caller: Principal | None, known: KnownStore
) -> tuple[TenantId, Principal | None]:
    """Return the store the call acts in, and the caller as acting there.

    A token names its store; only platform roles, and calls without a token, name one by
    header. Raises NotFound for a store that is not there.
    """
    named = request.headers.get(TENANT_HEADER)
    if caller is not None and (named is None or caller.role not in PLATFORM):
        return caller.tenant, caller
    if named is None:
        return DEFAULT_TENANT, None
    tenant = TenantId(named)
    if not await known(tenant):
        raise NotFound("There is no such store.")
    return tenant, caller if caller is None else msgspec.structs.replace(caller, tenant=tenant)
