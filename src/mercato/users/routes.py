"""Users, stores and the public keys over HTTP."""

from collections.abc import Awaitable, Callable
from typing import Annotated, Literal, TypeVar

import msgspec

from mercato.kernel.errors import Forbidden, NotFound, Unauthenticated, Unavailable
from mercato.kernel.ids import UserId, is_id
from mercato.kernel.principal import Role
from mercato.kernel.tenancy import TenantId, Tier, is_slug
from mercato.users.domain import (
    MAX_EMAIL,
    MAX_PASSWORD,
    DuplicateEmail,
    Name,
    NewTenant,
    NewUser,
    Slug,
    StoreTaken,
)
from mercato.users.service.users import Users
from mercato.users.views import (
    OnboardedView,
    SignedInView,
    TenantView,
    UserView,
    onboarded_view,
    signed_in_view,
    tenant_view,
    user_view,
)
from mercato.web.call import Call
from mercato.web.decode import Body
from mercato.web.endpoint import OPERATOR, PUBLIC, SIGNED_IN, Routes
from mercato.web.envelope import Reply
from mercato.web.http import Header, Response
from mercato.web.idempotency import Claims

T = TypeVar("T")

Onboarding = Literal["open", "operator"]
"""Who may open a store: anybody, or operators only."""

_NO_STORE: Header = ("cache-control", "no-store")
_CACHEABLE: Header = ("cache-control", "public, max-age=300")


class Register(Body, NewUser, frozen=True):
    """Who wants an account."""


class Login(Body, frozen=True):
    """Email and password."""

    email: Annotated[str, msgspec.Meta(max_length=MAX_EMAIL)]
    password: Annotated[str, msgspec.Meta(max_length=MAX_PASSWORD)]


class Onboard(Body, frozen=True):
    """The store to open, and its first admin."""

    id: Slug
    name: Name
    admin: Register
    currency: str = "USD"
    tier: Tier | None = None


def routes(
    users: Users,
    claims: Claims,
    *,
    onboarding: Onboarding,
    issuer: str,
    jwks: Callable[[], Awaitable[bytes]],
) -> Routes:
    """Declare the endpoints."""
    api = Routes("users", claims=claims)
    _stores(api, users, onboarding)
    _accounts(api, users)
    _discovery(api, issuer, jwks)
    return api


def _stores(api: Routes, users: Users, onboarding: Onboarding) -> None:
    @api.post(
        "/api/v1/tenants",
        status=201,
        allow=PUBLIC if onboarding == "open" else OPERATOR,
        idempotent=True,
        reissues=True,
        raises=(StoreTaken, Forbidden, Unavailable),
    )
    async def onboard(call: Call, body: Onboard) -> Reply[OnboardedView]:
        """Open a store with its first admin."""
        admin = body.admin
        if call.replayed:
            store = TenantId(body.id)
            again = await users.login(store, admin.email, admin.password, at=call.now, by=call.part())
            return _secret(onboarded_view(await users.store(store), again))
        new = NewTenant(id=body.id, name=body.name, currency=body.currency, tier=body.tier, admin=admin)
        tenant, signed_in = await users.onboard(
            new,
            UserId(call.new_id()),
            by_operator=call.caller is not None and call.caller.role is Role.OPERATOR,
            at=call.now,
            by=call.cause(tenant_view),
        )
        return _secret(onboarded_view(tenant, signed_in))

    @api.get("/api/v1/tenants/{tenant_id}", allow=SIGNED_IN, raises=(NotFound,))
    async def tenant(call: Call, tenant_id: str) -> TenantView:
        """Return the caller's store; to operators, any."""
        if not is_slug(tenant_id):
            raise NotFound("There is no such store.")
        return tenant_view(await users.tenant(call.principal, TenantId(tenant_id)))


def _accounts(api: Routes, users: Users) -> None:
    @api.post(
        "/api/v1/users/register",
        status=201,
        allow=PUBLIC,
        idempotent=True,
        reissues=True,
        raises=(DuplicateEmail, Forbidden, Unavailable),
    )
    async def register(call: Call, body: Register) -> Reply[SignedInView]:
        """Register as a customer of the store."""
        if call.replayed:
            return await _login(call, body.email, body.password)
        signed_in = await users.register(
            call.tenant, body, UserId(call.new_id()), at=call.now, by=call.cause(user_view)
        )
        return _secret(signed_in_view(signed_in))

    @api.post("/api/v1/users/login", allow=PUBLIC, raises=(Unauthenticated, Forbidden, Unavailable))
    async def login(call: Call, body: Login) -> Reply[SignedInView]:
        """Sign in with email and password."""
        return await _login(call, body.email, body.password)

    async def _login(call: Call, email: str, password: str) -> Reply[SignedInView]:
        signed_in = await users.login(call.tenant, email, password, at=call.now, by=call.part())
        return _secret(signed_in_view(signed_in))

    @api.get("/api/v1/users/me", allow=SIGNED_IN, raises=(NotFound,))
    async def me(call: Call) -> UserView:
        """Return the caller's own account."""
        return user_view(await users.me(call.principal))

    @api.get("/api/v1/users/{user_id}", allow=SIGNED_IN, raises=(NotFound,))
    async def user(call: Call, user_id: str) -> UserView:
        """Return a user: oneself, or any of the store to its staff."""
        if not is_id(user_id):
            raise NotFound("There is no such user.")
        return user_view(await users.user(call.principal, UserId(user_id)))


def _discovery(api: Routes, issuer: str, jwks: Callable[[], Awaitable[bytes]]) -> None:
    base = issuer.rstrip("/")
    configuration = msgspec.json.encode(
        {
            "issuer": issuer,
            "jwks_uri": f"{base}/.well-known/jwks.json",
            "response_types_supported": ["id_token"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["ES256"],
        }
    )

    @api.get("/.well-known/jwks.json", allow=PUBLIC, in_contract=False)
    async def key_set(call: Call) -> Response:  # noqa: ARG001  a handler takes the call
        """Return the public keys that verify tokens (RFC 7517)."""
        return Response(200, await jwks(), headers=[_CACHEABLE])

    @api.get("/.well-known/openid-configuration", allow=PUBLIC, in_contract=False)
    async def discovery(call: Call) -> Response:  # noqa: ARG001  a handler takes the call
        """Return where the keys are (OpenID Connect Discovery 1.0)."""
        return Response(200, configuration, headers=[_CACHEABLE])


def _secret(data: T) -> Reply[T]:
    """Answer with tokens, which nothing between here and the client may keep (RFC 6749, 5.1)."""
    return Reply(data, headers=(_NO_STORE,))
