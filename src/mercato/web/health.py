"""Health: whether the process lives, whether it may be sent requests, and what it needs."""

import asyncio
import enum
from collections.abc import Awaitable, Callable, Mapping
from typing import Literal

import msgspec

from mercato.web.call import Call
from mercato.web.endpoint import PUBLIC, Routes
from mercato.web.http import Response

Check = Callable[[], Awaitable[bool]]
"""Says whether something the process needs is usable. It does not raise, and is quick."""


class Phase(enum.StrEnum):
    """Where a process is in its life."""

    STARTING = "starting"
    SERVING = "serving"
    DRAINING = "draining"


class HealthReport(msgspec.Struct, frozen=True):
    """The answer of /health."""

    status: Literal["ok", "degraded"]
    service: str
    version: str
    phase: Phase
    checks: dict[str, Literal["ok", "failing"]]


class Health:
    """What a process knows of its own health."""

    def __init__(
        self,
        service: str,
        version: str,
        checks: Mapping[str, Check],
        neighbours: Mapping[str, Check] | None = None,
    ) -> None:
        """Check what is needed, and the `neighbours`, without which the process can do something, too."""
        self.phase = Phase.STARTING
        self._service = service
        self._version = version
        self._checks = dict(checks)
        self._neighbours = dict(neighbours or {})

    async def report(self, *, needed: bool = False) -> HealthReport:
        """Run every check, or those of what is `needed`, and say what came of it."""
        wanted = self._checks if needed else self._checks | self._neighbours
        found = await asyncio.gather(*(check() for check in wanted.values()))
        checks: dict[str, Literal["ok", "failing"]] = {
            name: "ok" if good else "failing" for name, good in zip(wanted, found, strict=True)
        }
        status: Literal["ok", "degraded"] = "ok" if "failing" not in checks.values() else "degraded"
        return HealthReport(status, self._service, self._version, self.phase, checks)


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
        found = await health.report(needed=True)
        usable = found.phase is Phase.SERVING and found.status == "ok"
        return Response(200 if usable else 503, msgspec.json.encode(found))

    return api
