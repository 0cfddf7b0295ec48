"""Every service in a process of its own on this machine, and the gateway before them."""

import asyncio
import logging
import signal
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from prometheus_client import CollectorRegistry

from mercato.adapters.identity.keys import KeyRing
from mercato.runtime import logs
from mercato.runtime.prefork import GATEWAY
from mercato.runtime.server import PortInUse, check_port, free_port
from mercato.runtime.settings import Settings, reachable, variable
from mercato.runtime.supervisor import Child, supervise

log = logging.getLogger(__name__)

_LOOK_S = 0.05
_TELL_EVERY = 200
"""After how many looks it is told what is still waited for."""


@dataclass(frozen=True, slots=True)
class Plan:
    """Which service listens where."""

    settings: Settings
    services: Mapping[str, int]

    @classmethod
    def of(cls, settings: Settings, services: Iterable[str]) -> "Plan":
        """Give each service the port of its URL's setting, or a free one where that is taken.

        Raises PortInUse for the gateway's.
        """
        check_port(settings.host, settings.port)
        taken = {settings.port}
        found = {}
        for service in services:
            found[service] = _usable(settings, urlsplit(settings.url_of(service)).port, taken)
            taken.add(found[service])
        return cls(settings, found)

    def url(self, service: str) -> str:
        """Where this machine reaches a service."""
        return f"http://127.0.0.1:{self.services[service]}"

    def children(self, given: Mapping[str, str]) -> list[Child]:
        """Return the processes; `given` are the variables that somebody has set."""
        own = {
            **{variable(f"{service}_url"): self.url(service) for service in self.services},
            variable("cluster_secret"): self._secret(),
        }
        usual = {
            variable("onboarding"): "open",
            variable("default_tier"): "unlimited",
            variable("address_rate"): "0",
            variable("link_url"): f"{self.settings.own_url}/account/{{action}}?token={{token}}",
            variable("log_format"): "pretty" if sys.stderr.isatty() else "json",
        }
        environ = own | {name: value for name, value in usual.items() if name not in given}
        data = self.settings.data
        children = [
            Child(
                service,
                _serve(service, "127.0.0.1", port, data),
                environ,
                wave=1,
            )
            for service, port in self.services.items()
        ]
        gateway = _serve(GATEWAY, self.settings.host, self.settings.port, data)
        return [Child(GATEWAY, gateway, environ), *children]

    def _secret(self) -> str:
        """Return what the services sign with: what is set, or a secret of the data folder's own."""
        return self.settings.cluster_secret or KeyRing(self.settings.folder / "keys").hash_secret().hex()


def run_split(plan: Plan, given: Mapping[str, str], on_ready: Callable[[], None]) -> None:
    """Run all until a signal ends them. Raises ChildRefused."""
    logs.set_up(plan.settings, CollectorRegistry(), "supervisor")
    host = reachable(plan.settings.host)
    places = {GATEWAY: (host, plan.settings.port)}
    places |= {service: ("127.0.0.1", port) for service, port in plan.services.items()}

    async def tell_when_ready() -> None:
        looks = 0
        while waiting := [name for name, place in places.items() if not await _is_ready(*place)]:
            looks += 1
            if looks % _TELL_EVERY == 0:
                log.warning("not ready yet", extra={"processes": ", ".join(waiting)})
            await asyncio.sleep(_LOOK_S)
        on_ready()

    supervise(
        plan.children(given),
        drain_s=plan.settings.drain_deadline,
        meanwhile=tell_when_ready,
        # All of them end, and nobody goes on in their place.
        stop_by=signal.SIGINT,
    )


def _serve(service: str, host: str, port: int, data: str) -> list[str]:
    return [
        *(sys.executable, "-m", "mercato", "serve", service),
        *("--host", host, "--port", str(port), "--data", data),
    ]


def _usable(settings: Settings, port: int | None, taken: "set[int]") -> int:
    try:
        check_port("127.0.0.1", port or settings.port)
    except PortInUse:
        port = None
    while port is None or port in taken:
        port = free_port()
    return port


async def _is_ready(host: str, port: int) -> bool:
    """Ask a process whether it is ready, which is quicker than to import an HTTP client for it."""
    try:
        async with asyncio.timeout(2):
            reader, writer = await asyncio.open_connection(host, port)
            writer.write(b"GET /health/ready HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")
            line = await reader.readline()
            writer.close()
    except (OSError, TimeoutError):
        return False
    return line.split()[1:2] == [b"200"]
