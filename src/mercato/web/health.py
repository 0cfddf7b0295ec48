"""Health: whether the process lives, whether it may be sent requests, and what it needs."""

import enum
from collections.abc import Awaitable, Callable, Mapping
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

    def __init__(self, service: str, version: str, checks: Mapping[str, Check]) -> None:
        self.phase = Phase.STARTING
        self._service = service
        self._version = version
        self._checks = dict(checks)

    async def report(self) -> HealthReport:
        """Run every check and say what came of it."""
        found = {name: await check() for name, check in self._checks.items()}
        checks: dict[str, Literal["ok", "failing"]] = {
            name: "ok" if usable is True else "failing" for name, usable in found.items()
        }
        reasons = {name: why for name, why in found.items() if isinstance(why, str)}
        status: Literal["ok", "degraded"] = "ok" if "failing" not in checks.values() else "degraded"
        return HealthReport(status, self._service, self._version, self.phase, checks, reasons or None)


def routes(health: Health) -> Routes:
    """Declare the health endpoints."""
    api = Routes("health", prefix="/health")

    @api.get("", allow=PUBLIC, in_contract=False)
    async def report(call: Call) -> Response:  # noqa: ARG001  the health is nobody's own
        """Say how the service and what it needs are."""
        return Response(200, msgspec.json.encode(await health.report()))

    @api.get("/live", allow=PUBLIC, in_contract=False)
    async def live(call: Call) -> Response:  # noqa: ARG001  the health is nobody's own
        """Say that the process lives: whoever can answer does."""
        return Response(200, b'{"status":"ok"}')

    @api.get("/ready", allow=PUBLIC, in_contract=False)
    async def ready(call: Call) -> Response:  # noqa: ARG001  the health is nobody's own
        """Say whether requests may be sent: not while starting, draining or lacking something."""
        found = await health.report()
        usable = found.phase is Phase.SERVING and found.status == "ok"
        return Response(200 if usable else 503, msgspec.json.encode(found))

    return api
