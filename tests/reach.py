"""Reaching a service's contracts over HTTP, from the same process: a real server on a free port."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import msgspec
from granian.constants import HTTPModes, Interfaces
from granian.server.embed import Server

from mercato.adapters.identity.service_tokens import ClusterSecret, ServiceCallers
from mercato.clients.internal import Internal
from mercato.clients.neighbour import Neighbour
from mercato.kernel.clock import utc_now
from mercato.runtime.front import Front
from mercato.web.rsgi import Answers, RsgiApp
from mercato.web.sockets import Sockets
from tests.running import free_port
from tests.shells import open_shell, stores_there

T = TypeVar("T")

WAIT_S = 10.0

SECRET = ClusterSecret("what the services of the tests sign with", clock=utc_now)


class PatientNeighbour(Neighbour):
    """Waits for an answer as long as a test may: for those of what is answered, not of when."""

    async def ask(self, path: str, body: msgspec.Struct, kind: type[T], **how: Any) -> T:
        return await super().ask(path, body, kind, **{"timeout_s": WAIT_S, **how})


@asynccontextmanager
async def listening(answers: Answers, sockets: Sockets | None = None) -> AsyncIterator[str]:
    """Serve on a free port; yield the URL."""
    port = free_port()
    server = Server(
        RsgiApp(answers, sockets),
        port=port,
        interface=Interfaces.RSGI,
        http=HTTPModes.http1,
        websockets=False,
        log_enabled=False,
    )
    serving = asyncio.create_task(server.serve())
    while not serving.done():
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            await asyncio.sleep(0.005)
            continue
        writer.close()
        break
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.stop()  # type: ignore[no-untyped-call]  # it ships without annotations
        async with asyncio.timeout(10):
            await serving


def front_of(internal: Internal, service: str) -> Front:
    """Return what answers a service's internal paths, and no others."""
    shell = open_shell(
        internal.routes.endpoints,
        authenticator=ServiceCallers(SECRET, service),
        find_store=stores_there(),
        clock=utc_now,
    )
    return Front(service, shell, shell, SECRET)


@asynccontextmanager
async def over_http(internal: Internal, service: str) -> AsyncIterator[Neighbour]:
    """Serve a service's internal endpoints; yield the service as another calls it."""
    async with listening(front_of(internal, service)) as url:
        neighbour = PatientNeighbour(service, url, caller="orders", secret=SECRET)
        yield neighbour
        await neighbour.close()
