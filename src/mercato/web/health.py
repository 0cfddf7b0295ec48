"""Health: whether the process lives, whether it may be sent requests, and what it needs."""

import asyncio
import enum
from collections.abc import Awaitable, Callable, Collection, Mapping
from typing import Literal

import msgspec

from mercato.web.call import Call
from mercato.web.endpoint import PUBLIC, Routes
from mercato.web.http import Response

Check = Callable[[], Awaitable[bool | str]]
"""Says whether something the process needs is usable, or in a sentence why not. It is quick, and raises
nothing."""


class Phase(enum.StrEnum):
    """Where a process is in its life."""

    STARTING = "starting"
    SERVING = "serving"
    DRAINING = "draining"


class HealthReport(msgspec.Struct, frozen=True, omit_defaults=True):
    """The answer of /health."""

    status: Literal["ok", "degraded"]
    service: str
    version: str
    phase: Phase
    checks: dict[str, Literal["ok", "failing"]]
    reasons: dict[str, str] | None = None
    """Why checks fail, where that is known."""


class Health:
    """What a process knows of its own health."""

    def __init__(
        self,
        service: str,
        version: str,
        checks: Mapping[str, Check],
        neighbours: Mapping[str, Check] | None = None,
    ) -> None:
        """Run `checks` of what is needed, and those of `neighbours`, without which something still works."""
        self.phase = Phase.STARTING
        self._service = service
        self._version = version
        self._checks = dict(checks)
        self._neighbours = dict(neighbours or {})

    async def report(self, service: str | None = None, *, needed: bool = False) -> HealthReport:
        """Run every check, or those of what is `needed`, and say what came of it.

        It is told of the process, or in the name of one of its services.
        """
        wanted = self._checks if needed else self._checks | self._neighbours
        told = await asyncio.gather(*(check() for check in wanted.values()))
        found = dict(zip(wanted, told, strict=True))
        checks: dict[str, Literal["ok", "failing"]] = {
            name: "ok" if usable is True else "failing" for name, usable in found.items()
        }
        reasons = {name: why for name, why in found.items() if isinstance(why, str)}
        status: Literal["ok", "degraded"] = "ok" if "failing" not in checks.values() else "degraded"
        name = service or self._service
        return HealthReport(status, name, self._version, self.phase, checks, reasons or None)


SERVICE_PATHS = ("/products/health", "/orders/health", "/users/health")
"""Where clients of the AWS SaaS reference architecture ask one service."""


def routes(health: Health, services: Collection[str]) -> Routes:
    """Declare the health endpoints of a process of those services."""
    api = Routes("health")
    for path in SERVICE_PATHS:
        service = path.split("/")[1]
        if service in services:
            _of_service(api, path, service, health)

    @api.get("/health", allow=PUBLIC, in_contract=False)
    async def report(call: Call) -> Response:  # noqa: ARG001  the health is nobody's own
        """Say how the service and what it needs are."""
        return Response(200, msgspec.json.encode(await health.report()))

    @api.get("/health/live", allow=PUBLIC, in_contract=False)
    async def live(call: Call) -> Response:  # noqa: ARG001  the health is nobody's own
        """Say that the process lives: whoever can answer does."""
        return Response(200, b'{"status":"ok"}')

    @api.get("/health/ready", allow=PUBLIC, in_contract=False)
    async def ready(call: Call) -> Response:  # noqa: ARG001  the health is nobody's own
        """Say whether requests may be sent: not while starting, draining or lacking something."""
        found = await health.report(needed=True)
        usable = found.phase is Phase.SERVING and found.status == "ok"
        return Response(200 if usable else 503, msgspec.json.encode(found))

    return api


def _of_service(api: Routes, path: str, service: str, health: Health) -> None:
    @api.get(path, allow=PUBLIC, in_contract=False)
    async def report(call: Call) -> Response:  # noqa: ARG001  the health is nobody's own
        """Say how the service and what it needs are."""
        return Response(200, msgspec.json.encode(await health.report(service)))
