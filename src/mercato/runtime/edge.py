"""The gateway as a process: what it is made of, and its life."""

import asyncio
import os
import tempfile
from collections.abc import Callable, Mapping, Sequence

from prometheus_client import CollectorRegistry
from pyreqwest.client import Client

from mercato import __version__
from mercato.adapters.http.client import close, http_client
from mercato.gateway.origin import Proxies
from mercato.gateway.shell import GatewayShell
from mercato.gateway.table import EVERY, Table
from mercato.gateway.upstream import Upstream
from mercato.kernel.clock import Clock, utc_now
from mercato.kernel.errors import Unauthenticated
from mercato.kernel.principal import Principal
from mercato.kernel.tracing import UNTRACED, Tracing
from mercato.runtime.apart import Neighbours, cluster_secret
from mercato.runtime.app import contract_of, cors_of, openapi_routes, shared_checks
from mercato.runtime.dependencies import Dependencies, closed
from mercato.runtime.edge_live import EdgeLive
from mercato.runtime.embedded import Embedded
from mercato.runtime.exposition import Exposition
from mercato.runtime.live import Callers, Live, Plugged
from mercato.runtime.prefork import GATEWAY
from mercato.runtime.settings import Settings, WrongSetting, load
from mercato.web import docs
from mercato.web import health as health_web
from mercato.web.access_log import AccessLog, Write
from mercato.web.admission import Admission
from mercato.web.auth import Stores
from mercato.web.endpoint import Endpoint
from mercato.web.health import Check, Health
from mercato.web.http import Request, Response
from mercato.web.metrics import RequestMetrics, metrics_routes
from mercato.web.under_way import UnderWay

_LOG_DELAY_S = 0.02
_CHECK_S = 1.0
_CONNECTIONS = 1024


def declared(settings: Settings, clock: Clock = utc_now) -> Mapping[str, Sequence[Endpoint]]:
    """Return what each service declares, and what all of them declare together.

    The services are wired for that in a folder of their own, and none is started.
    """
    with tempfile.TemporaryDirectory(prefix="mercato-") as folder:
        own = {"onboarding": settings.onboarding, "max_import": settings.max_import}
        platform = Embedded(load(os.environ, data=folder, **own), clock)
        services = platform.process.composition.services
        found = {name: list(parts.routes.endpoints) for name, parts in services.items()}
        each = {id(endpoint) for endpoints in found.values() for endpoint in endpoints}
        together = [endpoint for endpoint in contract_of(platform.process, clock) if id(endpoint) not in each]
        asyncio.run(platform.process.close())
    return {**found, EVERY: together}


EdgePlugIn = Callable[[Live, Neighbours], Plugged]
"""Makes GraphQL of a schema, over the services as neighbours."""


class Edge:
    """The gateway and its life; see runtime.server.Served."""

    patient = True

    def __init__(  # noqa: PLR0913  all but the first four are named
        self,
        settings: Settings,
        endpoints: Mapping[str, Sequence[Endpoint]],
        write: Write,
        registry: CollectorRegistry,
        *,
        graphql: EdgePlugIn,
        clock: Clock = utc_now,
        traces: Tracing = UNTRACED,
    ) -> None:
        """Put the gateway together; `graphql` is the schema. Raises WrongSetting."""
        self._client = http_client(_CONNECTIONS)
        services = [name for name in endpoints if name != EVERY]
        dependencies = Dependencies(settings.dependency_calls)
        registry.register(dependencies)
        upstreams = _upstreams(settings, services, self._client, dependencies, clock)
        metrics, proxies = RequestMetrics(registry), _proxies(settings)
        callers = _strangers(settings, AccessLog(write, delay_s=_LOG_DELAY_S), metrics, clock, traces)
        checks = {name: _ready(each, closed(dependencies[name])) for name, each in upstreams.items()}
        edge = EdgeLive(settings, callers, proxies, dependencies)
        self._process, callers = edge.process, edge.callers
        live = edge.live(registry)
        plugged = graphql(live, edge.neighbours)
        self.sockets = live.sockets(plugged.executes)
        self.health = Health(GATEWAY, __version__, {}, checks | shared_checks(edge.process))
        described = [endpoint for each in endpoints.values() for endpoint in each]
        own = [
            *plugged.endpoints,
            *health_web.routes(self.health, services).endpoints,
            *docs.routes().endpoints,
            *metrics_routes(Exposition(registry, edge.process).text).endpoints,
            *openapi_routes(described).endpoints,
        ]
        admission = Admission(settings.queue_delay)
        self._shell = GatewayShell(
            Table(endpoints, own),
            upstreams,
            proxies=proxies,
            max_body=settings.max_body,
            authenticator=callers.authenticator,
            stores=callers.stores,
            limits=callers.limits,
            cors=callers.cors,
            access_log=callers.access_log,
            metrics=metrics,
            clock=clock,
            hash_secret=b"",
            deadline_s=settings.request_deadline,
            admission=admission,
            traces=callers.traces,
        )
        metrics.watch(in_flight=lambda: len(self._shell.under_way), waiting=lambda: admission.waiting)
        plugged.bind(self._shell.handle)

    async def handle(self, request: Request) -> Response:
        """Answer one request."""
        return await self._shell.handle(request)

    @property
    def under_way(self) -> UnderWay:
        """The requests under way."""
        return self._shell.under_way

    async def start(self) -> None:
        """Start what GraphQL needs. It waits for nobody."""
        await self._process.start()

    async def stop(self) -> None:
        """Close every connection."""
        await self._process.stop()
        await close(self._client)

    def flush(self) -> None:
        """Write the log lines that wait."""
        self._shell.flush()


def _upstreams(
    settings: Settings, services: Sequence[str], client: Client, dependencies: Dependencies, clock: Clock
) -> dict[str, Upstream]:
    secret = cluster_secret(settings, clock)
    return {name: Upstream(settings.url_of(name), client, secret, dependencies[name]) for name in services}


def _strangers(
    settings: Settings, access_log: AccessLog, metrics: RequestMetrics, clock: Clock, traces: Tracing
) -> Callers:
    """Return callers of whom the gateway knows the address alone."""
    return Callers(
        _Nobody(),
        Stores(_no_store),
        settings.limits(None),
        cors_of(settings),
        access_log,
        metrics,
        clock,
        traces,
    )


class _Nobody:
    """An Authenticator of nobody: the services verify tokens."""

    async def authenticate(self, token: str) -> Principal:  # noqa: ARG002  none is looked at
        """Raise Unauthenticated."""
        raise Unauthenticated("Tokens are of no use here.")


async def _no_store(_: str) -> None:
    """Return no store: what the gateway answers itself is in none."""


def _ready(upstream: Upstream, is_closed: Check) -> Check:
    async def check() -> bool | str:
        told = await is_closed()
        return await upstream.is_ready(_CHECK_S) if told is True else told

    return check


def _proxies(settings: Settings) -> Proxies:
    try:
        return Proxies(settings.trusted_proxies)
    except ValueError as error:
        raise WrongSetting(
            f"MERCATO_TRUSTED_PROXIES must name addresses and networks, such as 10.0.0.0/8: {error}."
        ) from None
