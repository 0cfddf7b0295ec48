"""GraphQL over Server-Sent Events on a real server."""

import asyncio
import socket
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest

from mercato.kernel.principal import Role
from mercato.web import rsgi_live
from tests.event_stream import event_stream
from tests.frames import frames
from tests.live_stand_in import FLOOD_BYTES
from tests.live_world import World, serving, world
from tests.unit.test_live_feed import encoded, status_changed
from tests.waiting import until

ORDERS = "subscription { orderStatusChanged { id status } }"


@pytest.fixture
async def live() -> AsyncIterator[World]:
    async with serving(world()) as made:
        yield made
        await until(lambda: made.stand_in.running == 0)


async def subscribed(live: World, count: int = 1) -> None:
    await until(lambda: live.metric("mercato_live_subscribers") == count)


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_events_of_a_subscription_are_told_as_they_happen(live: World, method: str) -> None:
    token = live.tokens.issue("ann")
    async with event_stream(live.port, ORDERS, token, method=method) as stream:
        assert stream.status == 200
        assert stream.headers["content-type"] == "text/event-stream"
        assert stream.headers["cache-control"] == "no-store"
        await subscribed(live)
        await live.publish(status_changed("2", "bob"), status_changed("1", "ann"), encode=encoded)
        assert await stream.event() == (
            "next",
            {"data": {"orderStatusChanged": {"id": "1", "status": "confirmed"}}},
        )
        await live.publish(status_changed("1", "ann", "shipped"), encode=encoded)
        assert (await stream.event())[1]["data"]["orderStatusChanged"]["status"] == "shipped"
    await subscribed(live, 0)


async def test_a_query_is_answered_once(live: World) -> None:
    async with event_stream(live.port, "{ whoami }", live.tokens.issue("ann")) as stream:
        assert await stream.event() == ("next", {"data": {"whoami": "ann@example.com", "store": "shop"}})
        assert await stream.ended() == "event: complete\ndata:\n\n"


async def test_what_is_not_carried_out_is_told_as_an_event(live: World) -> None:
    async with event_stream(live.port, "{ nonsense }") as stream:
        name, told = await stream.event()
        assert (name, told["errors"][0]["extensions"]["code"]) == ("next", "GRAPHQL_VALIDATION_FAILED")
        assert (await stream.event())[0] == "complete"
    async with event_stream(live.port, ORDERS) as stream:
        assert (await stream.event())[1]["errors"][0]["extensions"]["code"] == "UNAUTHORIZED"
        assert (await stream.event())[0] == "complete"
    async with event_stream(live.port, "{ breaks }") as stream:
        assert await stream.event() == ("next", {"data": {"breaks": 1}})
        broken = (await stream.event())[1]["errors"]
        assert broken == [
            {"message": "Something went wrong on our side.", "extensions": {"code": "INTERNAL_ERROR"}}
        ]
        assert (await stream.event())[0] == "complete"


async def test_a_token_that_is_no_good_is_a_plain_401(live: World) -> None:
    async with event_stream(live.port, ORDERS, "forged") as stream:
        assert stream.status == 401
        assert (await stream.body())["error"]["code"] == "UNAUTHORIZED"


async def test_silence_is_broken_and_a_client_that_is_gone_is_noticed_at_once(
    live: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live.live.streams, "_keep_alive_s", 0.1)
    async with event_stream(live.port, ORDERS, live.tokens.issue("ann")) as stream:
        await stream.silence()
        await stream.silence()
        await stream.silence()
        await subscribed(live)
    await subscribed(live, 0)


async def test_a_stream_ends_with_its_token_and_says_why(live: World) -> None:
    token = live.tokens.issue("ann", lasting=timedelta(seconds=4))
    async with event_stream(live.port, ORDERS, token) as stream:
        name, told = await stream.event()
        assert (name, told["errors"][0]["extensions"]["code"]) == ("next", "UNAUTHORIZED")
        assert await stream.ended() == "event: complete\ndata:\n\n"
    await subscribed(live, 0)


async def test_a_user_who_is_cut_hears_nothing_more(live: World) -> None:
    ann, adam = live.tokens.issue("ann"), live.tokens.issue("adam", Role.ADMIN)
    async with event_stream(live.port, ORDERS, ann) as cut, event_stream(live.port, ORDERS, adam) as other:
        await subscribed(live, 2)
        live.tokens.cut.add("ann")
        await live.publish(status_changed("1", "ann"), encode=encoded)
        assert (await cut.event())[1]["errors"][0]["extensions"]["code"] == "UNAUTHORIZED"
        assert (await other.event())[1]["data"]["orderStatusChanged"]["id"] == "1"


async def test_a_stop_ends_streams_without_saying_that_they_are_complete(live: World) -> None:
    async with event_stream(live.port, ORDERS, live.tokens.issue("ann")) as stream:
        await subscribed(live)
        await live.sockets.close(within_s=5)
        assert "complete" not in await stream.ended()
    async with asyncio.timeout(20):
        await live.shell.under_way.drained()
    await subscribed(live, 0)


async def test_streams_and_sockets_have_their_places_together() -> None:
    async with serving(world(address_sockets=2)) as live:
        async with (
            frames(live.port),
            event_stream(live.port, "{ never }"),
            event_stream(live.port, "{ never }") as third,
        ):
            assert third.status == 429
            assert (await third.body())["error"]["code"] == "RATE_LIMIT_EXCEEDED"
            assert third.headers["retry-after"] == "5"
        await until(lambda: live.stand_in.running == 0 and len(live.sockets) == 0)
        async with event_stream(live.port, "{ whoami }") as again:
            assert (await again.event())[0] == "next"


async def test_little_waits_for_a_client_that_reads_nothing_and_it_is_cut_off(
    live: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rsgi_live, "ROOM_S", 0.5)
    async with event_stream(live.port, "subscription { flood }") as stream:
        sock = stream.writer.transport.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        stream.writer.transport.pause_reading()  # type: ignore[attr-defined]  # it reads
        await until(lambda: live.stand_in.running == 1)
        await until(lambda: live.stand_in.running == 0)
        # The system's buffers are full, and no more was made.
        assert 0 < live.stand_in.poured * FLOOD_BYTES < 16 * 1024 * 1024
