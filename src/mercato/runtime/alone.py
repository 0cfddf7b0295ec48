"""One service alone, on its own database. Its neighbours are away.

What it can do without them works; the rest answers 503. Without a broker its events wait in its outbox.
"""

from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime, timedelta

from mercato.adapters.identity.keys import KeyRing
from mercato.adapters.identity.revocations import Revocations
from mercato.adapters.identity.tokens import TokenTerms, TokenVerifier
from mercato.adapters.service import ServiceParts, Worker
from mercato.contracts.orders import OrderFacts
from mercato.contracts.products import Reservation, WantedLine
from mercato.contracts.stores import Store
from mercato.contracts.users import LinkAction, Recipient
from mercato.kernel.clock import Clock, utc_now
from mercato.kernel.errors import Unavailable
from mercato.kernel.ids import OrderId, UserId
from mercato.kernel.tenancy import DEFAULT_TENANT, StoreStatus, TenantId, Tier
from mercato.runtime.broker import broker_of
from mercato.runtime.embedded import (
    build_notifications,
    build_orders,
    build_payments,
    build_products,
    build_users,
)
from mercato.runtime.process import Composition, Process
from mercato.runtime.settings import Settings
from mercato.runtime.shared import open_shared
from mercato.web.auth import Authenticator, FindStore
from mercato.web.limits import QuotaStore


class AwayStores:
    """A StoreDirectory that cannot be reached."""

    async def find(self, tenant: TenantId) -> Store | None:
        """Raise Unavailable."""
        raise Unavailable("The users service is away.", retry_after=5)

    async def find_for_call(self, tenant: TenantId) -> Store | None:
        """Return the default store as it usually is; raise Unavailable for any other."""
        if tenant == DEFAULT_TENANT:
            return Store(tenant, "", "", Tier.UNLIMITED, StoreStatus.ACTIVE)
        raise Unavailable("The users service is away.", retry_after=5)


class AwayStock:
    """A Stock that cannot be reached."""

    async def reserve(  # noqa: PLR0913  the contract's own parameters
        self,
        tenant: TenantId,
        order_id: OrderId,
        lines: Sequence[WantedLine],
        *,
        currency: str | None,
        until: datetime,
        by: str,
        at: datetime,
    ) -> Reservation:
        """Raise Unavailable."""
        raise Unavailable("The products service is away.", retry_after=5)


class AwayOrders:
    """An OrderDesk that cannot be reached."""

    async def facts(self, tenant: TenantId, order_ids: Sequence[OrderId]) -> dict[OrderId, OrderFacts]:
        """Raise Unavailable."""
        raise Unavailable("The orders service is away.", retry_after=5)


class AwayPeople:
    """A People that cannot be reached."""

    async def recipient(self, tenant: TenantId, user_id: UserId) -> Recipient | None:
        """Raise Unavailable."""
        raise Unavailable("The users service is away.", retry_after=5)

    async def link(self, tenant: TenantId, user_id: UserId, action: LinkAction) -> str | None:
        """Raise Unavailable."""
        raise Unavailable("The users service is away.", retry_after=5)


def alone(service: str, settings: Settings, clock: Clock = utc_now) -> Process:
    """Return a process of one service. The keys of the data folder are shared with others."""
    stores = AwayStores()
    keys = KeyRing(settings.folder / "keys")
    find_store: FindStore = stores.find_for_call
    terms = TokenTerms(
        issuer=settings.issuer, audience=settings.audience, lifetime=timedelta(seconds=settings.token_ttl)
    )
    revocations = Revocations(terms.lifetime, clock=clock)
    verifier = TokenVerifier(keys, terms, clock=clock, revocations=revocations)
    keys.on_drop(verifier.forget)
    shared = open_shared(settings)
    authenticator: Authenticator = verifier
    workers: tuple[tuple[str, Worker], ...] = ()
    if shared is not None and service != "users":
        authenticator, heed = shared.heeding(verifier, revocations, clock)
        workers = (("cuts", heed),)
    before_start: tuple[Callable[[], Awaitable[object]], ...] = ()
    closers: tuple[Callable[[], Awaitable[None]], ...] = ()
    quotas: QuotaStore | None = None
    parts: ServiceParts
    match service:
        case "users":
            users = build_users(settings, clock, shared)
            parts, find_store, quotas = users.parts, users.find_store, users.quotas
            authenticator, keys = users.verifier, users.keys
            before_start = (lambda: users.stores.ensure_default_store(at=clock()), users.take_up)
        case "products":
            parts = build_products(settings, clock, stores, shared).parts
        case "orders":
            parts = build_orders(settings, clock, AwayStock()).parts
        case "payments":
            payments = build_payments(settings, clock, AwayOrders(), sandbox_secret=keys.hash_secret().hex())
            parts, closers = payments.parts, (payments.close,)
            before_start = () if settings.database_url else (payments.take_up,)
        case "notifications":
            notifications = build_notifications(settings, clock, AwayPeople(), stores)
            parts, closers = notifications.parts, (notifications.close,)
            before_start = () if settings.database_url else (notifications.take_up,)
        case _:
            raise ValueError(service)
    composition = Composition(
        name=service,
        services={service: parts},
        bus=broker_of(settings, service),
        authenticator=authenticator,
        find_store=find_store,
        limits=settings.limits(quotas) if shared is None else shared.limits(quotas),
        hash_secret=keys.hash_secret(),
        is_alone=not settings.database_url,
        workers=(("keys", keys.watch), *workers),
        shared=shared,
        before_start=before_start,
        closers=closers,
    )
    return Process(composition, clock=clock, retention=timedelta(seconds=settings.outbox_retention))
