"""One service in a process of its own, which calls its neighbours over HTTP.

It starts without them and without its database, and comes alive as they do. What it can do without
a neighbour works; the rest answers 503.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry

from mercato.adapters.identity.keys import KeyRing
from mercato.adapters.identity.remote_keys import RemoteKeys
from mercato.adapters.identity.revocations import Revocations
from mercato.adapters.identity.service_tokens import ClusterSecret, ServiceCallers
from mercato.adapters.identity.tokens import TokenTerms, TokenVerifier
from mercato.adapters.service import ServiceParts, Worker
from mercato.clients.books import ReadBooks, ServiceBooks, serve_books
from mercato.clients.cuts import CutsFollower, cuts_of, serve_cuts
from mercato.clients.internal import Internal
from mercato.clients.neighbour import Neighbour
from mercato.clients.order_reading import serve_order_reading
from mercato.clients.orders import OrderDeskClient, serve_orders
from mercato.clients.outbox import ask_resend, serve_outbox
from mercato.clients.payment_reading import serve_payment_reading
from mercato.clients.people import PeopleClient, serve_people
from mercato.clients.product_reading import serve_product_reading
from mercato.clients.quotas import QuotasClient, serve_quotas
from mercato.clients.stock import StockClient, serve_stock
from mercato.clients.stores import StoreDirectoryClient, serve_stores
from mercato.clients.user_reading import serve_user_reading
from mercato.kernel.clock import Clock, utc_now
from mercato.kernel.counting import Measure
from mercato.kernel.tracing import UNTRACED, Tracing
from mercato.runtime.app import application
from mercato.runtime.broker import broker_of
from mercato.runtime.dependencies import Dependencies
from mercato.runtime.embedded import (
    build_notifications,
    build_orders,
    build_payments,
    build_products,
    build_users,
)
from mercato.runtime.front import Front
from mercato.runtime.key_set import KeySet
from mercato.runtime.process import Composition, Process
from mercato.runtime.settings import Settings
from mercato.runtime.shared import open_shared
from mercato.web.access_log import Write
from mercato.web.auth import Authenticator, FindStore
from mercato.web.health import Health
from mercato.web.http import Request, Response
from mercato.web.limits import Allowance, Limiter, Limits, QuotaStore
from mercato.web.router import Router
from mercato.web.under_way import UnderWay

if TYPE_CHECKING:
    from mercato.runtime.redis import Shared

Prepare = Callable[[], Awaitable[object]]


class Neighbours:
    """The other services, as one calls them. Each is connected when it is first asked for."""

    def __init__(
        self,
        caller: str,
        settings: Settings,
        secret: ClusterSecret | None,
        dependencies: Dependencies | None = None,
    ) -> None:
        self._caller = caller
        self._settings = settings
        self._secret = secret
        self.dependencies = dependencies or Dependencies(settings.dependency_calls)
        self._known: dict[str, Neighbour] = {}
        self.shared: Shared | None = None
        """What is shared with all of them through Redis, if anything is."""
        self.traces = UNTRACED
        """Begins traces here, and goes on with theirs."""

    def __getitem__(self, service: str) -> Neighbour:
        """Return a service, always the same."""
        if service not in self._known:
            self._known[service] = Neighbour(
                service,
                self._settings.url_of(service),
                caller=self._caller,
                secret=self._secret,
                dependency=self.dependencies[service],
            )
        return self._known[service]

    async def resend(self, source: str, key: str, after: int, before: int) -> int:
        """Ask the sender of events, whose CloudEvents source is `/mercato/SERVICE`, to send some again."""
        return await ask_resend(self[source.rpartition("/")[2]], key, after, before)

    async def close(self) -> None:
        """Close every connection."""
        for neighbour in self._known.values():
            await neighbour.close()


@dataclass(slots=True)
class Identity:
    """Who verifies tokens, and what that needs."""

    authenticator: Authenticator
    find_store: FindStore
    quotas: QuotaStore | None
    hash_secret: bytes = field(repr=False)
    workers: list[tuple[str, Worker]] = field(default_factory=list)
    measures: tuple[Measure, ...] = ()
    closers: list[Callable[[], Awaitable[None]]] = field(default_factory=list)


@dataclass(slots=True)
class _Service:
    """One service, wired, and what it is to others."""

    parts: ServiceParts
    identity: Identity
    internal: Internal
    books: ReadBooks
    workers: list[tuple[str, Worker]] = field(default_factory=list)
    before_start: list[Prepare] = field(default_factory=list)
    closers: list[Callable[[], Awaitable[None]]] = field(default_factory=list)


class Apart:
    """A service and its life; see runtime.server.Served."""

    patient = True
    sockets = None

    def __init__(
        self,
        service: str,
        settings: Settings,
        write: Write,
        registry: CollectorRegistry,
        clock: Clock = utc_now,
        traces: Tracing = UNTRACED,
    ) -> None:
        """Wire a service. Nothing is connected yet."""
        secret = cluster_secret(settings, clock)
        self.neighbours = Neighbours(service, settings, secret)
        self.neighbours.shared, self.neighbours.traces = open_shared(settings), traces
        wired = _WIRE[service](settings, clock, self.neighbours)
        self.process = _process(service, settings, clock, wired, self.neighbours)
        _serve_common(wired, self.process)
        shell, health, _ = application(
            self.process, settings, write, registry, clock, dependencies=self.neighbours.dependencies
        )
        internal = None
        if secret is not None:
            internal = shell.beside(
                Router(wired.internal.routes.endpoints),
                authenticator=ServiceCallers(secret, service),
                limits=Limits({}, address=Allowance()),
                quiet=frozenset(wired.internal.quiet),
            )
        self._shell = shell
        self._health = health
        self._front = Front(service, shell, internal, secret)

    async def handle(self, request: Request) -> Response:
        """Answer one request."""
        return await self._front.handle(request)

    @property
    def health(self) -> Health:
        """The health that its life is told to."""
        return self._health

    @property
    def under_way(self) -> UnderWay:
        """The requests under way, of clients and of other services."""
        return self._shell.under_way

    async def start(self) -> None:
        """Start as soon as the database is there and migrated. Raises Unavailable until then."""
        await self.process.start()

    async def stop(self) -> None:
        """Stop all and close every connection."""
        await self.process.stop()

    def flush(self) -> None:
        """Write the log lines that wait."""
        self._shell.flush()


def cluster_secret(settings: Settings, clock: Clock = utc_now) -> ClusterSecret | None:
    """Return what services sign with, if there is a secret."""
    return ClusterSecret(settings.cluster_secret, clock=clock) if settings.cluster_secret else None


def _process(
    service: str, settings: Settings, clock: Clock, wired: _Service, neighbours: Neighbours
) -> Process:
    identity = wired.identity
    composition = Composition(
        name=service,
        services={service: wired.parts},
        bus=broker_of(settings, service),
        authenticator=identity.authenticator,
        find_store=identity.find_store,
        limits=_limits(settings, identity, neighbours),
        hash_secret=identity.hash_secret,
        workers=(*identity.workers, *wired.workers),
        before_start=tuple(wired.before_start),
        closers=(*wired.closers, *identity.closers, neighbours.close),
        is_alone=not settings.database_url,
        shared=neighbours.shared,
        ask_sender=neighbours.resend,
        measures=identity.measures,
    )
    retention = timedelta(seconds=settings.outbox_retention)
    return Process(composition, clock=clock, retention=retention, traces=neighbours.traces)


def _limits(settings: Settings, identity: Identity, neighbours: Neighbours) -> Limiter:
    """Return the limits: shared ones save the day's counts from users alone."""
    if neighbours.shared is None:
        return settings.limits(identity.quotas)
    is_remote = isinstance(identity.quotas, QuotasClient)
    return neighbours.shared.limits(None if is_remote else identity.quotas)


