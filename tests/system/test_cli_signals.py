"""Signals at every moment of a command: it ends at once, with the right code and without a trace."""

import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from http.client import HTTPConnection
from pathlib import Path

import pytest

from tests.commands import environment, serving, wait_until
from tests.modes import DATA_FOLDER, OWN_PROCESSES
from tests.running import START_DEADLINE_S, STOP_DEADLINE_S, Platform, free_port

EXITS = 20


@contextmanager
def begun(*words: str, folder: Path, **variables: str) -> Iterator["subprocess.Popen[bytes]"]:
    """Run a command whose errors are in the file `err`."""
    with (folder / "err").open("wb") as err:
        process = subprocess.Popen(
            [sys.executable, "-m", "mercato", *words],
            stdout=subprocess.DEVNULL,
            stderr=err,
            cwd=folder,
            env=environment(variables),
        )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()


HELD_UP = """
import importlib.machinery, pathlib, signal, sys
class HeldUp(importlib.machinery.SourceFileLoader):
    def exec_module(self, module):
        super().exec_module(module)
        pathlib.Path("imports").touch()
        signal.pause()
class Finder:
    @staticmethod
    def find_spec(name, path=None, target=None):
        if name == MODULE:
            found = importlib.machinery.PathFinder.find_spec(name, path)
            found.loader = HeldUp(name, found.origin)
            return found
sys.meta_path.insert(0, Finder)
"""
"""Has a process stay in the import of a module, and tell that it is there by a file."""


@DATA_FOLDER
@pytest.mark.parametrize("module", ["asyncio.base_events", "mercato.cli.serving", "granian"])
def test_ctrl_c_while_it_starts_ends_it_without_a_trace(module: str, tmp_path: Path) -> None:
    port = str(free_port())
    # Python imports a module of this name before all else.
    (tmp_path / "sitecustomize.py").write_text(f"MODULE = {module!r}\n{HELD_UP}")
    with begun("up", "--port", port, folder=tmp_path, PYTHONPATH=str(tmp_path)) as process:
        wait_until((tmp_path / "imports").exists)
        process.send_signal(signal.SIGINT)

        assert process.wait(STOP_DEADLINE_S) == 130
    odd = [line for line in (tmp_path / "err").read_text().splitlines() if not line.startswith('{"')]
    assert odd == []


@DATA_FOLDER
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_an_export_that_is_ended_leaves_no_draft(number: signal.Signals, tmp_path: Path) -> None:
    with serving("up", folder=tmp_path):
        pass
    before = {each.name for each in tmp_path.iterdir()} | {"err"}
    with closing(sqlite3.connect(tmp_path / "mercato-data" / "users.db", isolation_level=None)) as writer:
        # An export waits for whoever writes.
        writer.execute("BEGIN IMMEDIATE")
        with begun("export", "--out", "secret.gz", folder=tmp_path) as process:
            wait_until(lambda: any(tmp_path.glob(".secret.gz.*")))
            process.send_signal(number)

            assert process.wait(STOP_DEADLINE_S) == 128 + number
    assert {each.name for each in tmp_path.iterdir()} == before
    assert (tmp_path / "err").read_text() == ""


def in_flight(platform: Platform) -> float:
    """Return how many requests are being answered, this one included."""
    connection = HTTPConnection("127.0.0.1", platform.port, timeout=5)
    try:
        connection.request("GET", "/metrics")
        told = connection.getresponse().read().decode()
    finally:
        connection.close()
    return float(told.partition("\nmercato_http_requests_in_flight ")[2].partition("\n")[0])


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_second_signal_ends_a_platform_that_drains_at_once_and_quietly(
    number: signal.Signals, own_platform: Platform
) -> None:
    platform = own_platform
    platform.start()
    assert platform.process is not None
    with socket.create_connection(("127.0.0.1", platform.port)) as client:
        client.sendall(
            b"POST /api/v1/users/login HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            b"Content-Length: 100\r\n\r\n{"
        )
        wait_until(lambda: in_flight(platform) == 2)
        platform.process.send_signal(number)
        wait_until(lambda: '"event":"draining"' in platform.log())
        began = time.monotonic()
        platform.process.send_signal(number)

        assert platform.process.wait(START_DEADLINE_S) == 128 + number
        assert time.monotonic() - began < 5
    odd = [line for line in platform.log().splitlines() if not line.startswith(("{", "Mercato ", "  "))]
    assert odd == []
    platform.start()
    assert platform.stop() == 0


@OWN_PROCESSES
def test_a_server_whose_http_client_was_in_use_ends_in_order(own_platform: Platform) -> None:
    """The client's threads may still let go of what a request held when the process ends."""
    own_platform.start()
    code = (
        "import asyncio, sys\n"
        "from pyreqwest.client import ClientBuilder\n"
        "from mercato.cli.serving import end\n"
        "async def ask(client):\n"
        "    await (await client.get(sys.argv[1]).build().send()).bytes()\n"
        "async def main():\n"
        "    async with ClientBuilder().build() as client:\n"
        "        await asyncio.gather(*(ask(client) for _ in range(20)))\n"
        "asyncio.run(main())\n"
        "print('the last words')\n"
        "end()\n"
    )
    command = [sys.executable, "-c", code, f"{own_platform.url}/health/live"]
    for _ in range(EXITS):
        ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        assert (ended.returncode, ended.stdout, ended.stderr) == (0, "the last words\n", "")
