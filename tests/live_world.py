"""Sockets and event streams on a real server, in the process of the tests, over a stand-in for the engine."""

import base64
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
from prometheus_client import CollectorRegistry

from mercato.adapters.bus.inprocess import InProcessBus
from mercato.contracts.events import Payload
from mercato.contracts.stores import Store
from mercato.gateway.live.connection import LiveTerms
from mercato.kernel.clock import Clock, utc_now
from mercato.kernel.errors import Unauthenticated
from mercato.kernel.ids import UserId
from mercato.kernel.principal import Principal, Role
from mercato.kernel.tenancy import StoreStatus, TenantId, Tier
from mercato.messaging.bus import Message
from mercato.runtime.live import Callers, Live
from mercato.runtime.settings import Settings
from mercato.web.access_log import AccessLog
from mercato.web.auth import Stores
from mercato.web.cors import Cors
from mercato.web.limits import Allowance, Limits
from mercato.web.metrics import RequestMetrics
from mercato.web.router import Router
from mercato.web.shell import Shell
from mercato.web.sockets import Sockets, SocketTerms
from tests.live_stand_in import StandIn, endpoints_of
from tests.reach import listening

LASTING = timedelta(hours=1)


class Tokens:
    """See web.auth.Authenticator. Whoever is cut is refused from then on."""

    def __init__(self) -> None:
        self._known: dict[str, Principal] = {}
        self.cut: set[str] = set()

    def issue(
        self, name: str, role: Role = Role.CUSTOMER, tenant: str = "shop", lasting: timedelta = LASTING
    ) -> str:
        """Return a token whose end can be read, as it can of any JWT."""
        claims = {"sub": name, "exp": int((datetime.now(UTC) + lasting).timestamp())}
        payload = base64.urlsafe_b64encode(msgspec.json.encode(claims)).decode().rstrip("=")
        token = f"head-{role}.{payload}.{tenant}"
        email = f"{name}@example.com"
        self._known[token] = Principal(UserId(name), email, role, TenantId(tenant))
        return token

    async def authenticate(self, token: str) -> Principal:
        principal = self._known.get(token)
        if principal is None or principal.user_id in self.cut:
            raise Unauthenticated("The token is not valid.")
        return principal


@dataclass
class World:
    """A server and all that it is made of."""

    tokens: Tokens
    statuses: dict[str, StoreStatus]
    bus: InProcessBus
    live: Live
    stand_in: StandIn
    sockets: Sockets
    shell: Shell
    registry: CollectorRegistry
    lines: list[bytes]
    port: int = 0

    async def publish(self, *payloads: Payload, encode: Callable[[Payload], bytes]) -> None:
        """Publish events, as a relay does."""
        await self.bus.publish(
            [Message(number, each.type, encode(each)) for number, each in enumerate(payloads)]
        )

    def metric(self, name: str, **labels: str) -> float:
        """Return what a metric tells; 0 for one that is not there yet."""
        return self.registry.get_sample_value(name, labels) or 0.0

    def told(self) -> list[dict[str, Any]]:
        """Return the lines of the access log about sockets."""
        self.shell.flush()
        lines = [msgspec.json.decode(line) for text in self.lines for line in text.splitlines()]
        return [line for line in lines if line["event"] == "socket"]


def world(
    bus: InProcessBus | None = None,
    rate: Allowance | None = None,
    terms: LiveTerms | None = None,
    socket_terms: SocketTerms | None = None,
    clock: Clock = utc_now,
    **settings: Any,
) -> World:
    """Put a server together; it is not started."""
    registry, lines = CollectorRegistry(), list[bytes]()
    tokens = Tokens()
    statuses = {"default": StoreStatus.ACTIVE, "shop": StoreStatus.ACTIVE, "other": StoreStatus.ACTIVE}

    async def find(tenant: TenantId) -> Store | None:
        status = statuses.get(tenant)
        return None if status is None else Store(tenant, tenant, "USD", Tier.BASIC, status)

    callers = Callers(
        tokens,
        Stores(find),
        Limits({tier: rate or Allowance() for tier in Tier}),
        Cors(("https://shop.example",)),
        AccessLog(lines.append),
        RequestMetrics(registry),
        clock,
    )
    bus = bus or InProcessBus()
    live = Live(Settings(**settings), callers, registry, bus)
    stand_in = StandIn(live.feed)
    shell = Shell(
        Router(endpoints_of(live.streams, stand_in)),
        authenticator=callers.authenticator,
        stores=callers.stores,
        limits=callers.limits,
        cors=callers.cors,
        access_log=callers.access_log,
        metrics=callers.metrics,
        clock=callers.clock,
        hash_secret=b"secret",
        deadline_s=10.0,
    )
    return World(
        tokens,
        statuses,
        bus,
        live,
        stand_in,
        live.sockets(stand_in, terms, socket_terms),
        shell,
        registry,
        lines,
    )


@asynccontextmanager
async def serving(made: World) -> AsyncIterator[World]:
    """Serve, and close all sockets in the end."""
    async with listening(made.shell, made.sockets) as url:
        made.port = int(url.rpartition(":")[2])
        try:
            yield made
        finally:
            await made.sockets.close(within_s=10)
            await made.shell.under_way.drained()
