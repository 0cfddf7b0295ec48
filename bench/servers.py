"""Servers under measurement: processes that are started, watched and stopped."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path

import psutil

ROOT = Path(__file__).resolve().parents[1]
START_DEADLINE_S = 30.0
STOP_DEADLINE_S = 40.0
_POLL_S = 0.002


@dataclass(frozen=True)
class Server:
    """A server that runs."""

    process: "subprocess.Popen[bytes]"
    port: int
    start_s: float
    """From the start of the process to its first answer with 200."""

    def pss_mb(self) -> float:
        """Return the proportional set size of all its processes, in MB."""
        return sum(float(each.memory_full_info().pss) for each in self._processes()) / 1e6

    def rss_mb(self) -> float:
        """Return the resident memory of all its processes, in MB: quick to ask for while it works."""
        return sum(float(each.memory_info().rss) for each in self._processes()) / 1e6

    def cpu_s(self) -> float:
        """Return the CPU time that all its processes have used, in user and kernel mode."""
        return cpu_s(self.process.pid)

    def _processes(self) -> list[psutil.Process]:
        return _with_children(self.process.pid)


def cpu_s(pid: int) -> float:
    """Return the CPU time that a process has used and its children have, in user and kernel mode."""
    parent, *children = _with_children(pid)
    own = parent.cpu_times()
    # Of children that have ended, their parent knows.
    used = float(own.user + own.system + own.children_user + own.children_system)
    for child in children:
        with suppress(psutil.NoSuchProcess):
            times = child.cpu_times()
            used += float(times.user + times.system)
    return used


def _with_children(pid: int) -> list[psutil.Process]:
    parent = psutil.Process(pid)
    return [parent, *parent.children(recursive=True)]


@contextmanager
def bare(folder: Path, answer: Path | None = None) -> Iterator[Server]:
    """Run the bare handler, which answers with what is in the file `answer`."""
    port = _free_port()
    words = ["bench.bare", str(port), *([] if answer is None else [str(answer)])]
    with _running(words, port, "/", folder / "bare.log", {}) as server:
        yield server


@contextmanager
def bare_read(folder: Path, answer: Path, database: str, connections: int) -> Iterator[Server]:
    """Run the bare handler that reads a product from a database before it answers."""
    port = _free_port()
    words = ["bench.bare_read", str(port), str(answer), database, str(connections)]
    with _running(words, port, "/", folder / "bare.log", {}) as server:
        yield server


@contextmanager
def mercato(folder: Path, *words: str, environ: Mapping[str, str] | None = None) -> Iterator[Server]:
    """Run `mercato` with these words on the data in `folder`, its log going to a file there."""
    port = _free_port()
    command = ["mercato", *words, "--port", str(port), "--data", str(folder / "data")]
    with _running(command, port, "/health/ready", folder / "mercato.log", environ or {}) as server:
        yield server


@contextmanager
def _running(
    words: list[str], port: int, ready: str, log: Path, environ: Mapping[str, str]
) -> Iterator[Server]:
    own = {name: value for name, value in os.environ.items() if not name.startswith("MERCATO_")}
    began = time.perf_counter()
    with log.open("ab") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", *words],
            stdout=output,
            stderr=output,
            # A working directory of its own, since a `.env` there would be read.
            cwd=log.parent,
            env={**own, "PYTHONPATH": str(ROOT), "MERCATO_LOG_FORMAT": "json", **environ},
        )
    try:
        while not _answers(port, ready):
            if process.poll() is not None or time.perf_counter() - began > START_DEADLINE_S:
                raise RuntimeError(f"{words[0]} did not start: {log.read_text()[-2000:]}")
            time.sleep(_POLL_S)
        yield Server(process, port, time.perf_counter() - began)
    finally:
        process.terminate()
        process.wait(STOP_DEADLINE_S)


def _answers(port: int, path: str) -> bool:
    connection = HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", path)
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
