"""Stores over HTTP."""

from typing import Literal

from mercato.kernel.errors import Forbidden, NotFound, Unavailable
from mercato.kernel.ids import UserId
from mercato.kernel.principal import Role
from mercato.kernel.tenancy import TenantId, Tier, is_slug
from mercato.users.domain import Name, NewTenant, Slug, StoreTaken
from mercato.users.routes.accounts import Register
from mercato.users.routes.secret import secret
from mercato.users.service.stores import Stores
from mercato.users.service.users import Users
from mercato.users.views import OnboardedView, TenantView, onboarded_view, tenant_view
from mercato.web.call import Call
from mercato.web.decode import Body
from mercato.web.endpoint import OPERATOR, PUBLIC, SIGNED_IN, Routes
from mercato.web.envelope import Reply

Onboarding = Literal["open", "operator"]
"""Who may open a store: anybody, or operators only."""


class Onboard(Body, frozen=True):
    """The store to open, and its first admin."""

    id: Slug
    name: Name
    admin: Register
    currency: str = "USD"
    tier: Tier | None = None


def stores(api: Routes, desk: Stores, users: Users, onboarding: Onboarding) -> None:
    """Declare the endpoints."""

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
            return secret(onboarded_view(await desk.store(store), again))
        new = NewTenant(id=body.id, name=body.name, currency=body.currency, tier=body.tier, admin=admin)
        tenant, signed_in = await desk.onboard(
            new,
            UserId(call.new_id()),
            by_operator=call.caller is not None and call.caller.role is Role.OPERATOR,
            at=call.now,
            by=call.cause(tenant_view),
        )
        return secret(onboarded_view(tenant, signed_in))

    @api.get("/api/v1/tenants/{tenant_id}", allow=SIGNED_IN, raises=(NotFound,))
    async def tenant(call: Call, tenant_id: str) -> TenantView:
        """Return the caller's store; to operators, any."""
        if not is_slug(tenant_id):
            raise NotFound("There is no such store.")
        return tenant_view(await desk.tenant(call.principal, TenantId(tenant_id)))