def _serve_common(wired: _Service, process: Process) -> None:
    """Declare what every service answers to others."""
    name = wired.parts.name

    async def books() -> ServiceBooks:
        return await with_keys_under_way(process, name, await wired.books())

    async def resend(key: str, after: int, before: int) -> int:
        return await process.resend(name, key, after, before)

    serve_books(wired.internal, books)
    serve_outbox(wired.internal, resend)


async def with_keys_under_way(process: Process, name: str, books: ServiceBooks) -> ServiceBooks:
    """Return a service's books, with the ordering keys of which events are under way."""
    import msgspec  # noqa: PLC0415

    unsent = await process.outboxes[name].unsent_keys()
    parked = await process.inbox_stores[name].parked_keys()
    return msgspec.structs.replace(books, keys_under_way=sorted({*unsent, *parked}))


def remote_identity(settings: Settings, clock: Clock, neighbours: Neighbours) -> Identity:
    """Verify tokens by the keys that users tells, and find stores by asking it."""
    users = neighbours["users"]
    terms = TokenTerms(
        issuer=settings.issuer, audience=settings.audience, lifetime=timedelta(seconds=settings.token_ttl)
    )
    revocations = Revocations(terms.lifetime, clock=clock)
    key_set = KeySet(settings.users_url)
    keys = RemoteKeys(key_set.fetch, folder=KeyRing(settings.folder / "keys"))
    verifier = TokenVerifier(keys, terms, clock=clock, revocations=revocations)
    keys.on_drop(verifier.forget)
    directory = StoreDirectoryClient(users)
    workers: list[tuple[str, Worker]] = [("keys", keys.watch)]
    authenticator: Authenticator = verifier
    if neighbours.shared is not None:
        authenticator, heed = neighbours.shared.heeding(verifier, revocations, clock)
        workers.append(("heard-cuts", heed))
    quotas: QuotaStore | None = None
    secret = cluster_secret(settings, clock)
    if secret is not None:
        quotas = QuotasClient(users)
        workers.append(("cuts", CutsFollower(cuts_of(users), revocations.restore).follow))
    return Identity(
        authenticator,
        directory.find_for_call,
        quotas,
        _hash_secret(settings, clock),
        workers,
        closers=[key_set.close],
        measures=(*verifier.measures, *directory.measures),
    )


