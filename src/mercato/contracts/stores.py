"""Stores (tenants), as the users service keeps them."""

from typing import Protocol

import msgspec

from mercato.contracts.events import Payload
from mercato.kernel.tenancy import StoreStatus, TenantId, Tier


class Store(msgspec.Struct, frozen=True):
    """One store on the platform."""

    id: TenantId
    name: str
    currency: str
    tier: Tier
    status: StoreStatus


class StoreDirectory(Protocol):
    """Finds stores by id. Answers may be some seconds old."""

    async def find(self, tenant: TenantId) -> Store | None:
        """Return the store, whatever its status, or None. Raises Unavailable."""
        ...


class TenantEvent(Payload, frozen=True, kw_only=True):
    """What the events about a store carry."""

    name: str
    currency: str
    tier: Tier
    status: StoreStatus

    @property
    def subject(self) -> str:
        """The store."""
        return self.tenant_id


class TenantOnboarded(TenantEvent, frozen=True, kw_only=True):
    """A store opened."""

    type = "tenant.onboarded"


class TenantUpdated(TenantEvent, frozen=True, kw_only=True):
    """A store's name, tier or status changed."""

    type = "tenant.updated"


class TenantOffboarded(TenantEvent, frozen=True, kw_only=True):
    """A store closed: its logins have stopped."""

    type = "tenant.offboarded"
