"""The life of a serving process: start, ready, drain, stop."""

import asyncio
import errno
import gc
import logging
import os
import signal
import socket
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any, Protocol

from prometheus_client import CollectorRegistry

from mercato.kernel.tracing import Tracing
from mercato.runtime import logs
from mercato.runtime.app import application
from mercato.runtime.folder import FolderLock
from mercato.runtime.http_server import HttpServer
from mercato.runtime.own_metrics import measured
from mercato.runtime.process import Process
from mercato.runtime.settings import Settings, reachable
from mercato.runtime.traces import Traces
from mercato.web.access_log import Write
from mercato.web.health import Health, Phase
from mercato.web.http import LINGER_S, Request, Response
from mercato.web.shell import Shell
from mercato.web.sockets import Sockets
from mercato.web.under_way import UnderWay

log = logging.getLogger(__name__)

_PATIENCE_S = 3.0
"""After how long it is told to whoever asks that a process has not started."""
PARENT_PIPE = "_MERCATO_PARENT_PIPE"
"""Names a file descriptor that is at its end when this process's parent is gone."""
_SOCKETS_S = 10.0
"""How long clients of sockets get to agree that it is over."""
# Requests leave little garbage in cycles; looking for it seldom saves a twentieth of the CPU.
_GC_THRESHOLD = (10_000, 20, 50)


class Served(Protocol):
    """What is served, and its life."""

    @property
    def health(self) -> Health:
        """The health that its life is told to."""
        ...

    @property
    def under_way(self) -> UnderWay:
        """The requests under way."""
        ...

    @property
    def sockets(self) -> Sockets | None:
        """The sockets, if there are any."""
        ...

    @property
    def patient(self) -> bool:
        """Whether it listens after a while though it has not started: it may have to wait for a database."""
        ...

    async def handle(self, request: Request) -> Response:
        """Answer one request."""
        ...

    async def start(self) -> None:
        """Wait for what is needed, and start what works in the background."""
        ...

    async def stop(self) -> None:
        """Stop that, and close all."""
        ...

    def flush(self) -> None:
        """Write the log lines that wait."""
        ...


class Whole:
    """A process with all that it needs: it starts at once or not at all."""

    patient = False

    def __init__(self, process: Process, shell: Shell, health: Health, sockets: Sockets | None) -> None:
        self.health = health
        self.sockets = sockets
        self.under_way = shell.under_way
        self.handle = shell.handle
        self.start = process.start
        self.stop = process.stop
        self.flush = shell.flush


Build = Callable[[Write, CollectorRegistry, Tracing], Served]
"""Builds what to serve; called in the event loop, with the data folder locked."""

Ready = Callable[[], None]
"""Called once requests are taken."""


class PortInUse(Exception):
    """The port is taken; the message is a sentence that names it."""


def run_process(
    settings: Settings, services: Iterable[str], build: Callable[[Tracing], Process], on_ready: Ready
) -> None:
    """Serve a process of these services until SIGTERM or SIGINT. Raises PortInUse, FolderInUse."""

    def whole(write: Write, registry: CollectorRegistry, traces: Tracing) -> Served:
        process = build(traces)
        return Whole(process, *application(process, settings, write, registry))

    run(settings, services, whole, on_ready)


def run(
    settings: Settings,
    services: Iterable[str],
    build: Build,
    on_ready: Ready,
    *,
    name: str = "",
    shares_port: bool = False,
) -> None:
    """Serve until SIGTERM or SIGINT, with the databases of `services` in the data folder locked.

    `name` tells the process from others in the log. Raises PortInUse, FolderInUse.
    """
    registry = CollectorRegistry()
    traces = Traces(settings, name, registry)
    write = logs.set_up(settings, registry, name)
    if not shares_port:
        check_port(settings.host, settings.port)
    gc.set_threshold(*_GC_THRESHOLD)
    lock = FolderLock(settings.folder, services)
    try:
        asyncio.run(
            _serve(settings, partial(build, write, registry, traces.tracing), registry, traces, on_ready)
        )
    finally:
        lock.release()


def check_port(host: str, port: int) -> None:
    """Raise PortInUse unless the address can be listened on."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        # As servers do: sockets in TIME_WAIT are no hindrance, a listener is.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            reason = "is in use" if error.errno == errno.EADDRINUSE else f"cannot be used: {error.strerror}"
            raise PortInUse(f"The address {host}:{port} {reason}; choose another with --port.") from None


def free_port() -> int:
    """Return a port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


