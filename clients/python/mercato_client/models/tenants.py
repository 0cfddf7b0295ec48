# Made by `make client` from the OpenAPI document; edits are lost.
"""What tenants send and answer."""

from datetime import datetime
from typing import Literal, TypeAlias

import msgspec
from msgspec import UNSET, UnsetType

from mercato_client.models.shared import Register, UserView

Tier: TypeAlias = Literal["advanced", "basic", "premium", "unlimited"]
"""What a store may use; the limits behind each are configuration."""


class ChangeStore(msgspec.Struct, frozen=True, kw_only=True):
    """What is to change of a store."""

    name: str | UnsetType | None = UNSET
    tier: Tier | UnsetType | None = UNSET
    status: Literal["active", "suspended"] | UnsetType | None = UNSET


class Onboard(msgspec.Struct, frozen=True, kw_only=True):
    """The store to open, and its first admin."""

    id: str
    name: str
    admin: Register
    currency: str | UnsetType = UNSET
    tier: Tier | UnsetType | None = UNSET


StoreStatus: TypeAlias = Literal["active", "offboarded", "suspended"]
"""Whether a store trades."""


class TenantView(msgspec.Struct, frozen=True, kw_only=True):
    """A store."""

    id: str
    name: str
    currency: str
    tier: Tier
    status: StoreStatus
    created_at: datetime
    updated_at: datetime
    version: int


class OnboardedView(msgspec.Struct, frozen=True, kw_only=True):
    """A store that has opened, and its first admin, signed in."""

    tenant: TenantView
    token: str
    refresh_token: str
    expires_in: int
    user: UserView
