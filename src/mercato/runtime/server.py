"""The life of a serving process: start, ready, drain, stop."""

import asyncio
import errno
import gc
import logging
import os
import signal
import socket
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Protocol

from granian.constants import HTTPModes, Interfaces
from granian.http import HTTP1Settings
from granian.server.embed import Server
from prometheus_client import CollectorRegistry

from mercato.runtime import logs
from mercato.runtime.app import application
from mercato.runtime.folder import FolderLock
from mercato.runtime.process import Process
from mercato.runtime.settings import Settings, reachable
from mercato.web.access_log import Write
from mercato.web.health import Health, Phase
from mercato.web.http import Request, Response
from mercato.web.rsgi import RsgiApp
from mercato.web.shell import Shell
from mercato.web.sockets import Sockets
from mercato.web.under_way import UnderWay

log = logging.getLogger(__name__)

HEADER_DEADLINE_MS = 10_000
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
        """Whether it listens before it has started: it may have to wait for a database."""
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


Build = Callable[[Write, CollectorRegistry], Served]
"""Builds what to serve; called in the event loop, with the data folder locked."""

Ready = Callable[[], None]
"""Called once requests are taken."""


class PortInUse(Exception):
    """The port is taken; the message is a sentence that names it."""


def run_process(
    settings: Settings, services: Iterable[str], build: Callable[[], Process], on_ready: Ready
) -> None:
    """Serve a process of these services until SIGTERM or SIGINT. Raises PortInUse, FolderInUse."""

    def whole(write: Write, registry: CollectorRegistry) -> Served:
        process = build()
        return Whole(process, *application(process, settings, write, registry))

    run(settings, services, whole, on_ready)


def run(
    settings: Settings,
    services: Iterable[str],
    build: Build,
    on_ready: Ready,
    *,
    shares_port: bool = False,
) -> None:
    """Serve until SIGTERM or SIGINT, with the databases of `services` in the data folder locked.

    Raises PortInUse, FolderInUse.
    """
    registry = CollectorRegistry()
    write = logs.set_up(settings, registry)
    if not shares_port:
        check_port(settings.host, settings.port)
    gc.set_threshold(*_GC_THRESHOLD)
    lock = FolderLock(settings.folder, services)
    try:
        asyncio.run(_serve(settings, build, write, registry, on_ready))
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
    settings: Settings, build: Build, write: Write, registry: CollectorRegistry, on_ready: Ready
) -> None:
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, _stop_or_exit, stopping, number)
    with_parent(stopping.set)
    served = build(write, registry)
    stop = asyncio.create_task(stopping.wait())
    try:
        if not served.patient and not await _started(served, [stop]):
            return
        server = _server(served, settings)
        serving = asyncio.create_task(server.serve(), name="http")
        await _listening(settings, serving)
        # What is there now stays: the collector need not look at it again and again.
        gc.freeze()
        ended = [serving, stop]
        if served.patient:
            await _started(served, ended)
        if not any(task.done() for task in ended):
            served.health.phase = Phase.SERVING
            on_ready()
        await asyncio.wait(ended, return_when=asyncio.FIRST_COMPLETED)
        await _drain(served, server, serving, settings.drain_deadline)
    finally:
        await served.stop()
        served.flush()
    log.info("stopped")


async def _started(served: Served, ended: "Sequence[asyncio.Task[Any]]") -> bool:
    """Start, unless one of the tasks has ended before that; say whether it has started."""
    starting = asyncio.create_task(served.start(), name="start")
    await asyncio.wait([starting, *ended], return_when=asyncio.FIRST_COMPLETED)
    if not starting.done():
        starting.cancel()
        await asyncio.gather(starting, return_exceptions=True)
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


def _stop_or_exit(stopping: asyncio.Event, number: int) -> None:
    """Drain at the first signal, exit at once at the second: what a kill leaves, the next start takes up."""
    if stopping.is_set():
        # An exception would be told by whatever it interrupts, and wait for threads.
        os._exit(128 + number)
    stopping.set()


def _server(served: Served, settings: Settings) -> Server:
    return Server(
        RsgiApp(served, served.sockets),
        address=settings.host,
        port=settings.port,
        interface=Interfaces.RSGI,
        http=HTTPModes.http1,
        websockets=False,
        backlog=1024,
        http1_settings=HTTP1Settings(header_read_timeout=HEADER_DEADLINE_MS),
        log_enabled=False,
    )


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


async def _drain(served: Served, server: Server, serving: "asyncio.Task[None]", deadline_s: float) -> None:
    """Stop accepting, and let the requests under way finish."""
    served.health.phase = Phase.DRAINING
    log.info("draining", extra={"in_flight": len(served.under_way)})
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