def _hash_secret(settings: Settings, clock: Clock) -> bytes:
    """Return what keys the hashes of idempotent bodies: the same in all replicas."""
    secret = cluster_secret(settings, clock)
    return KeyRing(settings.folder / "keys").hash_secret() if secret is None else secret.hash_secret


def _users(settings: Settings, clock: Clock, neighbours: Neighbours) -> _Service:
    users = build_users(settings, clock, neighbours.shared)
    follower = CutsFollower(users.cuts.since, users.cuts.restore)
    identity = Identity(
        users.verifier,
        users.find_store,
        users.quotas,
        _hash_secret(settings, clock),
        # Other processes of users cut tokens, too.
        [("keys", users.keys.watch), ("cuts", follower.follow)],
    )
    internal = Internal()
    serve_stores(internal, users.directory)
    serve_quotas(internal, users.quotas)
    serve_cuts(internal, users.cuts.since)
    serve_people(internal, users.people)
    serve_user_reading(internal, users.reader)

    async def books() -> ServiceBooks:
        return ServiceBooks(stores=len(await users.stores.list_stores()))

    prepare = (lambda: users.stores.ensure_default_store(at=clock()), users.take_up)
    return _Service(users.parts, identity, internal, books, before_start=[*prepare])


def _products(settings: Settings, clock: Clock, neighbours: Neighbours) -> _Service:
    stores = StoreDirectoryClient(neighbours["users"])
    products = build_products(settings, clock, stores, neighbours.shared)
    internal = Internal()
    serve_stock(internal, products.stock)
    serve_product_reading(internal, products.reader)

    async def books() -> ServiceBooks:
        stock, holds = await products.books()
        return ServiceBooks(stock=stock, holds=holds)

    orphans = products.orphan_worker(OrderDeskClient(neighbours["orders"]))
    identity = remote_identity(settings, clock, neighbours)
    return _Service(products.parts, identity, internal, books, workers=[("orphans", orphans)])


def _orders(settings: Settings, clock: Clock, neighbours: Neighbours) -> _Service:
    orders = build_orders(settings, clock, StockClient(neighbours["products"]))
    internal = Internal()
    serve_orders(internal, orders.desk)
    serve_order_reading(internal, orders.reader)

    async def books() -> ServiceBooks:
        return ServiceBooks(orders=await orders.store.books())

    return _Service(orders.parts, remote_identity(settings, clock, neighbours), internal, books)


def _payments(settings: Settings, clock: Clock, neighbours: Neighbours) -> _Service:
    secret = _hash_secret(settings, clock).hex()
    desk = OrderDeskClient(neighbours["orders"])
    payments = build_payments(settings, clock, desk, secret, neighbours.traces)
    internal = Internal()
    serve_payment_reading(internal, payments.reader)

    async def books() -> ServiceBooks:
        return ServiceBooks(payments=await payments.books(), charges=await payments.sandbox.book())

    return _Service(
        payments.parts,
        remote_identity(settings, clock, neighbours),
        internal,
        books,
        before_start=[] if settings.database_url else [payments.take_up],
        closers=[payments.close],
    )


def _notifications(settings: Settings, clock: Clock, neighbours: Neighbours) -> _Service:
    users = neighbours["users"]
    notifications = build_notifications(
        settings, clock, PeopleClient(users), StoreDirectoryClient(users), neighbours.traces
    )

    async def books() -> ServiceBooks:
        return ServiceBooks()

    return _Service(
        notifications.parts,
        remote_identity(settings, clock, neighbours),
        Internal(),
        books,
        before_start=[] if settings.database_url else [notifications.take_up],
        closers=[notifications.close],
    )


_WIRE: dict[str, Callable[[Settings, Clock, Neighbours], _Service]] = {
    "users": _users,
    "products": _products,
    "orders": _orders,
    "payments": _payments,
    "notifications": _notifications,
}
"""How each service is wired."""

SERVICES = tuple(_WIRE)
"""The services that can run apart."""
