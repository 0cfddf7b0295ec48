"""What clients of sockets send that no good one would, and what comes of it: a code, and bounded memory."""

import asyncio
import socket
from collections.abc import AsyncIterator

import pytest

from mercato.gateway.live.connection import LiveTerms
from mercato.runtime.live import MAX_MESSAGE
from mercato.web.sockets import SocketTerms
from tests.frames import BINARY, CLOSE, PING, TEXT, Frames, frames, leave, upgrade
from tests.live_stand_in import FLOOD_BYTES
from tests.live_world import World, serving, world
from tests.unit.test_live_feed import encoded, status_changed
from tests.waiting import until

ORDERS = "subscription { orderStatusChanged { id status } }"
KERNEL_BYTES = 16 * 1024 * 1024
"""More than the system keeps of what a client does not read."""


@pytest.fixture
async def live() -> AsyncIterator[World]:
    async with serving(world()) as made:
        yield made
        await until(lambda: len(made.sockets) == 0)
        assert made.stand_in.running == 0


@pytest.fixture
async def client(live: World) -> AsyncIterator[Frames]:
    async with frames(live.port) as made:
        yield made


@pytest.mark.parametrize(
    "text",
    [b"", b"{", b"null", b"{}", b'{"type":"nonsense"}', b'{"type":"subscribe"}', b'{"type":"next","id":"1"}'],
)
async def test_what_is_no_message_closes_with_4400(client: Frames, text: bytes) -> None:
    await client.enter()
    await client.send(TEXT, text)
    code, reason = await client.closed()
    assert code == 4400
    assert reason


async def test_bytes_close_with_4400(client: Frames) -> None:
    await client.send(BINARY, b'{"type":"connection_init"}')
    assert (await client.closed())[0] == 4400


async def test_two_initialisations_close_with_4429(client: Frames) -> None:
    await client.enter()
    await client.say({"type": "connection_init"})
    assert await client.closed() == (4429, "Too many initialisation requests")


async def test_asking_before_coming_in_closes_with_4401(client: Frames) -> None:
    await client.ask("1", "{ whoami }")
    assert await client.closed() == (4401, "Unauthorized")


async def test_an_id_in_use_closes_with_4409(live: World, client: Frames) -> None:
    await client.enter()
    await client.ask("mine", "{ never }")
    await client.ask("mine", "{ never }")
    assert await client.closed() == (4409, "Subscriber for mine already exists")


async def test_a_client_that_never_says_who_it_is_is_closed_with_4408() -> None:
    async with (
        serving(world(terms=LiveTerms(init_s=0.1, check_s=0.05))) as live,
        frames(live.port) as silent,
        frames(live.port) as talking,
    ):
        await talking.send(PING, b"")
        assert await silent.closed() == (4408, "Connection initialisation timeout")
        assert (await talking.closed())[0] == 4408


@pytest.mark.parametrize("size", [MAX_MESSAGE + 1, 70 * 1024 * 1024, 1 << 62])
async def test_a_message_that_is_too_long_closes_with_1009_before_it_has_come(
    client: Frames, size: int
) -> None:
    client.writer.write(bytes([0x81, 0x80 | 127]) + size.to_bytes(8, "big") + b"\0\0\0\0" + b"{")
    assert (await client.closed())[0] == 1009


