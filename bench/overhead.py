"""What logs, metrics and traces cost a cached read: each is switched off in turn, in one process.

`python -m bench.overhead` prints it. Requests go to the shell itself, so that no server and no client
blurs what is a few microseconds; the log's lines are written to a file, as they are in a process.
"""

import asyncio
import os
import statistics
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
from prometheus_client import CollectorRegistry

from bench.figures import Figure, Target, machine, table
from bench.shop import STORE
from mercato.kernel.tracing import UNTRACED, Recorded, Tracing
from mercato.runtime.app import application
from mercato.runtime.embedded import Embedded
from mercato.runtime.settings import load
from mercato.web.http import Chunks, Request, Response
from mercato.web.metrics import RequestMetrics
from mercato.web.shell import Seen, Shell

_AT_ONCE = 50
"""Requests between two turns of the event loop, in which the log is written."""
ALL, NONE = "all", "none"
PARTS = ("logs", "metrics", "traces")


class _Nowhere:
    """Takes no spans: what is measured is what is not recorded."""

    def record(self, span: Recorded) -> None:
        raise AssertionError(f"{span.name} is recorded")


class _Switched(Shell):
    """A shell that tells only some of what it sees."""

    off: frozenset[str] = frozenset()

    def _tell(self, request: Request, response: Response, seen: Seen, seconds: float) -> None:
        """Write the log line, or only count, or neither."""
        if "logs" not in self.off:
            super()._tell(request, response, seen, seconds)
        elif "metrics" not in self.off:
            self._metrics.observe(seen.route, response.status, seen.code, seconds)


class _NoMetrics(RequestMetrics):
    """Counts nothing."""

    def observe(self, route: str, status: int, code: str, seconds: float) -> None:
        pass


def _without(shell: Shell, off: frozenset[str]) -> Shell:
    shell.__class__ = _Switched
    assert isinstance(shell, _Switched)
    shell.off = off
    shell._traces = UNTRACED if "traces" in off else Tracing(_Nowhere(), 0.0)  # noqa: SLF001  what is measured
    if "metrics" in off:
        shell._metrics = _NoMetrics(CollectorRegistry())  # noqa: SLF001
    return shell


def _request(method: str, path: str, body: object = None, token: str = "") -> Request:
    content = b"" if body is None else msgspec.json.encode(body)
    headers = {"host": "localhost", "user-agent": "bench", "accept": "*/*"}
    if method == "GET":
        headers["x-tenant-id"] = STORE
    if body is not None:
        headers |= {"content-type": "application/json", "content-length": str(len(content))}
    if token:
        headers["authorization"] = f"Bearer {token}"

    async def read(_: int) -> bytes:
        return content

    async def stream(_: int) -> Chunks:
        yield content

    return Request(method, path, "", headers, "127.0.0.1", secure=False, read_body=read, stream_body=stream)


async def _product(shell: Shell) -> str:
    """Open a store with a product; return the product's path."""

    async def post(path: str, body: object, token: str = "") -> Any:  # noqa: ANN401  JSON
        response = await shell.handle(_request("POST", f"/api/v1/{path}", body, token))
        assert response.status == 201, response.body
        return msgspec.json.decode(response.body)["data"]

    person = {"first_name": "Ada", "last_name": "Admin"}
    admin = {**person, "email": "admin@bench.example", "password": "admin-password"}
    opened = await post("tenants", {"id": STORE, "name": "Bench", "admin": admin})
    mug = {"sku": "MUG", "name": "Mug", "price": 19.99, "stock": 1_000}
    return f"/api/v1/products/{(await post('products', mug, opened['token']))['id']}"


async def _read(shell: Shell, path: str, seconds: float) -> float:
    """Read a product over and over; return microseconds of CPU each."""
    done, started = 0, time.process_time()
    while (passed := time.process_time() - started) < seconds:
        for _ in range(_AT_ONCE):
            response = await shell.handle(_request("GET", path))
            assert response.status == 200, response.body
        done += _AT_ONCE
        await asyncio.sleep(0)
    return 1e6 * passed / done


async def _measure(rounds: int, seconds: float) -> dict[str, float]:
    """Return what a read costs with all, with none, and without each."""
    switched = {ALL: frozenset[str](), NONE: frozenset(PARTS), **{part: frozenset({part}) for part in PARTS}}
    with tempfile.TemporaryDirectory(prefix="mercato-bench-") as name:
        folder = Path(name)
        settings = load({}, data=str(folder / "data"))
        platform = Embedded(settings)
        await platform.process.start()
        log = os.open(folder / "log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)

        def shell_without(off: frozenset[str]) -> Shell:
            shell = application(platform.process, settings, partial(_write, log), CollectorRegistry()).shell
            return _without(shell, off)

        try:
            shells = {each: shell_without(off) for each, off in switched.items()}
            path = await _product(shells[ALL])
            return await _timed(shells, path, rounds, seconds)
        finally:
            await platform.process.stop()


async def _timed(shells: dict[str, Shell], path: str, rounds: int, seconds: float) -> dict[str, float]:
    taken: dict[str, list[float]] = {name: [] for name in shells}
    for shell in shells.values():
        await _read(shell, path, seconds / 4)
    for _ in range(rounds):
        for name, shell in shells.items():
            taken[name].append(await _read(shell, path, seconds))
    for shell in shells.values():
        shell.flush()
    return {name: statistics.median(times) for name, times in taken.items()}


def _write(log: int, lines: bytes) -> None:
    os.write(log, lines)


def measure(rounds: int, seconds: float) -> list[Figure]:
    """Measure what all three cost together, and tell what each does."""
    took = asyncio.run(_measure(rounds, seconds))
    parts = ", ".join(f"{part} {took[ALL] - took[part]:.1f}" for part in PARTS)
    return [
        Figure(
            "logs, metrics and unsampled traces of a cached read",
            # Less than this a short run cannot tell from nothing.
            max(took[ALL] - took[NONE], 0.1),
            "µs",
            Target(15, at_least=False),
            note=f"of CPU, of {took[ALL]:.1f} in the shell; switched off alone: {parts}",
        )
    ]


def main() -> None:
    """Measure, and print what was found."""
    print(machine())
    print()
    print(table(measure(9, 1.0)))


if __name__ == "__main__":
    main()
