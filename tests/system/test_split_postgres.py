"""Services apart on PostgreSQL: several processes of one, and a database that comes late."""

import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path

import psutil
import pytest

from tests import postgres_server
from tests.commands import serving, wait_until
from tests.engines import need
from tests.modes import OWN_PROCESSES
from tests.postgres_server import ROLES, PostgresServer
from tests.running import free_port
from tests.scrapes import figures, scraped
from tests.split_engines import engines

pytestmark = OWN_PROCESSES

SECRET = {"MERCATO_CLUSTER_SECRET": "what services sign with in tests!"}


@pytest.fixture(scope="module")
def server() -> PostgresServer:
    need("postgres")
    with ThreadPoolExecutor(1) as apart:
        return apart.submit(postgres_server.shared).result()


def status(port: int, path: str = "/health/ready") -> int:
    """Return the status of an answer, 0 where nobody answers."""
    connection = HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("GET", path)
        return connection.getresponse().status
    except OSError:
        return 0
    finally:
        connection.close()


@contextmanager
def workers(folder: Path, service: str, port: int, variables: dict[str, str]) -> Iterator[psutil.Process]:
    """Run a service in three processes; they must stop in order."""
    with (folder / "err").open("wb") as err:
        process = subprocess.Popen(
            [
                *(sys.executable, "-m", "mercato", "serve", service),
                *("--workers", "3", "--port", str(port)),
            ],
            stderr=err,
            cwd=folder,
            env={**os.environ, **SECRET, **variables},
        )
    try:
        yield psutil.Process(process.pid)
        process.send_signal(signal.SIGTERM)
        assert process.wait(40) == 0, (folder / "err").read_text()
    finally:
        if process.poll() is None:
            process.kill()
            process.wait(10)


def listening(parent: psutil.Process, port: int) -> set[int]:
    """Return the children that listen on a port."""
    found = set()
    for child in parent.children():
        try:
            connections = child.net_connections("tcp")
        except psutil.NoSuchProcess:
            continue
        if any(each.status == psutil.CONN_LISTEN and each.laddr[1] == port for each in connections):
            found.add(child.pid)
    return found


def test_three_processes_share_a_port_and_one_that_dies_is_replaced(
    server: PostgresServer, tmp_path: Path
) -> None:
    port = free_port()
    with workers(tmp_path, "products", port, engines()) as parent:
        wait_until(lambda: len(listening(parent, port)) == 3)
        wait_until(lambda: Counter(status(port) for _ in range(12)) == {200: 12})
        assert {status(port, "/api/v1/products") for _ in range(30)} == {200}
        told = ""

        def is_of_all() -> bool:
            nonlocal told
            told = scraped(port)
            tell = {each.labels.get("worker") for each in figures(told, "mercato_pool_size")}
            return tell == {"1", "2", "3"}

        # A scrape leaves out who is slow to tell.
        wait_until(is_of_all)
        # What is in the database is the same for all of them.
        assert [each.labels for each in figures(told, "mercato_outbox_unsent")] == [{"service": "products"}]
        victim = parent.children()[0]
        victim.kill()
        wait_until(lambda: len(listening(parent, port) - {victim.pid}) == 3)
        wait_until(lambda: Counter(status(port) for _ in range(12)) == {200: 12})
    assert (tmp_path / "err").read_text().count('"event":"stopped"') == 3


def test_a_service_whose_database_is_not_there_yet_lives_and_gets_ready_when_it_is(
    server: PostgresServer, tmp_path: Path
) -> None:
    name = f"{{service}}_late_{os.getpid()}"
    settings = {
        "MERCATO_DATABASE_URL": server.url(name, ROLES.serving),
        "MERCATO_DATABASE_SYSTEM_URL": server.url(name, ROLES.system),
    }
    port = free_port()
    with (tmp_path / "err").open("wb") as err:
        process = subprocess.Popen(
            [sys.executable, "-m", "mercato", "serve", "users", "--port", str(port)],
            stderr=err,
            cwd=tmp_path,
            env={**os.environ, **SECRET, **settings},
        )
    try:
        wait_until(lambda: status(port, "/health/live") == 200)
        assert status(port) == 503
        assert status(port, "/api/v1/users/me") == 401
        assert status(port, "/.well-known/jwks.json") == 200, "what needs no database works"
        subprocess.run(
            [sys.executable, "-m", "mercato", "migrate", "up", "--service", "users"],
            env={**os.environ, **settings, "MERCATO_DATABASE_OWNER_URL": server.url(name)},
            check=True,
            capture_output=True,
            timeout=60,
        )
        wait_until(lambda: status(port) == 200)
    finally:
        process.terminate()
        assert process.wait(40) == 0
    assert "waiting to start" in (tmp_path / "err").read_text()


def test_the_gateway_may_have_several_processes_without_any_database(tmp_path: Path) -> None:
    with serving("serve", "gateway", "--workers", "2", folder=tmp_path) as gateway:
        assert {gateway.ask("GET", "/health/ready")[0] for _ in range(8)} == {200}
