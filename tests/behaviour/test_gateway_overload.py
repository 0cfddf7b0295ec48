"""A gateway that is asked for more than it can pass on: each client address has its turn."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from prometheus_client import CollectorRegistry

from mercato.adapters.http.client import close, http_client
from mercato.adapters.http.dependency import Dependency
from mercato.gateway.origin import Proxies
from mercato.gateway.shell import GatewayShell
from mercato.gateway.table import Table
from mercato.gateway.upstream import Upstream
from mercato.kernel.clock import utc_now
from mercato.kernel.errors import Overloaded
from mercato.web import admission as admission_module
from mercato.web import health as health_web
from mercato.web.access_log import AccessLog
from mercato.web.admission import Admission
from mercato.web.asgi import AsgiApp
from mercato.web.auth import Stores
from mercato.web.call import Call
from mercato.web.cors import Cors
from mercato.web.endpoint import PUBLIC, Routes
from mercato.web.health import Health
from mercato.web.limits import Limits
from mercato.web.metrics import RequestMetrics
from tests.asgi_client import Answer, Client
from tests.shells import NO_LIMITS, stores_there
from tests.shop import TokenBook
from tests.waiting import until

AT_ONCE = 2
ANSWER = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"


@asynccontextmanager
async def gateway(admission: Admission, go_on: asyncio.Event) -> AsyncIterator[AsgiApp]:
    """Yield a gateway before one service, which answers when it may go on."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        await go_on.wait()
        writer.write(ANSWER)
        await writer.drain()
        writer.close()

    routes = Routes("products", prefix="/products")

    @routes.get("", allow=PUBLIC)
    async def look(call: Call) -> None:
        """Look on."""

    client = http_client()
    async with await asyncio.start_server(serve, "127.0.0.1", 0) as service:
        port = service.sockets[0].getsockname()[1]
        upstream = Upstream(f"http://127.0.0.1:{port}", client, None, Dependency("products"))
        shell = GatewayShell(
            Table(
                {"products": routes.endpoints}, health_web.routes(Health("gateway", "1", {}), ()).endpoints
            ),
            {"products": upstream},
            proxies=Proxies(""),
            max_body=1024,
            authenticator=TokenBook(),
            stores=Stores(stores_there("default")),
            limits=Limits(NO_LIMITS),
            cors=Cors(()),
            access_log=AccessLog(lambda _: None),
            metrics=RequestMetrics(CollectorRegistry()),
            clock=utc_now,
            hash_secret=b"",
            deadline_s=30,
            admission=admission,
        )
        yield AsgiApp(shell)
        go_on.set()
    await close(client)


async def test_an_address_with_too_much_waiting_is_refused_and_another_has_its_turn(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(admission_module, "LEAST", AT_ONCE)
    admission, go_on = Admission(0.2, lambda: True), asyncio.Event()
    admission.limit = AT_ONCE

    def is_full() -> bool:
        try:
            admission.check("192.0.2.7")
        except Overloaded:
            return True
        return False

    async with gateway(admission, go_on) as app:

        def ask(address: str, path: str = "/products") -> "asyncio.Task[Answer]":
            client = Client(app)
            client.address = address
            return asyncio.create_task(client("GET", path))

        flood = [ask("192.0.2.7") for _ in range(AT_ONCE + 3)]
        await until(is_full)
        refused = await ask("192.0.2.7")
        assert (refused.status, refused.code) == (503, "SERVICE_UNAVAILABLE")
        assert refused.headers["retry-after"] == "1"
        assert (await ask("192.0.2.7", "/health")).status == 200

        other = ask("192.0.2.8")
        await until(lambda: admission.waiting == 4)
        go_on.set()
        assert (await other).status == 200
        assert {answer.status for answer in await asyncio.gather(*flood)} == {200}
        assert (admission.in_use, admission.waiting) == (0, 0)
