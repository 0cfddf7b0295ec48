"""Child processes: kept running, their logs told together, and all of them gone when this one is."""

import asyncio
import contextlib
import logging
import os
import signal
import sys
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field

from mercato.runtime.server import PARENT_PIPE, with_parent

log = logging.getLogger(__name__)

REFUSED = 2
"""A child ends with it that cannot run as it is set up: to start it again would change nothing."""
_RESTART_FIRST_S = 0.2
_RESTART_MOST_S = 10.0
_LASTING_S = 10.0
"""A child that ran for so long is started again at once when it ends."""
_KILL_AFTER_S = 10.0
"""How much longer than its drain time a child may take to stop."""
_LINE = 64 * 1024
_COLOURS = (36, 32, 33, 35, 34, 31, 96, 92)


class ChildRefused(Exception):
    """A child cannot run as it is set up, and has said why."""


@dataclass(frozen=True, slots=True)
class Child:
    """A process to keep running. `wave` says when it is stopped: those of the first wave first."""

    name: str
    command: Sequence[str]
    environ: Mapping[str, str] = field(default_factory=dict)
    wave: int = 0


def supervise(
    children: Sequence[Child],
    *,
    drain_s: float,
    meanwhile: Callable[[], Awaitable[None]] | None = None,
    stop_by: signal.Signals | None = None,
) -> None:
    """Keep the children running until SIGTERM or SIGINT, doing something meanwhile.

    They are stopped by `stop_by`, or by the signal that came. Raises ChildRefused, and SystemExit where a
    second signal has ended them at once.
    """
    supervisor = Supervisor(children, drain_s=drain_s, stop_by=stop_by)
    asyncio.run(supervisor.run(meanwhile))
    if supervisor.killed_by is not None:
        sys.exit(128 + supervisor.killed_by)


class Supervisor:
    """Runs children. They are told by a pipe when it is gone, however it ends."""

    def __init__(
        self, children: Sequence[Child], *, drain_s: float, stop_by: signal.Signals | None = None
    ) -> None:
        self._children = children
        self._drain_s = drain_s
        self._stop_by = stop_by
        self._got = signal.SIGTERM
        self._running: dict[str, asyncio.subprocess.Process] = {}
        self._stopping = asyncio.Event()
        self._refused: str | None = None
        self.killed_by: int | None = None
        """The second signal, which killed the children, if there was one."""
        self._tell = _Told([child.name for child in children])

    async def run(self, meanwhile: Callable[[], Awaitable[None]] | None = None) -> None:
        """Run until a signal comes. Raises ChildRefused."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop_or_kill, number)
        with_parent(self._stopping.set)
        inherited, held = os.pipe()
        keeping = [asyncio.create_task(self._keep(child, inherited)) for child in self._children]
        beside = None if meanwhile is None else asyncio.create_task(_run(meanwhile))
        try:
            await self._stopping.wait()
            if beside is not None:
                beside.cancel()
            await self._stop(keeping)
        finally:
            os.close(inherited)
            os.close(held)
        if self._refused is not None:
            raise ChildRefused(f"{self._refused} cannot run as it is set up; what it says is above.")

    async def _keep(self, child: Child, inherited: int) -> None:
        """Run a child again whenever it ends, the sooner the longer it ran."""
        pause = _RESTART_FIRST_S
        while not self._stopping.is_set():
            began = time.monotonic()
            code = await self._run_once(child, inherited)
            if self._stopping.is_set():
                return
            if code == REFUSED:
                self._refused = child.name
                self._stopping.set()
                return
            if time.monotonic() - began >= _LASTING_S:
                pause = _RESTART_FIRST_S
            # Somebody may have asked it to, in order to replace it.
            level = logging.ERROR if code else logging.INFO
            log.log(level, "ended, and is started again", extra={"child": child.name, "code": code})
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), pause)
            pause = min(pause * 2, _RESTART_MOST_S)

    async def _run_once(self, child: Child, inherited: int) -> int:
        process = await asyncio.create_subprocess_exec(
            *child.command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
            env={**os.environ, **child.environ, PARENT_PIPE: str(inherited)},
            pass_fds=(inherited,),
            # A Ctrl-C is for this process, which stops the children in order.
            process_group=0,
        )
        self._running[child.name] = process
        if self._stopping.is_set():
            process.terminate()
        assert process.stderr is not None  # noqa: S101  it was asked for
        await self._tell.follow(child.name, process.stderr)
        code = await process.wait()
        del self._running[child.name]
        return code

    async def _stop(self, keeping: "Sequence[asyncio.Task[None]]") -> None:
        """Stop the children, one wave after the other; kill those that take too long."""
        waves = sorted({child.wave for child in self._children})
        for wave in waves:
            tasks = [task for child, task in zip(self._children, keeping, strict=True) if child.wave == wave]
            names = [child.name for child in self._children if child.wave == wave]
            self._signal(names, self._stop_by or self._got)
            _, late = await asyncio.wait(tasks, timeout=self._drain_s + _KILL_AFTER_S)
            if late:
                left = [name for name in names if name in self._running]
                log.warning("children did not stop, and are killed", extra={"processes": left})
                self._signal(names, signal.SIGKILL)
                await asyncio.wait(late)

    def _signal(self, names: Sequence[str], number: signal.Signals) -> None:
        for name in names:
            process = self._running.get(name)
            if process is not None:
                with contextlib.suppress(ProcessLookupError):
                    process.send_signal(number)

    def _stop_or_kill(self, number: signal.Signals) -> None:
        """Stop in order at the first signal, at once at the second."""
        if self._stopping.is_set():
            self.killed_by = number
            self._signal(list(self._running), signal.SIGKILL)
        self._got = number
        self._stopping.set()


async def _run(meanwhile: Callable[[], Awaitable[None]]) -> None:
    await meanwhile()


class _Told:
    """Writes the children's lines, on a terminal each with the name of whose it is."""

    def __init__(self, names: Sequence[str]) -> None:
        width = max(map(len, names))
        self._prefixes: dict[str, bytes] = dict.fromkeys(names, b"")
        if sys.stderr.isatty():
            self._prefixes = {
                name: f"\x1b[{_COLOURS[index % len(_COLOURS)]}m{name:{width}}\x1b[0m ".encode()
                for index, name in enumerate(names)
            }

    async def follow(self, name: str, lines: asyncio.StreamReader) -> None:
        """Write a child's lines until there are no more, whole ones only."""
        rest = b""
        while piece := await lines.read(_LINE):
            whole, end, rest = (rest + piece).rpartition(b"\n")
            if len(rest) > _LINE:
                whole, end, rest = whole + end + rest, b"\n", b""
            if end:
                self._write(name, whole)
        if rest:
            self._write(name, rest)

    def _write(self, name: str, text: bytes) -> None:
        prefix = self._prefixes[name]
        told = b"".join(prefix + line + b"\n" for line in text.split(b"\n"))
        with contextlib.suppress(OSError):
            os.write(sys.stderr.fileno(), told)
