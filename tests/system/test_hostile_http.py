"""Requests that break the rules of HTTP/1.1, over real sockets."""

import asyncio
import re
import time
from collections.abc import Iterable

import pytest

from mercato.web.shell import MAX_LOGGED_PATH
from tests.running import Platform
from tests.waiting import until

LIVE = b"GET /health/live HTTP/1.1\r\nHost: x\r\n"
LOGIN = b"POST /api/v1/users/login HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
NEXT = b"GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n"
CHUNKED = b"Transfer-Encoding: chunked\r\n"
WAIT_S = 15.0


async def exchange(platform: Platform, *sent: bytes, every_s: float = 0.0) -> tuple[list[int], bytes]:
    """Send the pieces; return the statuses and all that came until the server closed."""
    reader, writer = await asyncio.open_connection("127.0.0.1", platform.port)
    try:
        receiving = asyncio.create_task(reader.read(-1))
        for piece in sent:
            if receiving.done():
                break
            writer.write(piece)
            await asyncio.wait([receiving], timeout=every_s)
        async with asyncio.timeout(WAIT_S):
            came = await receiving
    finally:
        writer.close()
    return [int(each) for each in re.findall(rb"HTTP/1\.[01] (\d{3})", came)], came


@pytest.mark.parametrize(
    "head",
    [
        LOGIN + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{} ",
        LOGIN + b"Content-Length: 2, 2\r\n\r\n{}",
        LOGIN + b"Content-Length: +2\r\n\r\n{}",
        LOGIN + b"Content-Length: -1\r\n\r\n{}",
        LOGIN + CHUNKED + CHUNKED.replace(b"chunked", b"identity") + b"\r\n0\r\n\r\n",
        LOGIN + b"Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n",
        LOGIN + b"Transfer-Encoding: identity\r\n\r\n",
        LOGIN + b"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
        LOGIN + b"Transfer-Encoding:\x0bchunked\r\n\r\n0\r\n\r\n",
        LOGIN + CHUNKED + b"\r\nzz\r\n{}\r\n0\r\n\r\n",
        LOGIN + CHUNKED + b"\r\nffffffffffffffff1\r\n{}\r\n0\r\n\r\n",
        LIVE + b"X-Folded: a\r\n b\r\n\r\n",
        LIVE + b"X-Nul: a\0b\r\n\r\n",
        LIVE + b"Host: y\r\n\r\n",
        LIVE.replace(b"Host: x", b"Host: x y/@:") + b"\r\n",
        b"GET /health/live HTTP/3.7\r\nHost: x\r\n\r\n",
        b"GET /health/live\r\n\r\n",
    ],
)
async def test_a_request_that_can_be_read_in_two_ways_is_400_and_the_connection_ends(
    platform: Platform, head: bytes
) -> None:
    statuses, _ = await exchange(platform, head + NEXT)
    assert statuses == [400]


@pytest.mark.parametrize(
    "head",
    [
        LOGIN + b"Content-Length: 5\r\n" + CHUNKED + b"\r\n0\r\n\r\n",
        LOGIN + CHUNKED + b"Content-Length: 5\r\n\r\n0\r\n\r\n",
    ],
)
async def test_nothing_is_smuggled_between_a_length_and_chunks(platform: Platform, head: bytes) -> None:
    """The server reads the chunks and ends the connection, as RFC 9112, section 6.1, allows."""
    statuses, came = await exchange(platform, head + NEXT)
    assert statuses == [400]
    assert b"The body is empty" in came


async def test_too_much_is_refused(platform: Platform) -> None:
    end = b"Connection: close\r\n\r\n"
    params = b"&".join([b"a=1"] * 10_000)
    tried = {
        431: LIVE + b"X-Long: " + b"a" * 65_536 + b"\r\n" + end,
        413: LOGIN + b"Content-Length: 1048577\r\n\r\n" + b" " * 1_048_577,
        400: b"GET /api/v1/products?" + params + b" HTTP/1.1\r\nHost: x\r\n" + end,
        414: b"GET /" + b"a" * 70_000 + b" HTTP/1.1\r\nHost: x\r\n" + end,
        415: LOGIN + b"Content-Encoding: gzip\r\nContent-Length: 2\r\n" + end + b"\x1f\x8b",
    }
    for status, request in tried.items():
        assert (await exchange(platform, request))[0] == [status]
    endless = LOGIN + CHUNKED + b"\r\n" + b"40000\r\n" + b" " * 0x40000 + b"\r\n"
    more = b"40000\r\n" + b" " * 0x40000 + b"\r\n"
    statuses, _ = await exchange(platform, endless, *[more] * 5, every_s=0.05)
    assert statuses == [413]


async def test_1000_idle_connections_keep_nobody_else_waiting(platform: Platform) -> None:
    idle = [await asyncio.open_connection("127.0.0.1", platform.port) for _ in range(1000)]
    try:
        began = time.monotonic()
        for _ in range(20):
            statuses, _ = await exchange(platform, LIVE + b"Connection: close\r\n\r\n")
            assert statuses == [200]
        assert time.monotonic() - began < 5
    finally:
        for _, writer in idle:
            writer.close()


async def test_odd_methods_and_paths_find_nothing(platform: Platform) -> None:
    async def found(line: bytes) -> int:
        request = line + b" HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
        return (await exchange(platform, request))[0][0]

    before = len(platform.log())
    for method in (b"TRACE", b"PROPFIND", b"get", b"A" * 5000):
        assert await found(method + b" /health/live") == 405
    paths: Iterable[bytes] = (
        b"//api/v1/products",
        b"/api//v1/products",
        b"/api/v1/products/",
        b"/api/v1/products/../products",
        b"/api/v1/products/%2e%2e/%2e%2e",
        b"/api/v1/products;a=b",
        b"/API/v1/products",
        b"/api/v1/products/%ff",
        b"/api/v1/products/%ed%a0%80",
        b"/api/v1/products/%00",
        b"/api/v1/products/a%0d%0aX-Evil:%201",
        b"/.env",
        b"/" + b"a" * 60_000,
        b"/a" * 10_000,
        b"*",
    )
    for path in paths:
        assert await found(b"GET " + path) == 404, path[:60]

    def logged() -> str:
        return platform.log()[before:]

    # Lines are written when the event loop next turns, which may be after the answer.
    await until(lambda: '"path":"*"' in logged())
    assert max(len(line) for line in logged().splitlines()) < 6 * MAX_LOGGED_PATH


@pytest.mark.parametrize(
    "header, status",
    [(b"Authorization: Bearer cl\xc3\xa9", 401), (b"X-Tenant-Id: cl\xe9", 404), (b"Host: cl\xe9", 400)],
)
async def test_a_header_that_is_not_ascii_does_not_pass_for_one_that_was_not_sent(
    platform: Platform, header: bytes, status: int
) -> None:
    host = b"" if header.startswith(b"Host") else b"Host: x\r\n"
    head = b"GET /api/v1/products HTTP/1.1\r\n" + host + header + b"\r\nConnection: close\r\n\r\n"
    statuses, _ = await exchange(platform, head)
    assert statuses == [status]
