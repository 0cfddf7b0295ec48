"""Stores over HTTP."""

from functools import partial
from typing import Literal

from mercato.kernel.acting import reaching
from mercato.kernel.errors import Forbidden, NotFound, Unavailable, ValidationFailed
from mercato.kernel.ids import UserId
from mercato.kernel.principal import Role
from mercato.kernel.tenancy import StoreStatus, TenantId, Tier, is_slug
from mercato.kernel.versions import VersionMismatch
from mercato.users.domain import (
    InvalidTransition,
    Name,
    NewTenant,
    Slug,
    StoreProtected,
    StoreTaken,
    TenantChange,
)
from mercato.users.ports import TenantFilter
from mercato.users.routes.accounts import Register, signing_in
from mercato.users.routes.secret import secret
from mercato.users.service.stores import Stores
from mercato.users.service.users import Users
from mercato.users.views import OnboardedView, TenantView, onboarded_view, tenant_view
from mercato.web.call import Call
from mercato.web.decode import Body
from mercato.web.endpoint import OPERATOR, PUBLIC, SIGNED_IN, Routes
from mercato.web.envelope import Page, Reply
from mercato.web.paging import ListQuery, page_meta, window

Onboarding = Literal["open", "operator"]
"""Who may open a store: anybody, or operators only."""


class Onboard(Body, frozen=True):
    """The store to open, and its first admin."""

    id: Slug
    name: Name
    admin: Register
    currency: str = "USD"
    tier: Tier | None = None


class ChangeStore(Body, TenantChange, frozen=True):
    """What is to change of a store."""


class TenantQuery(ListQuery, frozen=True):
    """Which stores to list."""

    status: StoreStatus | None = None
    tier: Tier | None = None


_NEW_STORE = {
    "id": "tea-house",
    "name": "Tea House",
    "currency": "EUR",
    "admin": {
        "email": "owner@tea.example",
        "password": "correct horse",
        "first_name": "Ada",
        "last_name": "Owner",
    },
}


def stores(api: Routes, desk: Stores, users: Users, onboarding: Onboarding) -> None:
    """Declare the endpoints."""

    @api.post(
        "/api/v1/tenants",
        status=201,
        allow=PUBLIC if onboarding == "open" else OPERATOR,
        idempotent=True,
        reissues=True,
        raises=(StoreTaken, Forbidden, Unavailable),
        example=_NEW_STORE,
    )
    async def onboard(call: Call, body: Onboard) -> Reply[OnboardedView]:
        """Open a store with its first admin."""
        if call.caller is not None and call.caller.role is Role.SERVICE:
            raise Forbidden("A machine may not open a store.")
        admin = body.admin
        if call.replayed:
            store = TenantId(body.id)
            # The caller may be of no store, or of another: the password proves that this one is theirs.
            with reaching(store):
                again = await users.login(
                    store,
                    admin.email,
                    admin.password,
                    address=call.client,
                    at=call.now,
                    by=partial(signing_in, call),
                )
                return secret(onboarded_view(await desk.store(store), again))
        call.about("tenant", body.id, tenant=TenantId(body.id))
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
        return tenant_view(await desk.tenant(call.principal, _named(tenant_id)))

    _operating(api, desk)


def _operating(api: Routes, desk: Stores) -> None:
    """Declare what operators do with stores."""

    @api.get("/api/v1/tenants", allow=OPERATOR)
    async def tenants(call: Call, query: TenantQuery) -> Page[TenantView]:  # noqa: ARG001  they are nobody's own
        """List the stores, by id."""
        wanted, part = TenantFilter(query.status, query.tier), window(query)
        if part.after is not None and not is_slug(part.after):
            raise ValidationFailed.field("after", "must be a next_cursor from an earlier page")
        found = await desk.search(wanted, part)
        total = await desk.count(wanted) if part.counted else None
        shown = found[: part.limit]
        views = [tenant_view(each) for each in shown]
        last, has_more = shown[-1].id if shown else None, len(found) > part.limit
        return Page(views, page_meta(part, last, total, has_more=has_more))

    @api.patch(
        "/api/v1/tenants/{tenant_id}",
        allow=OPERATOR,
        versioned=True,
        raises=(NotFound, StoreProtected, InvalidTransition, VersionMismatch),
        example={"tier": "premium"},
    )
    async def change_tenant(call: Call, tenant_id: str, body: ChangeStore) -> TenantView:
        """Change a store's name, tier or status. A suspended store lets only operators in."""
        call.about("tenant", tenant_id, tenant=TenantId(tenant_id))
        changed = await desk.change(
            _named(tenant_id), body, expected=call.expected, at=call.now, by=call.cause(tenant_view)
        )
        return tenant_view(changed)

    @api.delete(
        "/api/v1/tenants/{tenant_id}",
        allow=OPERATOR,
        versioned=True,
        raises=(NotFound, StoreProtected, VersionMismatch),
    )
    async def offboard(call: Call, tenant_id: str) -> TenantView:
        """Close a store for good: logins and tokens stop at once. Its data stays until it is purged."""
        call.about("tenant", tenant_id, tenant=TenantId(tenant_id))
        closed = await desk.offboard(
            _named(tenant_id), expected=call.expected, at=call.now, by=call.cause(tenant_view)
        )
        return tenant_view(closed)


def _named(tenant_id: str) -> TenantId:
    """Return a store's id. Raises NotFound for what cannot be one."""
    if not is_slug(tenant_id):
        raise NotFound("There is no such store.")
    return TenantId(tenant_id)
