"""Machines over HTTP."""

from datetime import datetime
from typing import Annotated, Literal

import msgspec

from mercato.kernel.errors import Forbidden, NotFound, Unauthenticated
from mercato.kernel.ids import UserId, is_id
from mercato.kernel.principal import STAFF, Role
from mercato.kernel.redaction import discreet
from mercato.kernel.tenancy import TenantId
from mercato.kernel.versions import VersionMismatch
from mercato.users.machines import ApiClient, NewApiClient, TooManyClients
from mercato.users.routes.secret import secret
from mercato.users.service.machines import Machines
from mercato.web.call import Call
from mercato.web.decode import Body
from mercato.web.endpoint import PUBLIC, Routes
from mercato.web.envelope import Page, Reply
from mercato.web.limits import RateLimited
from mercato.web.paging import ListQuery, newest_first

_PATH = "/api/v1/api-clients"
_OWNERS = STAFF - {Role.SERVICE}
"""A machine must not be able to make itself another login, or outlive its own."""


class CreateApiClient(Body, NewApiClient, frozen=True):
    """A machine that is to have a login: its name, and what it may do."""


class AskToken(Body, frozen=True):
    """A machine's login. `scope` asks for some of its scopes, separated by spaces."""

    client_id: Annotated[str, msgspec.Meta(max_length=128)]
    client_secret: Annotated[str, msgspec.Meta(max_length=128)]
    grant_type: Literal["client_credentials"] = "client_credentials"
    scope: Annotated[str, msgspec.Meta(max_length=1000)] | None = None


class ApiClientView(msgspec.Struct, frozen=True, kw_only=True):
    """A machine's login."""

    id: UserId
    client_id: str
    name: str
    scopes: tuple[str, ...]
    tenant_id: TenantId
    created_by: str
    created_at: datetime
    expires_at: datetime | None
    version: int


class NewApiClientView(ApiClientView, frozen=True, kw_only=True):
    """A new login with its secret, which is shown this once."""

    client_secret: str

    __repr__ = discreet


class MachineTokenView(msgspec.Struct, frozen=True):
    """A machine's access token, as RFC 6749 (section 5.1) names its parts; `token` is the same."""

    access_token: str
    token: str
    token_type: Literal["Bearer"]
    expires_in: int
    scope: str

    __repr__ = discreet


def machines(api: Routes, desk: Machines) -> None:
    """Declare the endpoints."""
    _logins(api, desk)

    @api.post(
        "/api/v1/auth/token",
        allow=PUBLIC,
        raises=(Unauthenticated, Forbidden, RateLimited),
        example={"client_id": "tea-house.01a1fd3c-8657-7477-bee0-e412ef21c7bd", "client_secret": "…"},
    )
    async def token(call: Call, body: AskToken) -> Reply[MachineTokenView]:
        """Sign a machine in: an access token for its client id and secret."""
        made = await desk.token(
            body.client_id, body.client_secret, body.scope, address=call.client, at=call.now
        )
        scope = " ".join(made.scopes)
        return secret(MachineTokenView(made.token, made.token, "Bearer", made.expires_in, scope))


def _logins(api: Routes, desk: Machines) -> None:
    @api.post(
        _PATH,
        status=201,
        allow=_OWNERS,
        idempotent=True,
        reissues=True,
        raises=(NotFound, Forbidden, TooManyClients),
        example={"name": "Warehouse", "scopes": ["products:read", "products:write"]},
    )
    async def create_api_client(call: Call, body: CreateApiClient) -> Reply[NewApiClientView]:
        """Make a login for a machine. A repeated call gets the same client with a fresh secret."""
        made = UserId(call.new_id())
        if call.replayed:
            client, word = await desk.new_secret(call.principal, made, by=call.part())
        else:
            client, word = await desk.create(
                call.principal, body, made, at=call.now, by=call.cause(api_client_view)
            )
        shown = msgspec.structs.asdict(api_client_view(client))
        return secret(NewApiClientView(**shown, client_secret=word))

    @api.get(_PATH, allow=_OWNERS)
    async def api_clients(call: Call, query: ListQuery) -> Page[ApiClientView]:
        """List the store's machines, newest first."""
        return await newest_first(
            query,
            lambda part: desk.search(call.principal, part),
            lambda: desk.count(call.principal),
            api_client_view,
        )

    @api.get(f"{_PATH}/{{api_client_id}}", allow=_OWNERS, raises=(NotFound,))
    async def api_client(call: Call, api_client_id: str) -> ApiClientView:
        """Return one machine's login, without its secret."""
        return api_client_view(await desk.client(call.principal, _named(api_client_id)))

    @api.delete(
        f"{_PATH}/{{api_client_id}}", allow=_OWNERS, versioned=True, raises=(NotFound, VersionMismatch)
    )
    async def delete_api_client(call: Call, api_client_id: str) -> None:
        """Delete a machine's login: its tokens stop at once."""
        await desk.delete(
            call.principal, _named(api_client_id), expected=call.expected, at=call.now, by=call.part()
        )


def api_client_view(client: ApiClient) -> ApiClientView:
    """Show a machine's login."""
    return ApiClientView(
        id=client.id,
        client_id=client.client_id,
        name=client.name,
        scopes=client.scopes,
        tenant_id=client.tenant_id,
        created_by=client.created_by,
        created_at=client.created_at,
        expires_at=client.expires_at,
        version=client.version,
    )


def _named(api_client_id: str) -> UserId:
    """Return a machine's id. Raises NotFound for what cannot be one."""
    if not is_id(api_client_id):
        raise NotFound("There is no such API client.")
    return UserId(api_client_id)
