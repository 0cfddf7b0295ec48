"""A process for each service and the gateway, each of which can be set up and ended alone."""

import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass, field
from http.client import HTTPConnection
from pathlib import Path

import msgspec

from tests.commands import environment, mercato, wait_until
from tests.running import STOP_DEADLINE_S, Shopper, free_port

NAMES = ("users", "products", "orders", "payments", "notifications", "gateway")


@dataclass
class Services:
    """The processes, by name. `own` are settings of one of them, which go before those of all."""

    folder: Path
    settings: dict[str, str]
    own: dict[str, dict[str, str]] = field(default_factory=dict)
    ports: dict[str, int] = field(default_factory=lambda: {name: free_port() for name in NAMES})
    processes: "dict[str, subprocess.Popen[bytes]]" = field(default_factory=dict)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.ports['gateway']}"

    @property
    def variables(self) -> dict[str, str]:
        services = [name for name in NAMES if name != "gateway"]
        urls = {f"MERCATO_{name.upper()}_URL": f"http://127.0.0.1:{self.ports[name]}" for name in services}
        usual = {
            "MERCATO_ONBOARDING": "open",
            "MERCATO_DEFAULT_TIER": "unlimited",
            "MERCATO_ADDRESS_RATE": "0",
            "MERCATO_QUEUE_DELAY": "20",
            "MERCATO_DATA": str(self.folder / "data"),
        }
        return urls | usual | self.settings

    def client(self, token: str | None = None, store: str | None = None, *, at: str = "gateway") -> Shopper:
        return Shopper(f"http://127.0.0.1:{self.ports[at]}", token, store)

    def start(self, names: Iterable[str] = NAMES, *, ready: bool = True) -> None:
        """Start processes, and wait until each is ready."""
        for name in names:
            with (self.folder / f"{name}.err").open("ab") as err:
                self.processes[name] = subprocess.Popen(
                    [sys.executable, "-m", "mercato", "serve", name, "--port", str(self.ports[name])],
                    stdout=subprocess.DEVNULL,
                    stderr=err,
                    cwd=self.folder,
                    env=environment(self.variables | self.own.get(name, {})),
                )
        for name in names if ready else ():
            wait_until(lambda: self.asked(name, "/health/ready")[0] == 200)  # noqa: B023  it is waited for here

    def asked(self, name: str, path: str) -> tuple[int, bytes]:
        """Return the answer of one process; status 0 if there is none."""
        connection = HTTPConnection("127.0.0.1", self.ports[name], timeout=10)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, answer.read()
        except OSError:
            return 0, b""
        finally:
            connection.close()

    def checks(self, name: str) -> dict[str, str]:
        """Return what a process says of what it needs."""
        found: dict[str, str] = msgspec.json.decode(self.asked(name, "/health")[1])["checks"]
        return found

    def kill(self, *names: str) -> None:
        for name in names:
            process = self.processes.pop(name)
            process.kill()
            process.wait()

    def stop(self) -> None:
        """Stop all as an operator would."""
        for process in self.processes.values():
            process.terminate()
        codes = {name: process.wait(STOP_DEADLINE_S) for name, process in self.processes.items()}
        self.processes.clear()
        assert set(codes.values()) == {0}, codes

    def assert_balanced(self) -> None:
        """Assert that the services' books balance."""
        ended = mercato("reconcile", "--services", folder=self.folder, **self.variables)
        assert ended.code == 0, ended.out + ended.err
