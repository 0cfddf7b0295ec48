"""Sockets over ASGI, as servers other than ours offer them."""

import asyncio
from collections.abc import AsyncIterator, MutableMapping
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest

from mercato.runtime.live import MAX_MESSAGE
from mercato.web.asgi import AsgiApp
from tests.live_world import World, world

Message = MutableMapping[str, Any]


class Socket:
    """A server and its client, as an application sees them."""

    def __init__(self) -> None:
        self.incoming: asyncio.Queue[Message] = asyncio.Queue()
        self.outgoing: asyncio.Queue[Message] = asyncio.Queue()
        self.incoming.put_nowait({"type": "websocket.connect"})

    def say(self, message: object) -> None:
        self.incoming.put_nowait({"type": "websocket.receive", "text": msgspec.json.encode(message).decode()})

    async def heard(self) -> Message:
        async with asyncio.timeout(5):
            return await self.outgoing.get()

    async def message(self) -> Any:
        told = await self.heard()
        assert told["type"] == "websocket.send", told
        return msgspec.json.decode(told["text"])


@pytest.fixture
def live() -> World:
    return world()


@asynccontextmanager
async def opened(live: World, path: str = "/graphql", **changed: Any) -> AsyncIterator[Socket]:
    socket = Socket()
    headers = {
        "host": "shop.example",
        "upgrade": "websocket",
        "connection": "Upgrade",
        "sec-websocket-version": "13",
        "sec-websocket-key": "dGhlIHNhbXBsZSBub25jZQ==",
        "sec-websocket-protocol": "graphql-transport-ws",
        **changed.pop("headers", {}),
    }
    scope = {
        "type": "websocket",
        "path": path,
        "query_string": b"",
        "scheme": "ws",
        "client": ("192.0.2.7", 1234),
        "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
        **changed,
    }
    app = AsgiApp(live.shell, live.sockets)
    running = asyncio.create_task(app(scope, socket.incoming.get, socket.outgoing.put))
    yield socket
    socket.incoming.put_nowait({"type": "websocket.disconnect", "code": 1001})
    async with asyncio.timeout(5):
        await running
    assert len(live.sockets) == 0


async def test_a_client_comes_in_asks_and_goes(live: World) -> None:
    async with opened(live) as socket:
        assert await socket.heard() == {"type": "websocket.accept", "subprotocol": "graphql-transport-ws"}
        socket.say({"type": "connection_init", "payload": {"token": live.tokens.issue("ann")}})
        assert await socket.message() == {"type": "connection_ack"}
        socket.say({"id": "1", "type": "subscribe", "payload": {"query": "{ whoami }"}})
        assert (await socket.message())["payload"]["data"]["whoami"] == "ann@example.com"
        assert (await socket.message())["type"] == "complete"
    assert [line["code"] for line in live.told()] == ["1001"]


async def test_what_closes_a_socket_closes_it_with_its_code(live: World) -> None:
    async with opened(live) as socket:
        await socket.heard()
        socket.say({"type": "subscribe", "id": "1", "payload": {"query": "{ whoami }"}})
        assert await socket.heard() == {"type": "websocket.close", "code": 4401, "reason": "Unauthorized"}
    async with opened(live) as socket:
        await socket.heard()
        socket.incoming.put_nowait({"type": "websocket.receive", "text": (MAX_MESSAGE + 1) * "x"})
        assert (await socket.heard())["code"] == 1009
    async with opened(live) as socket:
        await socket.heard()
        socket.incoming.put_nowait({"type": "websocket.receive", "bytes": b"{}"})
        assert (await socket.heard())["code"] == 4400
    async with opened(live) as socket:
        await socket.heard()
        await live.sockets.close(within_s=5)
        assert (await socket.heard())["code"] == 1001


async def test_whoever_may_not_come_in_is_answered_where_the_server_can_say_it(live: World) -> None:
    evil = {"origin": "https://evil.example"}
    async with opened(live, headers=evil, extensions={"websocket.http.response": {}}) as socket:
        start = await socket.heard()
        assert (start["type"], start["status"]) == ("websocket.http.response.start", 403)
        body = await socket.heard()
        assert body["type"] == "websocket.http.response.body"
        assert msgspec.json.decode(body["body"])["error"]["code"] == "FORBIDDEN"
    async with opened(live, headers=evil) as socket:
        assert (await socket.heard())["type"] == "websocket.close"
    async with opened(live, "/nowhere") as socket:
        assert (await socket.heard())["type"] == "websocket.close"
