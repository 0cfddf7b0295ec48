"""Clients that are slow on purpose, and bodies that never end: each is cut off, and all others are served."""

import asyncio
import re
import time
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import psutil

from tests.running import Platform, Shopper, open_store

LOGIN = b"POST /api/v1/users/login HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
LIVE = b"GET /health/live HTTP/1.1\r\nHost: x\r\n"
CHUNKED = b"Transfer-Encoding: chunked\r\n\r\n"
LONGEST_S = 60.0
"""A loaded machine may take its time; what is promised is half of it."""
HUGE = 1 << 30
MOST_MORE_MB = 96


@dataclass
class Ended:
    """What became of a connection: the statuses that came, and how much was sent until it ended."""

    statuses: list[int]
    sent: int
    seconds: float


async def sending(platform: Platform, head: bytes, pieces: AsyncIterator[bytes]) -> Ended:
    """Send a head and then pieces, until the server has ended the connection."""
    began, sent, came = time.monotonic(), 0, b""
    reader, writer = await asyncio.open_connection("127.0.0.1", platform.port)
    receiving = asyncio.create_task(reader.read(-1))
    try:
        async with asyncio.timeout(LONGEST_S):
            writer.write(head)
            async for piece in pieces:
                if receiving.done():
                    break
                writer.write(piece)
                sent += len(piece)
                await writer.drain()
            came = await receiving
    except ConnectionError:
        # It was ended while something was on its way; what had come before may be lost.
        came = receiving.result() if receiving.done() and receiving.exception() is None else b""
    finally:
        receiving.cancel()
        writer.close()
    return Ended(
        [int(each) for each in re.findall(rb"HTTP/1\.1 (\d{3})", came)], sent, time.monotonic() - began
    )


async def trickle(piece: bytes) -> AsyncIterator[bytes]:
    while True:
        await asyncio.sleep(1)
        yield piece


async def nothing() -> AsyncIterator[bytes]:
    pieces: tuple[bytes, ...] = ()
    for piece in pieces:
        yield piece


async def endless(piece: bytes, times: int | None = None) -> AsyncIterator[bytes]:
    for _ in range(times or HUGE // len(piece)):
        yield piece


def memory_mb(platform: Platform) -> float:
    assert platform.process is not None
    parent = psutil.Process(platform.process.pid)
    return sum(each.memory_info().rss for each in [parent, *parent.children(recursive=True)]) / 1e6


async def goes_on(shop: Shopper, path: str, until_done: "asyncio.Future[Any]") -> int:
    """Ask for a page again and again while something else goes on; return how often it was answered."""
    asked = 0
    while not until_done.done():
        assert (await shop.get(path)).status == 200
        asked += 1
        await asyncio.sleep(0.05)
    return asked


async def test_slow_senders_are_cut_off_in_time_and_keep_nobody_else_waiting(
    platform: Platform,
) -> None:
    """500 that send their heads slowly, 50 their bodies; and some that say nothing at all."""
    store = await open_store(platform, "slow")
    whole = LOGIN + b"Content-Length: 1000\r\n\r\n{"
    upload = (
        b"POST /api/v1/products/import HTTP/1.1\r\nHost: x\r\nContent-Type: text/csv\r\n"
        b"Authorization: Bearer " + store.admin.encode() + b"\r\n" + CHUNKED
    )
    slow: dict[str, list[Awaitable[Ended]]] = {
        "heads": [sending(platform, LIVE, trickle(b"X-A: b\r\n")) for _ in range(500)],
        "silent": [sending(platform, b"", nothing())],
        "silent after an answer": [sending(platform, LIVE + b"\r\n", nothing())],
        "bodies": [sending(platform, whole, trickle(b" ")) for _ in range(25)],
        "chunks": [sending(platform, LOGIN + CHUNKED, trickle(b"1\r\n \r\n")) for _ in range(25)],
        "uploads": [sending(platform, upload + b"9\r\nsku,name,\r\n", trickle(b"1\r\np\r\n"))],
    }
    all_of_it = asyncio.gather(*(asyncio.gather(*each) for each in slow.values()))
    async with platform.client(store.customer) as shop:
        asked = await goes_on(shop, "/api/v1/orders", all_of_it)
    assert asked > 20
    ended = dict(zip(slow, await all_of_it, strict=True))

    for what in ("heads", "silent"):
        assert {tuple(each.statuses) for each in ended[what]} == {()}, what
    assert [each.statuses for each in ended["silent after an answer"]] == [[200]]
    for what in ("bodies", "chunks", "uploads"):
        assert {tuple(each.statuses) for each in ended[what]} == {(400,)}, what
    # 10 s and 20 s, and what a loaded machine takes longer.
    assert max(each.seconds for each in ended["heads"]) < 25
    assert max(each.seconds for what in ended.values() for each in what) < 45


async def test_a_body_of_a_gigabyte_is_refused_without_being_read_or_kept(
    platform: Platform,
) -> None:
    store = await open_store(platform, "huge")
    piece = b" " * (1 << 18)
    in_chunks = b"%x\r\n%s\r\n" % (len(piece), piece)
    before = memory_mb(platform)
    bomb = zlib.compress(bytes(256 << 20), level=9, wbits=31)
    packed = LOGIN + b"Connection: close\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(bomb)
    bodies: list[Callable[[], Awaitable[Ended]]] = [
        lambda: sending(platform, LOGIN + b"Content-Length: %d\r\n\r\n" % HUGE, endless(piece)),
        lambda: sending(platform, LOGIN + CHUNKED, endless(in_chunks)),
    ]
    all_of_it = asyncio.gather(*(body() for body in bodies * 3))
    async with platform.client(store.customer) as shop:
        await goes_on(shop, "/api/v1/orders", all_of_it)
        # What would be 256 MiB unpacked is not unpacked.
        assert (await sending(platform, packed, endless(bomb, 1))).statuses == [415]
    for each in await all_of_it:
        assert each.statuses in ([413], []), "the refusal may be lost in the connection's end"
        assert each.sent < HUGE / 8
    assert memory_mb(platform) < before + MOST_MORE_MB
