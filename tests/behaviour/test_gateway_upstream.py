"""Passing a request on over a connection that breaks: once more where that changes nothing."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager

import pytest

from mercato.adapters.http.breaker import BreakerState, CircuitOpen
from mercato.adapters.http.client import close, http_client
from mercato.adapters.http.dependency import Dependency, Outcome
from mercato.gateway.origin import Origin
from mercato.gateway.upstream import Passage, Upstream
from mercato.kernel.errors import Unavailable
from mercato.web.http import Request

ANSWER = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"


class Breaking:
    """A service whose first connections break, each once it was asked something."""

    def __init__(self, breaks: int, after: bytes = b"", answer: bytes = ANSWER) -> None:
        self.asked: list[str] = []
        self._breaks = breaks
        self._after = after
        self._answer = answer

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        self.asked.append(head.split(b" ")[0].decode())
        writer.write(self._after if len(self.asked) <= self._breaks else self._answer)
        await writer.drain()
        writer.close()


@asynccontextmanager
async def upstream(service: Breaking, dependency: Dependency | None = None) -> AsyncIterator[Upstream]:
    server = await asyncio.start_server(service.serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    client = http_client()
    async with server:
        yield Upstream(f"http://127.0.0.1:{port}", client, None, dependency or Dependency("products"))
    await close(client)


def passage(method: str, body: bytes = b"") -> Passage:
    async def read(_: int) -> bytes:
        return body

    async def stream(_: int) -> AsyncGenerator[bytes, None]:
        yield body

    headers = {"host": "shop.example"} | ({"content-length": str(len(body))} if body else {})
    request = Request(method, "/", "", headers, "192.0.2.7", secure=False, read_body=read, stream_body=stream)
    return Passage(request, "some-id", Origin("192.0.2.7", False, "", ""), limit=100, deadline_s=5)  # noqa: FBT003


@pytest.mark.parametrize("after", [b"", ANSWER[:-1]])
async def test_what_only_reads_is_sent_once_more_over_another_connection(after: bytes) -> None:
    service = Breaking(1, after)
    async with upstream(service) as products:
        answered = await products.send(passage("GET"))
        assert (answered.status, answered.body) == (200, b"ok")
        assert service.asked == ["GET", "GET"]


async def test_it_is_sent_twice_at_most_which_counts_as_one_failure() -> None:
    service = Breaking(100)
    async with upstream(service) as products:
        for _ in range(2):
            with pytest.raises(Unavailable):
                await products.send(passage("GET"))
        with pytest.raises(Unavailable) as third:
            await products.send(passage("GET"))
        assert not isinstance(third.value, CircuitOpen)
        with pytest.raises(CircuitOpen):
            await products.send(passage("GET"))
        assert len(service.asked) == 6


@pytest.mark.parametrize("method, body", [("POST", b""), ("POST", b"{}"), ("DELETE", b""), ("GET", b"{}")])
async def test_what_may_change_something_is_sent_once(method: str, body: bytes) -> None:
    """Nobody knows whether the service has carried it out."""
    service = Breaking(1)
    async with upstream(service) as products:
        with pytest.raises(Unavailable):
            await products.send(passage(method, body))
        assert service.asked == [method]


async def test_what_is_sent_once_more_comes_out_of_a_budget() -> None:
    """Or a service that breaks connections would be asked twice as often as one that does not."""
    service, dependency = Breaking(1_000), Dependency("products")
    dependency.breaker.failed = lambda *_: None  # type: ignore[method-assign]  # of repeats alone
    async with upstream(service, dependency) as products:
        for _ in range(40):
            with pytest.raises(Unavailable):
                await products.send(passage("GET"))
    assert len(service.asked) <= 40 + 10 + 40 / 10
    assert dependency.budget.denied > 20


@pytest.mark.parametrize("declared", [{"content-length": "2"}, {"transfer-encoding": "chunked"}])
async def test_a_client_that_sends_slowly_keeps_no_place_from_others(declared: dict[str, str]) -> None:
    service, arrived = Breaking(0), asyncio.Event()
    async with upstream(service, Dependency("products", at_once=1)) as products:
        slow = passage("POST", b"{}")
        slow.request.headers = {"host": "shop.example", **declared}
        read, stream = slow.request.read_body, slow.request.stream_body

        async def late(limit: int) -> bytes:
            await arrived.wait()
            return await read(limit)

        async def pieces(limit: int) -> AsyncGenerator[bytes, None]:
            await arrived.wait()
            async for piece in stream(limit):
                yield piece

        slow.request.read_body, slow.request.stream_body = late, pieces
        sending = asyncio.create_task(products.send(slow))
        for _ in range(3):
            assert (await products.send(passage("GET"))).status == 200
        arrived.set()
        await asyncio.gather(sending, return_exceptions=True)


@pytest.mark.parametrize("status", [404, 409, 429, 500, 503])
async def test_what_a_service_answers_opens_no_circuit_to_it(status: int) -> None:
    """It is passed on as it is; who is there and says so is not away."""
    answer = ANSWER.replace(b"200 OK", b"%d Odd" % status)
    dependency = Dependency("products")
    async with upstream(Breaking(0, answer=answer), dependency) as products:
        for _ in range(10):
            assert (await products.send(passage("GET"))).status == status
    assert dependency.state is BreakerState.CLOSED
    assert dependency.outcomes == {Outcome.REFUSED: 10}
