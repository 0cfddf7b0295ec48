"""The access log: one JSON line per request, without bodies, queries or tokens."""

import asyncio
from collections.abc import Callable
from datetime import datetime

import msgspec

Write = Callable[[bytes], None]


class AccessLine(msgspec.Struct, frozen=True, omit_defaults=True):
    """What is told of one request."""

    ts: datetime
    level: str
    event: str
    request_id: str
    method: str
    path: str
    route: str
    status: int
    ms: float
    client: str
    tenant: str | None = None
    user: str | None = None
    away: bool = False
    """The user acts in a store that is not their own, as operators and some machines may."""
    code: str = ""
    operations: int = 0
    """What was asked for in a socket."""
    trace_id: str | None = None
    left_out: int = 0
    """How many like it came since the last one that is told of: see `AccessLog`."""


_encode = msgspec.json.Encoder().encode


PROBES = frozenset({"GET /health", "GET /health/live", "GET /health/ready", "GET /metrics"})
"""Routes that are asked every few seconds for as long as a process lives."""
PROBES_EVERY_S = 60.0


class AccessLog:
    """Writes access lines, those of a short while together.

    Of probes that find all well the first is told, and then one a minute, with how many were left out.
    """

    def __init__(self, write: Write, *, delay_s: float = 0.0) -> None:
        """Write each line at most `delay_s` late. Whoever ends the process flushes."""
        self._write = write
        self._delay_s = delay_s
        self._lines: list[bytes] = []
        self._probes: dict[str, tuple[float, int]] = {}
        """By route: when one is told of again, and how many were left out."""

    def add(self, line: AccessLine) -> None:
        """Take a line."""
        if line.route in PROBES and line.status < 400:
            now = asyncio.get_running_loop().time()
            again_at, left_out = self._probes.get(line.route, (now, 0))
            if now < again_at:
                self._probes[line.route] = (again_at, left_out + 1)
                return
            self._probes[line.route] = (now + PROBES_EVERY_S, 0)
            line = msgspec.structs.replace(line, left_out=left_out)
        if not self._lines:
            asyncio.get_running_loop().call_later(self._delay_s, self.flush)
        self._lines.append(_encode(line))

    def without(self, routes: frozenset[str]) -> "AccessLog":
        """Return the same log, in which requests of these routes are told only if they were refused."""
        return _Quieter(self, routes)

    def flush(self) -> None:
        """Write what was taken."""
        if self._lines:
            self._lines.append(b"")
            text = b"\n".join(self._lines)
            self._lines.clear()
            self._write(text)


class _Quieter(AccessLog):
    """Leaves out what happens all the time and is no news."""

    def __init__(self, log: AccessLog, routes: frozenset[str]) -> None:
        super().__init__(_nowhere)
        self._log = log
        self._routes = routes

    def add(self, line: AccessLine) -> None:
        if line.status >= 400 or line.route not in self._routes:
            self._log.add(line)


def _nowhere(_: bytes) -> None:
    """Write nothing: another log does."""
