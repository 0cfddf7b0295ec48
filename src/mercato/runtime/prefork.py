"""Several processes of one service on one port: the system deals the connections out to them."""

import sys
import tempfile
from pathlib import Path

from mercato.runtime.server import check_port
from mercato.runtime.settings import Settings, WrongSetting
from mercato.runtime.supervisor import Child, supervise
from mercato.runtime.workers import Worker

GATEWAY = "gateway"


def is_worker() -> bool:
    """Say whether this process is one of several that share a port."""
    return Worker.this() is not None


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
    with tempfile.TemporaryDirectory(prefix="mercato-") as folder:
        workers = [
            Worker(number, settings.workers, Path(folder)) for number in range(1, settings.workers + 1)
        ]
        children = [Child(f"{service}.{each.number}", command, each.environ) for each in workers]
        supervise(children, drain_s=settings.drain_deadline)
