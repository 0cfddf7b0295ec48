"""The gateway as a process: what it is made of, and its life."""

import asyncio
import os
import tempfile
from collections.abc import Mapping, Sequence

from prometheus_client import CollectorRegistry

from mercato import __version__
from mercato.adapters.http.client import close, http_client
from mercato.gateway.origin import Proxies
from mercato.gateway.shell import GatewayShell
from mercato.gateway.table import EVERY, Table
from mercato.gateway.upstream import Upstream
from mercato.kernel.clock import Clock, utc_now
from mercato.kernel.errors import Unauthenticated
from mercato.kernel.principal import Principal
from mercato.runtime.apart import cluster_secret
from mercato.runtime.app import contract_of, cors_of, openapi_routes
from mercato.runtime.embedded import Embedded
from mercato.runtime.prefork import GATEWAY
from mercato.runtime.settings import Settings, WrongSetting, load
from mercato.runtime.shared import open_shared
from mercato.web import docs
from mercato.web import health as health_web
from mercato.web.access_log import AccessLog, Write
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


class Edge:
    """The gateway and its life; see runtime.server.Served."""

    patient = True

    def __init__(
        self,
        settings: Settings,
        endpoints: Mapping[str, Sequence[Endpoint]],
        write: Write,
        registry: CollectorRegistry,
        clock: Clock = utc_now,
    ) -> None:
        """Put the gateway together. Raises WrongSetting."""
        self._client = http_client(_CONNECTIONS)
        secret = cluster_secret(settings, clock)
        services = [name for name in endpoints if name != EVERY]
        upstreams = {name: Upstream(name, settings.url_of(name), self._client, secret) for name in services}
        metrics = RequestMetrics(registry)
        ready = {name: _ready(each) for name, each in upstreams.items()}
        # Addresses are all that is counted here.
        self._shared = open_shared(settings) if settings.address_rate else None
        if self._shared is not None:
            self._shared.measure(registry)
            ready["redis"] = self._shared.check
        self._working: list[asyncio.Task[None]] = []
        self.health = Health(GATEWAY, __version__, {}, ready)
        described = [endpoint for each in endpoints.values() for endpoint in each]
        own = [
            *health_web.routes(self.health, services).endpoints,
            *docs.routes().endpoints,
            *metrics_routes(metrics).endpoints,
            *openapi_routes(described).endpoints,
        ]
        self._shell = GatewayShell(
            Table(endpoints, own),
            upstreams,
            proxies=_proxies(settings),
            max_body=settings.max_body,
            authenticator=_Nobody(),
            stores=Stores(_no_store),
            limits=settings.limits(None) if self._shared is None else self._shared.limits(None),
            cors=cors_of(settings),
            access_log=AccessLog(write, delay_s=_LOG_DELAY_S),
            metrics=metrics,
            clock=clock,
            hash_secret=b"",
            deadline_s=settings.request_deadline,
        )
        metrics.watch_in_flight(lambda: len(self._shell.under_way))

    async def handle(self, request: Request) -> Response:
        """Answer one request."""
        return await self._shell.handle(request)

    @property
    def under_way(self) -> UnderWay:
        """The requests under way."""
        return self._shell.under_way

    async def start(self) -> None:
        """Start what keeps the connection to Redis, which may be away."""
        if self._shared is not None:
            await self._shared.link.probe()
            self._working = [asyncio.create_task(work(), name=name) for name, work in self._shared.workers]

    async def stop(self) -> None:
        """Close every connection."""
        for task in self._working:
            task.cancel()
        await asyncio.gather(*self._working, return_exceptions=True)
        if self._shared is not None:
            await self._shared.close()
        await close(self._client)

    def flush(self) -> None:
        """Write the log lines that wait."""
        self._shell.flush()


class _Nobody:
    """An Authenticator of nobody: the services verify tokens."""

    async def authenticate(self, token: str) -> Principal:  # noqa: ARG002  none is looked at
        """Raise Unauthenticated."""
        raise Unauthenticated("Tokens are of no use here.")


async def _no_store(_: str) -> None:
    """Return no store: what the gateway answers itself is in none."""


def _ready(upstream: Upstream) -> Check:
    async def check() -> bool:
        return await upstream.is_ready(_CHECK_S)

    return check


def _proxies(settings: Settings) -> Proxies:
    try:
        return Proxies(settings.trusted_proxies)
    except ValueError as error:
        raise WrongSetting(
            f"MERCATO_TRUSTED_PROXIES must name addresses and networks, such as 10.0.0.0/8: {error}."
        ) from None