async def test_many_fragments_are_one_message_that_may_be_too_long(client: Frames) -> None:
    await client.send(TEXT, b'{"type":"ping","payload":{"a":"', fin=False)
    for _ in range(MAX_MESSAGE // 1024 + 1):
        await client.send(0, 1024 * b"x", fin=False)
    assert (await client.closed())[0] == 1009


@pytest.mark.parametrize(
    "raw, code",
    [
        (b"\x81\x02{}", 1002),  # not masked
        (b"\xc1\x80\0\0\0\0", 1002),  # a reserved bit
        (b"\x83\x80\0\0\0\0", 1002),  # an opcode that is none
        (b"\x80\x80\0\0\0\0", 1002),  # the rest of nothing
        (b"\x09\x80\0\0\0\0", 1002),  # a ping in fragments
        (b"\x89\xfe\x00\x7e\0\0\0\0" + 126 * b"x", 1002),  # a ping that is too long
        (b"\x88\x81\0\0\0\0x", 1002),  # half a code
        (b"\x88\x82\0\0\0\0\x00\x01", 1002),  # a code that is none
        (b"\x81\x82\0\0\0\0\xff\xfe", 1007),  # no UTF-8
    ],
)
async def test_frames_that_are_none_close_as_the_standard_says(client: Frames, raw: bytes, code: int) -> None:
    await client.enter()
    client.writer.write(raw)
    assert (await client.closed())[0] == code


async def test_a_thousand_operations_are_refused_beyond_the_most_and_end_with_the_socket(live: World) -> None:
    async with frames(live.port) as client:
        await client.enter(token=live.tokens.issue("ann"))
        for number in range(1_000):
            await client.ask(str(number), ORDERS)
        refused = [await client.hear() for _ in range(950)]
        assert {told["payload"][0]["extensions"]["code"] for told in refused} == {"TOO_MANY_OPERATIONS"}
        assert live.metric("mercato_live_subscribers") == 50
        await client.say({"type": "complete", "id": "0"})
        await client.ask("more", "{ whoami }")
        assert (await client.hear())["payload"]["data"]["whoami"] == "ann@example.com"
    await until(lambda: live.metric("mercato_live_subscribers") == 0)


async def test_operations_that_are_begun_and_ended_at_once_leave_nothing(live: World, client: Frames) -> None:
    await client.enter(token=live.tokens.issue("ann"))
    for _ in range(500):
        await client.ask("1", ORDERS)
        await client.say({"type": "complete", "id": "1"})
    await client.ask("last", "{ whoami }")
    assert (await client.hear())["id"] == "last"
    assert live.metric("mercato_live_subscribers") == 0


async def test_a_client_that_reads_nothing_is_cut_off_and_little_waits_for_it() -> None:
    async with serving(world(socket_terms=SocketTerms(send_s=0.5))) as live:
        async with frames(live.port) as client, frames(live.port) as other:
            client.writer.transport.get_extra_info("socket").setsockopt(
                socket.SOL_SOCKET, socket.SO_RCVBUF, 4096
            )
            await client.enter(token=live.tokens.issue("ann"))
            await other.enter(token=live.tokens.issue("adam"))
            client.writer.transport.pause_reading()  # type: ignore[attr-defined]  # it reads
            await client.ask("1", "subscription { flood }")
            await until(lambda: len(live.sockets) == 1)
            assert live.stand_in.poured * FLOOD_BYTES < KERNEL_BYTES
            # Others notice nothing.
            await other.ask("1", "{ whoami }")
            assert (await other.hear())["type"] == "next"
        await until(lambda: live.stand_in.running == 0)
        assert next(line["code"] for line in live.told()) == "1006"


async def test_events_for_a_client_that_reads_nothing_are_bounded_and_its_subscription_is_dropped() -> None:
    async with serving(world(socket_terms=SocketTerms(send_s=5))) as live, frames(live.port) as client:
        await client.enter(token=live.tokens.issue("ann"))
        client.writer.transport.pause_reading()  # type: ignore[attr-defined]  # it reads
        await client.ask("orders", ORDERS)
        await until(lambda: live.metric("mercato_live_subscribers") == 1)
        await client.ask("flood", "subscription { flood }")
        poured = 0

        async def stands_still() -> bool:
            nonlocal poured
            before, poured = poured, live.stand_in.poured
            await asyncio.sleep(0.05)
            return poured > 0 and before == poured == live.stand_in.poured

        await until(stands_still)
        for number in range(102):
            await live.publish(status_changed(str(number), "ann"), encode=encoded)
        assert live.metric("mercato_live_dropped_total") == 1
        await until(lambda: len(live.sockets) == 0)
        assert live.metric("mercato_live_subscribers") == 0


async def test_pings_of_a_client_that_reads_nothing_are_not_answered_without_bound(live: World) -> None:
    async with frames(live.port) as client:
        client.writer.transport.pause_reading()  # type: ignore[attr-defined]  # it reads
        ping = bytes([0x80 | PING, 0x80 | 125]) + b"\0\0\0\0" + 125 * b"x"
        client.writer.transport.set_write_buffer_limits(high=0)
        sent = 0
        try:
            async with asyncio.timeout(20):
                while sent < 4 * KERNEL_BYTES:
                    client.writer.write(2_000 * ping)
                    sent += 2_000 * len(ping)
                    async with asyncio.timeout(1):
                        await client.writer.drain()
        except TimeoutError:
            pass
        # The server has stopped reading: the system's buffers are full, both ways.
        assert sent < 2 * KERNEL_BYTES
        client.writer.transport.abort()


async def test_what_comes_with_the_handshake_is_nobodys(live: World) -> None:
    """A client has to wait for the answer. One that does not harms nobody but itself."""
    reader, writer = await asyncio.open_connection("127.0.0.1", live.port)
    key = "dGhlIHNhbXBsZSBub25jZQ=="
    writer.write(
        (
            f"GET /graphql HTTP/1.1\r\nHost: 127.0.0.1:{live.port}\r\nUpgrade: websocket\r\n"
            f"Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n"
            "Sec-WebSocket-Protocol: graphql-transport-ws\r\n\r\n"
        ).encode()
        + b"GET /admin HTTP/1.1\r\nHost: a\r\n\r\n"
    )
    head = (await reader.readuntil(b"\r\n\r\n")).decode()
    assert head.startswith("HTTP/1.1 101 ")
    client = Frames(reader, writer, head)
    await client.enter()
    await leave(writer)


async def test_many_sockets_come_and_go_among_requests(live: World) -> None:
    async def one(number: int) -> None:
        for _ in range(5):
            async with frames(live.port) as client:
                await client.enter(token=live.tokens.issue(f"user-{number}"))
                await client.ask("1", "{ whoami }")
                told = await client.hear()
                assert told["payload"]["data"]["whoami"] == f"user-{number}@example.com"
                plain = await upgrade(live.port, "/nowhere", {"Upgrade": None})
                assert plain.head.startswith("HTTP/1.1 404 ")
                await leave(plain.writer)

    await asyncio.gather(*(one(number) for number in range(40)))
    await until(lambda: len(live.sockets) == 0)
    assert len(live.told()) == 200


async def test_a_socket_that_is_half_closed_is_gone(live: World, client: Frames) -> None:
    await client.enter()
    await client.ask("1", "{ never }")
    client.writer.write_eof()
    async with asyncio.timeout(20):
        while await client.reader.read(1024):
            pass
    await until(lambda: len(live.sockets) == 0)


async def test_a_client_that_goes_on_talking_after_the_end_is_not_heard(live: World, client: Frames) -> None:
    await client.enter()
    await client.send(CLOSE, b"\x03\xe8")
    await client.ask("1", "{ never }")
    assert (await client.frame())[0] == CLOSE
    await until(lambda: len(live.sockets) == 0)
    assert live.stand_in.running == 0
