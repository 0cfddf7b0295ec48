"""Tenants: each store's data, users and limits are its own."""

import enum
import re
from typing import NewType

TenantId = NewType("TenantId", str)
"""A store's slug. Minted by authentication and by the resolution of a public call only."""

DEFAULT_TENANT = TenantId("default")
"""The store that exists from the first start."""

MAX_SLUG = 63
SLUG_PATTERN = r"^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\Z"
"""One DNS label (RFC 1123), so that a store can have a host of its own."""

_slug = re.compile(SLUG_PATTERN).fullmatch


def is_slug(text: str) -> bool:
    """Say whether `text` could be a tenant's id."""
    return _slug(text) is not None


class Tier(enum.StrEnum):
    """What a store may use; the limits behind each are configuration."""

    BASIC = "basic"
    ADVANCED = "advanced"
    PREMIUM = "premium"
    UNLIMITED = "unlimited"


class StoreStatus(enum.StrEnum):
    """Whether a store trades."""

    ACTIVE = "active"
    SUSPENDED = "suspended"
    OFFBOARDED = "offboarded"
