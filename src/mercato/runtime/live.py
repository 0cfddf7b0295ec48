"""GraphQL over sockets and event streams, put together: what carries it, and what feeds it."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from prometheus_client import CollectorRegistry

from mercato.gateway.live.connection import Connection, LiveTerms
from mercato.gateway.live.counts import Counts
from mercato.gateway.live.executes import Executes
from mercato.gateway.live.feed import FAMILIES, Feed
from mercato.gateway.live.messages import SUBPROTOCOLS
from mercato.gateway.live.session import Sessions
from mercato.gateway.live.sse import EventStreams
from mercato.kernel.clock import Clock
from mercato.kernel.tracing import UNTRACED, Tracing
from mercato.messaging.bus import Bus
from mercato.runtime.settings import Settings
from mercato.web.access_log import AccessLog
from mercato.web.auth import Authenticator, Stores
from mercato.web.cors import Cors
from mercato.web.endpoint import Endpoint
from mercato.web.http import Request, Response
from mercato.web.limits import Limiter
from mercato.web.metrics import RequestMetrics
from mercato.web.places import Places
from mercato.web.sockets import Opening, Socket, SocketRoute, Sockets, SocketTerms

PATHS = ("/graphql", "/query")
MAX_MESSAGE = 101 * 1024
"""Bytes: as long a document as may come in a body, and what is written around it."""


@dataclass(frozen=True, slots=True)
class Callers:
    """Who may call, and how much: what a shell is made of, too."""

    authenticator: Authenticator
    stores: Stores
    limits: Limiter
    cors: Cors
    access_log: AccessLog
    metrics: RequestMetrics
    clock: Clock
    traces: Tracing = UNTRACED


@dataclass(frozen=True, slots=True)
class Plugged:
    """GraphQL as it is plugged into a process."""

    executes: Executes
    endpoints: Sequence[Endpoint] = ()
    """Where operations are asked for by requests."""
    bind: Callable[[Callable[[Request], Awaitable[Response]]], None] = lambda _: None
    """Takes what answers the requests of the process, which operations make too."""


class Live:
    """What a process has for operations that go on.

    `feed` and `streams` are for the schema and for HTTP, the rest is for whoever makes them.
    """

    def __init__(
        self,
        settings: Settings,
        callers: Callers,
        registry: CollectorRegistry,
        bus: Bus | None,
        locate: Callable[[Request], str] | None = None,
    ) -> None:
        """Hear events on the bus, which is not started yet. Without one, subscriptions are refused.

        `locate` finds out who the client is behind proxies; see web.sockets.Sockets.
        """
        self.settings = settings
        self.registry = registry
        self.traces = callers.traces
        self._callers = callers
        self._counts = Counts(registry)
        self._places = Places(settings.sockets, settings.address_sockets)
        self._locate = locate
        self._sessions = Sessions(callers.authenticator, callers.stores, callers.limits, callers.clock)
        self.closing = asyncio.Event()
        self.feed = Feed(self._counts, (lambda: False) if bus is None else (lambda: bus.state().connected))
        if bus is not None:
            bus.listen(FAMILIES, self.feed.hear, self.feed.missed)
        self.streams = EventStreams(
            self._sessions, places=self._places, counts=self._counts, closing=self.closing
        )

    def sockets(
        self, executes: Executes, terms: LiveTerms | None = None, socket_terms: SocketTerms | None = None
    ) -> Sockets:
        """Return the sockets at GraphQL's paths, whose operations are carried out by `executes`."""
        terms = terms or LiveTerms(most_operations=self.settings.socket_operations)

        async def converse(socket: Socket, opening: Opening) -> None:
            connection = Connection(
                socket,
                opening,
                executes=executes,
                sessions=self._sessions,
                terms=terms,
                counts=self._counts,
            )
            await connection.run()

        callers = self._callers
        more = {} if self._locate is None else {"locate": self._locate}
        return Sockets(
            [SocketRoute(path, SUBPROTOCOLS, converse, MAX_MESSAGE) for path in PATHS],
            cors=callers.cors,
            limits=callers.limits,
            places=self._places,
            access_log=callers.access_log,
            metrics=callers.metrics,
            clock=callers.clock,
            closing=self.closing,
            terms=socket_terms or SocketTerms(ping_s=self.settings.socket_ping),
            **more,
        )


PlugIn = Callable[[Live], Plugged]
"""Makes GraphQL of a schema: what happens comes by the feed, and the event streams answer with it."""
