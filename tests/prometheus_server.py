"""A private Prometheus on a free port, with the rules of deploy/prometheus, in a folder of its own."""

import atexit
import os
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import msgspec
import yaml

from tests.postgres_server import unprivileged
from tests.running import free_port

DEPLOYED = Path(__file__).parents[1] / "deploy" / "prometheus"
START_DEADLINE_S = 30.0
_OFTEN = "1s"
_HASTY = "3s"
"""So that one scrape or two that come late alert nobody."""


class Failed(Exception):
    """Prometheus did not answer a question, and says why."""


def binary() -> str | None:
    """Return the server's program, if it is installed; Debian has `promtool` in the same package."""
    return shutil.which("prometheus") if shutil.which("promtool") else None


@dataclass
class PrometheusServer:
    """One server, which scrapes and judges every second. Where it is `hasty`, alerts hardly wait."""

    ports: Mapping[str, int]
    """Of which process the metrics are at which port of this machine."""
    hasty: bool = False
    port: int = 0
    folder: Path = field(default_factory=Path)
    process: "subprocess.Popen[bytes] | None" = None

    def start(self) -> None:
        """Start it on what is deployed, but for the times, and wait for it."""
        found = binary()
        assert found is not None
        self.folder = Path(tempfile.mkdtemp(prefix="mercato-prometheus-"))
        self.port = free_port()
        atexit.register(self.stop)
        self._configure()
        options = {
            "config.file": "prometheus.yml",
            "storage.tsdb.path": "data",
            "storage.tsdb.retention.time": "1h",
            "web.listen-address": f"127.0.0.1:{self.port}",
            "log.level": "warn",
        }
        user = unprivileged(self.folder)
        with (self.folder / "log.txt").open("ab") as log:
            self.process = subprocess.Popen(
                [found, *(f"--{name}={value}" for name, value in options.items())],
                stdout=log,
                stderr=log,
                user=user,
                cwd=self.folder,
                env={"PATH": os.environ["PATH"], "GOMAXPROCS": "1"},
            )
        deadline = time.monotonic() + START_DEADLINE_S
        while not self._is_ready():
            assert self.process.poll() is None, self.log()
            assert time.monotonic() < deadline, f"Prometheus did not start: {self.log()}"
            time.sleep(0.05)

    def _configure(self) -> None:
        config = yaml.safe_load((DEPLOYED / "prometheus.yml").read_text())
        config["global"] = dict.fromkeys(("scrape_interval", "scrape_timeout", "evaluation_interval"), _OFTEN)
        (self.folder / "prometheus.yml").write_text(yaml.safe_dump(config))
        (self.folder / "targets").mkdir()
        targets = [
            {"targets": [f"127.0.0.1:{port}"], "labels": {"process": process}}
            for process, port in self.ports.items()
        ]
        (self.folder / "targets" / "these.yml").write_text(yaml.safe_dump(targets))
        (self.folder / "rules").mkdir()
        for rules in (DEPLOYED / "rules").iterdir():
            text = re.sub(r"(\s)interval: \w+", rf"\1interval: {_OFTEN}", rules.read_text())
            if self.hasty:
                text = re.sub(r"(\s)for: \w+", rf"\1for: {_HASTY}", text)
            (self.folder / "rules" / rules.name).write_text(text)

    def _is_ready(self) -> bool:
        try:
            return self._get("/-/ready")[0] == 200
        except OSError:
            return False

    def _get(self, path: str) -> tuple[int, bytes]:
        connection = HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def ask(self, path: str, **words: str) -> Any:
        """Return the data of an answer of the HTTP API. Raises Failed with Prometheus's own words."""
        answer = msgspec.json.decode(self._get(f"/api/v1/{path}?{urlencode(words)}")[1])
        if answer["status"] != "success":
            raise Failed(answer["error"])
        return answer["data"]

    def query(self, expression: str) -> list[dict[str, Any]]:
        """Return the samples of an expression now. Raises Failed."""
        answer = self.ask("query", query=expression)
        found: list[dict[str, Any]] = answer["result"]
        return found

    def alerts(self) -> "dict[str, set[str]]":
        """Return the alerts that are pending or firing, by state."""
        found: dict[str, set[str]] = {"pending": set(), "firing": set()}
        for alert in self.ask("alerts")["alerts"]:
            found[alert["state"]].add(alert["labels"]["alertname"])
        return found

    def log(self) -> str:
        """Return what it said, as far as it was a warning."""
        return (self.folder / "log.txt").read_text(errors="replace")[-2000:]

    def stop(self) -> None:
        """End it and delete all that it kept."""
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait(10)
        shutil.rmtree(self.folder, ignore_errors=True)
