"""GraphQL over WebSocket on a real server: what clients may do, and how it ends."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest
from gql import Client, gql
from gql.transport.exceptions import TransportQueryError
from gql.transport.websockets import WebsocketsTransport

from mercato.kernel.principal import Role
from mercato.kernel.tenancy import StoreStatus
from mercato.web.limits import Allowance
from tests.clock import FakeClock
from tests.event_stream import event_stream
from tests.frames import BINARY, CLOSE, PING, PONG, TEXT, answer, frames, upgrade
from tests.live_world import World, serving, world
from tests.unit.test_live_feed import encoded, paid, status_changed
from tests.waiting import until

ORDERS = "subscription { orderStatusChanged { id status } }"


@pytest.fixture
async def live() -> AsyncIterator[World]:
    async with serving(world()) as made:
        yield made


async def subscribed(live: World, count: int = 1) -> None:
    await until(lambda: live.metric("mercato_live_subscribers") == count)


@pytest.mark.parametrize(
    "spoken", [None, [WebsocketsTransport.GRAPHQLWS_SUBPROTOCOL], [WebsocketsTransport.APOLLO_SUBPROTOCOL]]
)
async def test_a_third_partys_client_queries_and_subscribes(live: World, spoken: list[str] | None) -> None:
    transport = WebsocketsTransport(
        url=f"ws://127.0.0.1:{live.port}/graphql",
        init_payload={"token": live.tokens.issue("ann")},
        subprotocols=spoken,
    )
    async with Client(transport=transport) as client:
        assert await client.execute(gql("{ whoami store }")) == {
            "whoami": "ann@example.com",
            "store": "shop",
        }
        given = client.subscribe(gql(ORDERS))
        first = asyncio.create_task(anext(given))
        await subscribed(live)
        await live.publish(status_changed("1", "ann"), status_changed("2", "bob"), encode=encoded)
        await live.publish(status_changed("3", "ann", "shipped"), encode=encoded)
        assert await first == {"orderStatusChanged": {"id": "1", "status": "confirmed"}}
        assert await anext(given) == {"orderStatusChanged": {"id": "3", "status": "shipped"}}
        with pytest.raises(TransportQueryError, match="no such field"):
            await client.execute(gql("{ nonsense }"))
        await given.aclose()
        await subscribed(live, 0)
    await until(lambda: len(live.sockets) == 0)
    (line,) = live.told()
    assert (line["user"], line["tenant"], line["status"], line["code"]) == ("ann", "shop", 101, "1000")
    assert (line["route"], line["operations"]) == ("SOCKET /graphql", 3)
    assert line["ms"] > 0
    assert live.metric("mercato_live_operations_total", transport="socket") == 3


@pytest.mark.parametrize(
    "told",
    [
        {"Authorization": "Bearer {}"},
        {"authorization": "{}"},
        {"token": "{}"},
        {"token": "Bearer {}"},
    ],
)
async def test_a_token_is_told_in_any_usual_way(live: World, told: dict[str, str]) -> None:
    token = live.tokens.issue("ann")
    async with frames(live.port, "/query") as client:
        await client.enter(**{name: value.format(token) for name, value in told.items()})
        await client.ask("1", "{ whoami }")
        assert (await client.hear())["payload"]["data"]["whoami"] == "ann@example.com"


async def test_a_token_may_come_with_the_handshake(live: World) -> None:
    async with frames(live.port, Authorization=f"Bearer {live.tokens.issue('ann')}") as client:
        await client.enter()
        await client.ask("1", "{ whoami }")
        assert await client.hear() == {
            "id": "1",
            "type": "next",
            "payload": {"data": {"whoami": "ann@example.com", "store": "shop"}},
        }
        assert await client.hear() == {"id": "1", "type": "complete"}


async def test_nobody_may_ask_for_what_is_public_in_the_store_that_they_name(live: World) -> None:
    async with frames(live.port) as client:
        await client.enter(**{"X-Tenant-Id": "other"})
        await client.ask("1", "{ whoami }")
        assert (await client.hear())["payload"]["data"] == {"whoami": None, "store": "other"}
        assert (await client.hear())["type"] == "complete"
        await client.ask("2", ORDERS)
        refused = await client.hear()
        assert (refused["type"], refused["id"]) == ("error", "2")
        assert refused["payload"][0]["extensions"]["code"] == "UNAUTHORIZED"


@pytest.mark.parametrize("told", [{"token": "forged"}, {"X-Tenant-Id": "nowhere"}, {"token": "a b c"}])
async def test_whoever_may_not_come_in_is_told_so(live: World, told: dict[str, str]) -> None:
    async with frames(live.port) as client:
        await client.say({"type": "connection_init", "payload": told})
        code, reason = await client.closed()
        assert code == 4403
        assert reason
    await until(lambda: [line["code"] for line in live.told()] == ["4403"])


async def test_operations_work_for_their_store_behind_the_second_fence(live: World) -> None:
    async with (
        frames(live.port) as client,
        event_stream(live.port, "{ fence }", live.tokens.issue("ann")) as stream,
    ):
        await client.enter(**{"X-Tenant-Id": "other"})
        await client.ask("1", "{ fence }")
        assert (await client.hear())["payload"]["data"] == {"fence": "other", "passed": True}
        assert (await stream.event())[1]["data"] == {"fence": "shop", "passed": True}


async def test_payments_are_told_as_orders_are(live: World) -> None:
    async with frames(live.port) as client:
        await client.enter(token=live.tokens.issue("ann"))
        await client.ask("p", "subscription { paymentStatusChanged { id } }", orderId="2")
        await subscribed(live)
        await live.publish(paid("1", "ann"), paid("2", "bob"), paid("2", "ann"), encode=encoded)
        told = await client.hear()
        assert told["payload"]["data"] == {
            "paymentStatusChanged": {"id": "payment-of-2", "status": "success"}
        }


async def test_an_operation_that_breaks_is_an_error_without_its_cause(live: World) -> None:
    async with frames(live.port) as client:
        await client.enter()
        await client.ask("1", "{ breaks }")
        assert (await client.hear())["type"] == "next"
        broken = await client.hear()
        assert broken["type"] == "error"
        assert broken["payload"] == [
            {"message": "Something went wrong on our side.", "extensions": {"code": "INTERNAL_ERROR"}}
        ]
        await client.ask("1", "{ whoami }")
        assert (await client.hear())["type"] == "next"


async def test_a_token_that_expires_ends_the_socket_when_it_does(live: World) -> None:
    async with frames(live.port) as client:
        await client.enter(token=live.tokens.issue("ann", lasting=timedelta(seconds=4)))
        await client.ask("1", ORDERS)
        await subscribed(live)
        assert (await client.closed())[0] == 4403
    await subscribed(live, 0)


async def test_a_user_who_is_cut_hears_nothing_more(live: World) -> None:
    async with frames(live.port) as client, frames(live.port) as other:
        await client.enter(token=live.tokens.issue("ann"))
        await other.enter(token=live.tokens.issue("adam", Role.ADMIN))
        await client.ask("1", ORDERS)
        await other.ask("1", ORDERS)
        await subscribed(live, 2)
        live.tokens.cut.add("ann")
        await live.publish(status_changed("1", "ann"), encode=encoded)
        assert (await client.closed())[0] == 4403
        assert (await other.hear())["type"] == "next"


async def test_a_store_that_is_suspended_ends_its_sockets(live: World) -> None:
    async with frames(live.port) as client:
        await client.enter(token=live.tokens.issue("ann"))
        live.statuses["shop"] = StoreStatus.SUSPENDED
        code, reason = await client.closed()
        assert (code, reason) == (4403, "This store is suspended.")


async def test_each_operation_counts_against_the_limits() -> None:
    # Its clock stands still: nothing is allowed again meanwhile.
    held = world(rate=Allowance(per_s=1, burst=2), clock=FakeClock())
    async with serving(held) as live, frames(live.port) as client:
        await client.enter(token=live.tokens.issue("ann"))
        kinds = []
        for number in "123":
            await client.ask(number, "{ whoami }")
            told = await client.hear()
            kinds.append(told["type"])
            if told["type"] == "next":
                assert (await client.hear())["type"] == "complete"
        assert kinds == ["next", "next", "error"]
        assert told["payload"][0]["extensions"]["code"] == "RATE_LIMIT_EXCEEDED"
        assert told["payload"][0]["extensions"]["retryAfter"] >= 1


async def test_sockets_are_limited_by_address_and_in_all_and_come_free_again() -> None:
    async with serving(world(sockets=3, address_sockets=2)) as live:
        async with frames(live.port), frames(live.port):
            assert await answer(await upgrade(live.port)) == (429, "RATE_LIMIT_EXCEEDED")
        await until(lambda: len(live.sockets) == 0)
        async with frames(live.port) as client:
            await client.enter()


@pytest.mark.parametrize(
    "headers, status, code",
    [
        ({"Sec-WebSocket-Version": "8"}, 400, "BAD_REQUEST"),
        ({"Sec-WebSocket-Version": None}, 400, "BAD_REQUEST"),
        ({"Sec-WebSocket-Key": None}, 400, "BAD_REQUEST"),
        ({"Sec-WebSocket-Key": "short"}, 400, "BAD_REQUEST"),
        ({"Sec-WebSocket-Protocol": None}, 400, "BAD_REQUEST"),
        ({"Sec-WebSocket-Protocol": "soap"}, 400, "BAD_REQUEST"),
        ({"Origin": "https://evil.example"}, 403, "FORBIDDEN"),
        ({"Origin": "null"}, 403, "FORBIDDEN"),
        ({"Host": "a, b"}, 400, "BAD_REQUEST"),
        ({"X-Long": 33_000 * "x"}, 431, "HEADERS_TOO_LARGE"),
    ],
)
async def test_a_handshake_that_is_not_good_is_answered_as_a_request(
    live: World, headers: dict[str, str | None], status: int, code: str
) -> None:
    client = await upgrade(live.port, headers=headers)
    assert await answer(client) == (status, code)
    if status == 400:
        assert "sec-websocket-version: 13" in client.head
    await until(lambda: [line["status"] for line in live.told()] == [status])
    assert (
        live.metric("mercato_http_requests_total", route="SOCKET /graphql", status=str(status), code=code)
        == 1
    )


async def test_pages_of_the_same_and_of_listed_origins_are_let_in(live: World) -> None:
    for origin in (f"http://127.0.0.1:{live.port}", "https://shop.example"):
        async with frames(live.port, Origin=origin) as client:
            await client.enter()
    async with frames(live.port, **{"Sec-WebSocket-Protocol": "other, graphql-transport-ws"}) as client:
        assert "sec-websocket-protocol: graphql-transport-ws" in client.head
        await client.enter()


async def test_anywhere_else_the_wish_for_a_socket_is_ignored(live: World) -> None:
    assert await answer(await upgrade(live.port, "/nowhere")) == (404, "NOT_FOUND")
    plain = await upgrade(live.port, "/nowhere", {"Upgrade": "h2c"})
    assert await answer(plain) == (404, "NOT_FOUND")


async def test_a_stop_ends_sockets_with_going_away_and_lets_nobody_in(live: World) -> None:
    async with frames(live.port) as client, frames(live.port) as fresh:
        await client.enter(token=live.tokens.issue("ann"))
        await client.ask("1", ORDERS)
        await client.ask("2", "{ never }")
        await subscribed(live)
        closing = asyncio.create_task(live.sockets.close(within_s=10))
        assert await client.closed() == (1001, "The process is stopping.")
        assert (await fresh.closed())[0] == 1001
        await closing
        assert live.stand_in.running == 0
        assert await answer(await upgrade(live.port)) == (503, "SERVICE_UNAVAILABLE")


async def test_a_client_that_does_not_agree_to_the_end_is_cut_off(live: World) -> None:
    async with frames(live.port) as client:
        await client.enter()
        async with asyncio.timeout(8):
            await live.sockets.close(within_s=10)
        assert (await client.frame())[0] == CLOSE
        assert await client.reader.read() == b""


async def test_pings_are_answered_and_asked(live: World) -> None:
    async with serving(world(socket_ping=1.0)) as pinging, frames(pinging.port) as client:
        await client.send(PING, b"are you there")
        assert await client.frame() == (PONG, b"are you there")
        await client.say({"type": "ping"})
        assert await client.hear() == {"type": "pong"}
        assert (await client.frame())[0] == PING
        await client.send(PONG)
        assert (await client.frame())[0] == PING
        # This time it is not answered: such a client is gone.
        async with asyncio.timeout(5):
            assert await client.reader.read() == b""
        await until(lambda: [line["code"] for line in pinging.told()] == ["1006"])


async def test_a_client_that_is_gone_leaves_nothing_behind(live: World) -> None:
    async with frames(live.port) as client:
        await client.enter(token=live.tokens.issue("ann"))
        await client.ask("1", ORDERS)
        await client.ask("2", "{ never }")
        await subscribed(live)
        client.writer.transport.abort()
    await subscribed(live, 0)
    await until(lambda: live.stand_in.running == 0 and len(live.sockets) == 0)
    assert [line["code"] for line in live.told()] == ["1006"]


async def test_a_client_closes_an_operation_or_the_socket(live: World) -> None:
    async with frames(live.port) as client:
        await client.enter(token=live.tokens.issue("ann"))
        await client.ask("1", ORDERS)
        await subscribed(live)
        await client.say({"type": "complete", "id": "1"})
        await subscribed(live, 0)
        await client.ask("1", "{ whoami }")
        assert (await client.hear())["type"] == "next"
        assert (await client.hear())["type"] == "complete"
        await client.send(CLOSE, (1000).to_bytes(2, "big"))
        assert await client.frame() == (CLOSE, (1000).to_bytes(2, "big"))
        assert await client.reader.read() == b""


async def test_a_message_in_fragments_is_one_message(live: World) -> None:
    async with frames(live.port) as client:
        await client.send(TEXT, b'{"type":', fin=False)
        await client.send(PING, b"between")
        for _ in range(100):
            await client.send(0, b"", fin=False)
        await client.send(0, b'"connection_init"}')
        assert (await client.frame())[0] == PONG
        assert await client.hear() == {"type": "connection_ack"}
        await client.send(BINARY, b"{}")
        assert (await client.closed())[0] == 4400
