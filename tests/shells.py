"""Shells for tests: over any endpoints, with stores that are simply there."""

from collections.abc import Iterable
from typing import Any

from prometheus_client import CollectorRegistry

from mercato.contracts.stores import Store
from mercato.kernel.clock import Clock
from mercato.kernel.tenancy import StoreStatus, TenantId, Tier
from mercato.web.access_log import AccessLog
from mercato.web.auth import Authenticator, FindStore, Stores
from mercato.web.cors import Cors
from mercato.web.endpoint import Endpoint
from mercato.web.limits import Allowance, Limits
from mercato.web.metrics import RequestMetrics
from mercato.web.router import Router
from mercato.web.shell import Shell

NO_LIMITS = {tier: Allowance() for tier in Tier}


def stores_there(*tenants: str) -> FindStore:
    """Find these stores, which trade, and no others."""

    async def find(tenant: TenantId) -> Store | None:
        if tenant not in tenants:
            return None
        return Store(tenant, tenant.title(), "USD", Tier.UNLIMITED, StoreStatus.ACTIVE)

    return find


def open_shell(
    endpoints: Iterable[Endpoint],
    *,
    authenticator: Authenticator,
    find_store: FindStore,
    clock: Clock,
    tenant_domain: str = "",
    **changed: Any,
) -> Shell:
    """Return a shell without limits, other origins or a log, but for what is `changed`."""
    settings: dict[str, Any] = {
        "limits": Limits(NO_LIMITS),
        "cors": Cors(()),
        "access_log": AccessLog(lambda _: None),
        "metrics": RequestMetrics(CollectorRegistry()),
        "hash_secret": b"secret",
        "deadline_s": 10.0,
        **changed,
    }
    return Shell(
        Router(endpoints),
        authenticator=authenticator,
        stores=Stores(find_store, tenant_domain),
        clock=clock,
        **settings,
    )
