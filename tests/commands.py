"""The command line as a user runs it: commands that end, and servers that are waited for."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import msgspec

from mercato.runtime.settings import ALIASES
from tests.running import START_DEADLINE_S, STOP_DEADLINE_S, free_port

COMMAND_DEADLINE_S = 60.0
DEMO_DEADLINE_S = 180.0
"""For the demo's thousand requests, on a busy machine."""


@dataclass(frozen=True)
class Ended:
    """How a command ended, and what it wrote."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        assert self.code == 0, self
        return msgspec.json.decode(self.out)

    @property
    def refusal(self) -> str:
        """The one sentence with which a command refused."""
        assert self.code == 2, self
        assert self.err.startswith("mercato: "), self.err
        assert self.err.count("\n") == 1, self.err
        return self.err.removeprefix("mercato: ").rstrip("\n")


def mercato(*words: str, folder: Path, given: str = "", **variables: str) -> Ended:
    """Run a command in `folder`, with `given` on its standard input."""
    ended = subprocess.run(
        [sys.executable, "-m", "mercato", *words],
        input=given,
        capture_output=True,
        text=True,
        timeout=DEMO_DEADLINE_S if "demo" in words[:1] else COMMAND_DEADLINE_S,
        cwd=folder,
        env=environment(variables),
        check=False,
    )
    return Ended(ended.returncode, ended.stdout, ended.stderr)


@dataclass(frozen=True)
class Server:
    """A process that serves, and what it has written so far."""

    url: str
    port: int
    _out: Path

    @property
    def out(self) -> str:
        return self._out.read_text()

    def ask(
        self, method: str, path: str, body: object = None, *, token: str | None = None, store: str = "default"
    ) -> tuple[int, Any]:
        """Send a request and return the status and the decoded body."""
        headers = {"Content-Type": "application/json", "X-Tenant-Id": store}
        if token is not None:
            headers["Authorization"] = f"Bearer {token}"
        connection = HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.request(method, path, None if body is None else msgspec.json.encode(body), headers)
            response = connection.getresponse()
            return response.status, msgspec.json.decode(response.read() or b"null")
        finally:
            connection.close()


def wait_until(condition: Callable[[], bool], within_s: float = START_DEADLINE_S) -> None:
    """Wait until the condition holds."""
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline, "it did not come to that"
        time.sleep(0.02)


_NOWHERE = {
    f"MERCATO_{name}_URL": "http://127.0.0.1:1"
    for name in ("USERS", "PRODUCTS", "ORDERS", "PAYMENTS", "NOTIFICATIONS")
}
"""Whoever else serves at the usual ports of this machine is no neighbour of a test's services."""


@contextmanager
def serving(*words: str, folder: Path, port: int | None = None, **variables: str) -> Iterator[Server]:
    """Run a command that serves until the block ends; it must stop in order."""
    port = port or free_port()
    out = folder / f"{port}.out"
    with out.open("wb") as stdout, (folder / f"{port}.err").open("wb") as stderr:
        process = subprocess.Popen(
            [sys.executable, "-m", "mercato", *words],
            stdout=stdout,
            stderr=stderr,
            cwd=folder,
            env=environment(_NOWHERE | variables | {"MERCATO_PORT": str(port)}),
        )
    server = Server(f"http://127.0.0.1:{port}", port, out)
    try:
        _wait_until_ready(process, server, folder / f"{port}.err")
        yield server
        process.send_signal(signal.SIGTERM)
        assert process.wait(STOP_DEADLINE_S) == 0
    finally:
        if process.poll() is None:
            process.kill()
            process.wait(STOP_DEADLINE_S)


def _wait_until_ready(process: "subprocess.Popen[bytes]", server: Server, err: Path) -> None:
    deadline = time.monotonic() + START_DEADLINE_S
    while time.monotonic() < deadline:
        assert process.poll() is None, err.read_text()
        try:
            if server.ask("GET", "/health/ready")[0] == 200:
                return
        except OSError:
            time.sleep(0.02)
    raise AssertionError(f"it did not get ready: {err.read_text()[-2000:]}")


_OF_TERMINALS = {"COLUMNS", "LINES"}


def environment(variables: dict[str, str]) -> dict[str, str]:
    """Return the environment without settings of whoever runs the tests."""
    ours = {name for name in os.environ if name.startswith("MERCATO_")} | ALIASES.keys() | _OF_TERMINALS
    inherited = {name: value for name, value in os.environ.items() if name not in ours}
    return inherited | variables
