"""The life of a serving process: start, ready, drain, stop."""

import asyncio
import errno
import gc
import logging
import os
import signal
import socket
from collections.abc import Callable, Iterable

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
from mercato.web.rsgi import RsgiApp
from mercato.web.shell import Shell

log = logging.getLogger(__name__)

HEADER_DEADLINE_MS = 10_000
# Requests leave little garbage in cycles; looking for it seldom saves a twentieth of the CPU.
_GC_THRESHOLD = (10_000, 20, 50)

Build = Callable[[], Process]
"""Builds the process to serve; called in the event loop, with the data folder locked."""

Ready = Callable[[], None]
"""Called once requests are taken."""


class PortInUse(Exception):
    """The port is taken; the message is a sentence that names it."""


def run(settings: Settings, services: Iterable[str], build: Build, on_ready: Ready) -> None:
    """Serve these services until SIGTERM or SIGINT. Raises PortInUse, FolderInUse."""
    registry = CollectorRegistry()
    write = logs.set_up(settings, registry)
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


async def _serve(
    settings: Settings, build: Build, write: Write, registry: CollectorRegistry, on_ready: Ready
) -> None:
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, _stop_or_exit, stopping, number)
    process = build()
    shell, health = application(process, settings, write, registry)
    try:
        await process.start()
        server = _server(shell, settings)
        serving = asyncio.create_task(server.serve(), name="http")
        await _listening(settings, serving)
        # What is there now stays: the collector need not look at it again and again.
        gc.freeze()
        health.phase = Phase.SERVING
        on_ready()
        await asyncio.wait(
            [serving, asyncio.create_task(stopping.wait())], return_when=asyncio.FIRST_COMPLETED
        )
        await _drain(shell, health, server, serving, settings.drain_deadline)
    finally:
        await process.stop()
        shell.flush()
    log.info("stopped")


def _stop_or_exit(stopping: asyncio.Event, number: int) -> None:
    """Drain at the first signal, exit at once at the second: what a kill leaves, the next start takes up."""
    if stopping.is_set():
        # An exception would be told by whatever it interrupts, and wait for threads.
        os._exit(128 + number)
    stopping.set()


def _server(shell: Shell, settings: Settings) -> Server:
    return Server(
        RsgiApp(shell),
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


async def _drain(
    shell: Shell, health: Health, server: Server, serving: "asyncio.Task[None]", deadline_s: float
) -> None:
    """Stop accepting, and let the requests under way finish."""
    health.phase = Phase.DRAINING
    log.info("draining", extra={"in_flight": len(shell.under_way)})
    server.stop()  # type: ignore[no-untyped-call]  # it ships without annotations
    try:
        async with asyncio.timeout(deadline_s):
            await serving
            await shell.under_way.drained()
    except TimeoutError:
        log.warning("requests were cut off", extra={"in_flight": len(shell.under_way)})
