"""Which servers this machine has. Where CI says that it is CI, all must be there."""

import os
import shutil
from collections.abc import Callable

import pytest

from tests import postgres_server, prometheus_server, rabbitmq_server, redis_server

_FOUND: dict[str, Callable[[], bool]] = {
    "postgres": lambda: postgres_server.binaries() is not None,
    "rabbitmq": lambda: rabbitmq_server.binaries() is not None,
    "redis": lambda: redis_server.binary() is not None,
    "prometheus": lambda: prometheus_server.binary() is not None,
    "pgbouncer": lambda: shutil.which("pgbouncer", path=f"{os.environ.get('PATH')}:/usr/sbin") is not None,
    "faketime": lambda: shutil.which("faketime") is not None,
}


def available(name: str) -> bool:
    """Say whether an engine can be run here. Fails the test where it has to be there."""
    found = _FOUND[name]()
    assert found or os.environ.get("CI") != "true", f"{name} is not installed, and CI needs it"
    return found


def need(*names: str) -> None:
    """Skip the test where an engine is missing; see `available`."""
    for name in names:
        if not available(name):
            pytest.skip(f"{name} is not installed; `make setup-engines` installs it")


SQLITE = pytest.mark.parametrize("engine", ["sqlite"], indirect=True)
"""Marks a test of what is SQLite's own: its file, its plans, its one writer."""
POSTGRES = pytest.mark.parametrize("engine", ["postgres"], indirect=True)
"""Marks a test of what can happen on PostgreSQL alone: several who write at once, roles, connections."""
