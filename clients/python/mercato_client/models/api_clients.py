# Made by `make client` from the OpenAPI document; edits are lost.
"""What api clients send and answer."""

from collections.abc import Sequence
from datetime import datetime

import msgspec
from msgspec import UNSET, UnsetType


class ApiClientView(msgspec.Struct, frozen=True, kw_only=True):
    """A machine's login."""

    id: str
    client_id: str
    name: str
    scopes: Sequence[str]
    tenant_id: str
    created_by: str
    created_at: datetime
    expires_at: datetime | None
    version: int


class CreateApiClient(msgspec.Struct, frozen=True, kw_only=True):
    """A machine that is to have a login: its name, and what it may do."""

    name: str
    scopes: Sequence[str]
    expires_at: datetime | UnsetType | None = UNSET


class NewApiClientView(msgspec.Struct, frozen=True, kw_only=True):
    """A new login with its secret, which is shown this once."""

    id: str
    client_id: str
    name: str
    scopes: Sequence[str]
    tenant_id: str
    created_by: str
    created_at: datetime
    expires_at: datetime | None
    version: int
    client_secret: str