async def _serve(
    settings: Settings,
    build: Callable[[], Served],
    registry: CollectorRegistry,
    traces: Traces,
    on_ready: Ready,
) -> None:
    async with measured(registry):
        await _live(settings, build, traces, on_ready)


async def _live(settings: Settings, build: Callable[[], Served], traces: Traces, on_ready: Ready) -> None:
    stopping = _Stopping()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.by, number)
    with_parent(stopping.wanted.set)
    served = build()
    traces.start()
    stop = asyncio.create_task(stopping.wanted.wait())
    starting = asyncio.create_task(served.start(), name="start")
    try:
        await _started(starting, [stop], _PATIENCE_S if served.patient else None)
        if stop.done():
            return
        server = HttpServer(served, settings.host, settings.port, served.sockets)
        serving = asyncio.create_task(server.serve(), name="http")
        await _listening(settings, serving)
        # What is there now stays: the collector need not look at it again and again.
        gc.freeze()
        ended = [serving, stop]
        if await _started(starting, ended) and not any(task.done() for task in ended):
            served.health.phase = Phase.SERVING
            on_ready()
        await asyncio.wait(ended, return_when=asyncio.FIRST_COMPLETED)
        # Only a service apart may have others in its place, to which clients go.
        linger_s = LINGER_S if served.patient and stopping.may_be_replaced else 0.0
        await _drain(served, server, serving, settings.drain_deadline, linger_s)
    finally:
        starting.cancel()
        await asyncio.gather(starting, return_exceptions=True)
        await served.stop()
        await traces.close()
        served.flush()
        logs.tell_rest()
    log.info("stopped")


async def _started(
    starting: "asyncio.Task[None]", ended: "Sequence[asyncio.Task[Any]]", within_s: float | None = None
) -> bool:
    """Wait until it has started, unless one of the tasks ends before that; say whether it has."""
    await asyncio.wait([starting, *ended], timeout=within_s, return_when=asyncio.FIRST_COMPLETED)
    if not starting.done():
        return False
    await starting
    return True


def with_parent(stop: Callable[[], None]) -> None:
    """Call `stop` when the process that started this one is gone, if that is to be so.

    It holds the other end of a pipe, which the system closes however it ends.
    """
    given = os.environ.get(PARENT_PIPE)
    if given is None:
        return
    descriptor = int(given)
    loop = asyncio.get_running_loop()

    def gone() -> None:
        loop.remove_reader(descriptor)
        log.warning("the process that started this one is gone")
        stop()

    loop.add_reader(descriptor, gone)


class _Stopping:
    """Whether the process is to stop."""

    def __init__(self) -> None:
        self.wanted = asyncio.Event()
        self.may_be_replaced = False
        """Whoever stops it by SIGTERM may have others that go on; a Ctrl-C ends all."""

    def by(self, number: int) -> None:
        """Drain at the first signal, exit at once at the second.

        What a kill leaves, the next start takes up.
        """
        if self.wanted.is_set():
            # An exception would be told by whatever it interrupts, and wait for threads.
            os._exit(128 + number)
        self.may_be_replaced = number == signal.SIGTERM
        self.wanted.set()


async def _listening(settings: Settings, serving: "asyncio.Task[None]") -> None:
    """Wait until the server accepts connections."""
    host = reachable(settings.host)
    while not serving.done():
        try:
            _, writer = await asyncio.open_connection(host, settings.port)
        except OSError:
            await asyncio.sleep(0.002)
            continue
        writer.close()
        return
    await serving


async def _drain(
    served: Served,
    server: HttpServer,
    serving: "asyncio.Task[None]",
    deadline_s: float,
    linger_s: float,
) -> None:
    """Stop accepting, and let the requests under way finish; before that, let clients take their leave."""
    served.health.phase = Phase.DRAINING
    log.info("draining", extra={"in_flight": len(served.under_way)})
    server.stop_accepting()
    await asyncio.sleep(min(linger_s, deadline_s))
    server.stop()  # type: ignore[no-untyped-call]  # it ships without annotations
    try:
        async with asyncio.timeout(deadline_s):
            if served.sockets is not None:
                # Event streams end with them, for which the server waits.
                await served.sockets.close(min(deadline_s, _SOCKETS_S))
            await serving
            await served.under_way.drained()
    except TimeoutError:
        log.warning("requests were cut off", extra={"in_flight": len(served.under_way)})
