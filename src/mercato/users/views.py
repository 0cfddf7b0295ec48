"""What users answers."""

from datetime import datetime
from typing import Literal

import msgspec

from mercato.adapters.identity.tokens import COGNITO_ROLES
from mercato.kernel.ids import UserId
from mercato.kernel.principal import Role
from mercato.kernel.redaction import discreet
from mercato.kernel.tenancy import StoreStatus, TenantId, Tier
from mercato.users.domain import Tenant, User
from mercato.users.service.sessions import SignedIn
from mercato.web.flat import FlatView


class UserView(msgspec.Struct, frozen=True):
    """A user, as the store's staff and the user see them."""

    id: UserId
    tenant_id: TenantId
    email: str
    first_name: str
    last_name: str
    full_name: str
    role: Role
    is_active: bool
    email_verified: bool
    created_at: datetime
    updated_at: datetime
    version: int


class FlatUser(FlatView, frozen=True):
    """A user in the flat dialect, as a Cognito user pool tells of them. The username is the id."""

    username: UserId
    email: str
    user_role: str
    status: Literal["CONFIRMED", "FORCE_CHANGE_PASSWORD"]
    enabled: bool
    created: datetime
    modified: datetime


class TenantView(msgspec.Struct, frozen=True):
    """A store."""

    id: TenantId
    name: str
    currency: str
    tier: Tier
    status: StoreStatus
    created_at: datetime
    updated_at: datetime
    version: int


class SignedInView(msgspec.Struct, frozen=True):
    """A user who has signed in. The token expires in `expires_in` seconds."""

    token: str
    refresh_token: str
    expires_in: int
    user: UserView

    __repr__ = discreet


class OnboardedView(msgspec.Struct, frozen=True):
    """A store that has opened, and its first admin, signed in."""

    tenant: TenantView
    token: str
    refresh_token: str
    expires_in: int
    user: UserView

    __repr__ = discreet


def user_view(user: User) -> UserView:
    """Show a user."""
    return UserView(
        id=user.id,
        tenant_id=user.tenant_id,
        email=user.email,
        first_name=user.first_name,
        last_name=user.last_name,
        full_name=user.full_name,
        role=user.role,
        is_active=user.is_active,
        email_verified=user.email_verified,
        created_at=user.created_at,
        updated_at=user.updated_at,
        version=user.version,
    )


def flat_user(user: User) -> FlatUser:
    """Show a user in the flat dialect."""
    return FlatUser(
        username=user.id,
        email=user.email,
        user_role=COGNITO_ROLES[user.role],
        status="FORCE_CHANGE_PASSWORD" if user.is_invited else "CONFIRMED",
        enabled=user.is_active,
        created=user.created_at,
        modified=user.updated_at,
    )


def tenant_view(tenant: Tenant) -> TenantView:
    """Show a store."""
    return TenantView(
        id=tenant.id,
        name=tenant.name,
        currency=tenant.currency,
        tier=tenant.tier,
        status=tenant.status,
        created_at=tenant.created_at,
        updated_at=tenant.updated_at,
        version=tenant.version,
    )


def signed_in_view(signed_in: SignedIn) -> SignedInView:
    """Show a user who has signed in."""
    return SignedInView(
        signed_in.token, signed_in.refresh_token, signed_in.expires_in, user_view(signed_in.user)
    )


def onboarded_view(tenant: Tenant, admin: SignedIn) -> OnboardedView:
    """Show a store that has opened."""
    return OnboardedView(
        tenant_view(tenant), admin.token, admin.refresh_token, admin.expires_in, user_view(admin.user)
    )
