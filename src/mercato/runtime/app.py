"""The HTTP application over the embedded platform."""

from collections.abc import Awaitable, Callable
from typing import NamedTuple

from prometheus_client import CollectorRegistry

from mercato import __version__
from mercato.adapters.sql.database import Database
from mercato.adapters.sql.schema import Schema, wanting
from mercato.kernel.clock import Clock, utc_now
from mercato.kernel.errors import MercatoError
from mercato.runtime import dead_letters
from mercato.runtime.dependencies import Dependencies
from mercato.runtime.exposition import Exposition
from mercato.runtime.folder import SCHEMAS
from mercato.runtime.live import Callers, Live
from mercato.runtime.process import Process
from mercato.runtime.settings import Settings
from mercato.web import docs, openapi
from mercato.web import health as health_web
from mercato.web.access_log import AccessLog, Write
from mercato.web.admission import Admission
from mercato.web.auth import Stores
from mercato.web.call import Call
from mercato.web.cors import Cors
from mercato.web.endpoint import PUBLIC, Endpoint, Routes
from mercato.web.health import Check, Health
from mercato.web.http import Response
from mercato.web.metrics import RequestMetrics, metrics_routes
from mercato.web.router import Router
from mercato.web.shell import Shell
from mercato.web.sockets import Sockets

_LOG_DELAY_S = 0.02
_TAGS = {
    "tenants": "Stores: opening, changing and closing them.",
    "users": "Accounts, and signing in.",
    "auth": "Tokens of machines.",
    "api_clients": "Machines that act for a store, and what they may do.",
    "products": "The catalogue, and the stock of each product.",
    "orders": "Orders, from being placed to being delivered or cancelled.",
    "payments": "Payments of orders, and refunds.",
    "audit_log": "Who did what in a store, and when.",
    "notifications": "Emails to the shoppers of a store.",
    "mailbox": "The local mailbox: emails that go no further, with the links in them.",
    "dead_letters": "Events that kept failing, for operators.",
}


class Application(NamedTuple):
    """What answers requests, and speaks with sockets."""

    shell: Shell
    health: Health
    sockets: Sockets | None


def application(
    process: Process,
    settings: Settings,
    write: Write,
    registry: CollectorRegistry,
    clock: Clock = utc_now,
    *,
    dependencies: Dependencies | None = None,
) -> Application:
    """Return the shell over every endpoint, the health that its life is told to, and the sockets.

    Health and metrics tell of `dependencies` too, without which the process can do something.
    """
    metrics = RequestMetrics(registry)
    composition = process.composition
    needed = _depending(process, settings, dependencies)
    registry.register(needed)
    health = Health(
        composition.name, __version__, _checks(process), {**shared_checks(process), **needed.checks()}
    )
    endpoints = contract_of(process, clock)
    endpoints += health_web.routes(health, composition.services).endpoints + docs.routes().endpoints
    endpoints += (
        metrics_routes(Exposition(registry, process).text).endpoints + openapi_routes(endpoints).endpoints
    )
    callers = _callers(process, settings, AccessLog(write, delay_s=_LOG_DELAY_S), metrics, clock)
    sockets = plugged = None
    if composition.graphql is not None:
        live = Live(settings, callers, registry, composition.bus)
        plugged = composition.graphql(live)
        endpoints += plugged.endpoints
        sockets = live.sockets(plugged.executes)
    admission = Admission(settings.queue_delay, lambda: process.is_behind)
    shell = Shell(
        Router(endpoints),
        authenticator=callers.authenticator,
        stores=callers.stores,
        limits=callers.limits,
        cors=callers.cors,
        access_log=callers.access_log,
        metrics=metrics,
        clock=clock,
        hash_secret=composition.hash_secret,
        deadline_s=settings.request_deadline,
        max_body=settings.max_body,
        admission=admission,
        traces=callers.traces,
    )
    metrics.watch(in_flight=lambda: len(shell.under_way), waiting=lambda: admission.waiting)
    if plugged is not None:
        plugged.bind(shell.handle)
    return Application(shell, health, sockets)


def _callers(
    process: Process, settings: Settings, access_log: AccessLog, metrics: RequestMetrics, clock: Clock
) -> Callers:
    """Return who may call the process, and how much."""
    composition = process.composition
    return Callers(
        composition.authenticator,
        Stores(composition.find_store, settings.tenant_domain),
        composition.limits,
        cors_of(settings),
        access_log,
        metrics,
        clock,
        process.traces,
    )


def _depending(process: Process, settings: Settings, known: Dependencies | None) -> Dependencies:
    """Return whom the process calls: other services, and whom its own services call."""
    found = known or Dependencies(settings.dependency_calls)
    for parts in process.composition.services.values():
        for each in parts.dependencies:
            found.add(each)
    return found


def contract_of(process: Process, clock: Clock) -> list[Endpoint]:
    """Return what the services declare, and what their inboxes let operators do."""
    services = process.composition.services.values()
    declared = [endpoint for parts in services for endpoint in parts.routes.endpoints]
    return declared + dead_letters.routes(process.inbox_stores, clock).endpoints


def openapi_document(endpoints: list[Endpoint]) -> bytes:
    """Return the OpenAPI document of the endpoints, as JSON."""
    return openapi.document(endpoints, openapi.Described("Mercato", __version__, _TAGS))


def openapi_routes(documented: list[Endpoint]) -> Routes:
    """Declare where the endpoints are described."""
    api = Routes("operations")
    described: list[bytes] = []

    @api.get("/openapi.json", allow=PUBLIC, in_contract=False)
    async def read_openapi(call: Call) -> Response:  # noqa: ARG001  it is the same for all
        """Return the OpenAPI document of the whole API."""
        if not described:
            described.append(openapi_document(documented))
        return Response(200, described[0])

    return api


def cors_of(settings: Settings) -> Cors:
    """Return which other origins browsers may call from."""
    return Cors(tuple(origin.strip() for origin in settings.cors_origins.split(",") if origin.strip()))


def _checks(process: Process) -> dict[str, Check]:
    checks: dict[str, Check] = {
        f"{name}_database": _usable(parts.steps.db, SCHEMAS[name])
        for name, parts in process.composition.services.items()
    }

    async def workers() -> bool:
        return process.alive

    checks["workers"] = workers
    return checks


def shared_checks(process: Process) -> dict[str, Check]:
    """Return the checks of what a process serves without: its events wait, and it limits by itself."""
    checks: dict[str, Check] = {}
    shared, bus = process.composition.shared, process.composition.bus
    if shared is not None:
        checks["redis"] = _once_started(process, shared.check)
    if bus is not None:

        async def connected() -> bool:
            return bus.state().connected

        checks["bus"] = _once_started(process, connected)
    return checks


def _once_started(process: Process, check: Callable[[], Awaitable[bool]]) -> Check:
    """Check what nothing is heard of before the process has started, and say so until then."""

    async def checked() -> bool | str:
        return await check() if process.started else "It is not tried before the database is there."

    return checked


def _usable(database: Database, schema: Schema) -> Check:
    async def check() -> bool | str:
        try:
            return await wanting(database, schema) or True
        except MercatoError as error:
            return error.message

    return check
