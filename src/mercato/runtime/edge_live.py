"""GraphQL in the gateway: who calls is verified there, and events are heard from the broker."""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

from prometheus_client import CollectorRegistry

from mercato.clients.order_reading import OrderReaderClient
from mercato.clients.payment_reading import PaymentReaderClient
from mercato.clients.product_reading import ProductReaderClient
from mercato.clients.user_reading import UserReaderClient
from mercato.gateway.origin import Proxies
from mercato.runtime.apart import Neighbours, cluster_secret, remote_identity
from mercato.runtime.broker import broker_of
from mercato.runtime.commerce import Readers, plug_in
from mercato.runtime.dependencies import Dependencies
from mercato.runtime.live import Callers, Live, Plugged
from mercato.runtime.prefork import GATEWAY
from mercato.runtime.process import Composition, Process
from mercato.runtime.settings import Settings
from mercato.runtime.shared import open_shared
from mercato.web.auth import Stores
from mercato.web.http import Request


class EdgeLive:
    """What the gateway needs for GraphQL, and its life: a process without a service of its own."""

    def __init__(
        self, settings: Settings, callers: Callers, proxies: Proxies, dependencies: Dependencies
    ) -> None:
        """Wire it, with the log and all that is the same for the gateway's `callers` without GraphQL.

        Nothing is connected yet. Raises WrongSetting.
        """
        clock = callers.clock
        neighbours = Neighbours(GATEWAY, settings, cluster_secret(settings, clock), dependencies)
        neighbours.shared = open_shared(settings)
        identity = remote_identity(settings, clock, neighbours)
        # Quotas are counted with the services where Redis is, and else by each itself.
        limits = settings.limits(None) if neighbours.shared is None else neighbours.shared.limits(None)
        composition = Composition(
            name=GATEWAY,
            services={},
            bus=broker_of(settings, GATEWAY),
            authenticator=identity.authenticator,
            find_store=identity.find_store,
            limits=limits,
            hash_secret=identity.hash_secret,
            workers=tuple(identity.workers),
            closers=(*identity.closers, neighbours.close),
            shared=neighbours.shared,
            measures=identity.measures,
        )
        self.neighbours = neighbours
        self.process = Process(
            composition, clock=clock, retention=timedelta(seconds=settings.outbox_retention)
        )
        self.callers = replace(
            callers,
            authenticator=identity.authenticator,
            stores=Stores(identity.find_store, settings.tenant_domain),
            limits=limits,
        )
        self._settings = settings
        self._proxies = proxies

    def live(self, registry: CollectorRegistry) -> Live:
        """Return what operations that go on need."""
        bus = self.process.composition.bus
        return Live(self._settings, self.callers, registry, bus, locate=self._locate)

    def _locate(self, request: Request) -> str:
        origin = self._proxies.origin(request)
        request.client, request.secure = origin.client, origin.secure
        return origin.host


def offered(settings: Settings) -> Callable[[Live, Neighbours], Plugged]:
    """Return what makes GraphQL of the services apart. It raises WrongSetting."""

    def plug(live: Live, services: Neighbours) -> Plugged:
        readers = Readers(
            UserReaderClient(services["users"]),
            ProductReaderClient(services["products"]),
            OrderReaderClient(services["orders"]),
            PaymentReaderClient(services["payments"]),
        )
        return plug_in(settings, readers)(live)

    return plug
