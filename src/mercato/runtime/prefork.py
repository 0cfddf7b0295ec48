"""Several processes of one service on one port: the system deals the connections out to them."""

import os
import sys

from mercato.runtime.server import check_port
from mercato.runtime.settings import Settings, WrongSetting
from mercato.runtime.supervisor import Child, supervise

GATEWAY = "gateway"
_WORKER = "_MERCATO_WORKER"


def is_worker() -> bool:
    """Say whether this process is one of several that share a port."""
    return _WORKER in os.environ


def serve_workers(service: str, settings: Settings) -> None:
    """Run the processes of a service until a signal ends them. Raises WrongSetting, PortInUse."""
    if service != GATEWAY and not settings.database_url:
        raise WrongSetting(
            f"MERCATO_WORKERS is {settings.workers}, and several processes of a service need PostgreSQL,"
            " which MERCATO_DATABASE_URL names: only one can work on SQLite."
        )
    check_port(settings.host, settings.port)
    command = [
        *(sys.executable, "-m", "mercato", "serve", service),
        *("--host", settings.host, "--port", str(settings.port), "--data", settings.data),
    ]
    children = [
        Child(f"{service}.{number}", command, {_WORKER: str(number)})
        for number in range(1, settings.workers + 1)
    ]
    supervise(children, drain_s=settings.drain_deadline)
