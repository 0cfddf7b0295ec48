"""A client of WebSockets that sends what no library would, byte by byte."""

import asyncio
import struct
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import msgspec

TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10
WITHIN_S = 10.0
PROTOCOL = "graphql-transport-ws"


@dataclass
class Frames:
    """One connection that was upgraded."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    head: str
    within_s: float = WITHIN_S
    """How long it waits for the other side."""

    async def send(self, opcode: int, payload: bytes = b"", *, fin: bool = True, masked: bool = True) -> None:
        """Send one frame."""
        first = opcode | (0x80 if fin else 0)
        mask = 0x80 if masked else 0
        size = len(payload)
        if size < 126:
            head = struct.pack("!BB", first, mask | size)
        elif size < 65_536:
            head = struct.pack("!BBH", first, mask | 126, size)
        else:
            head = struct.pack("!BBQ", first, mask | 127, size)
        # A mask of zeros is one, too.
        self.writer.write(head + (b"\0\0\0\0" if masked else b"") + payload)
        await self.writer.drain()

    async def say(self, message: object) -> None:
        """Send a message, as JSON."""
        await self.send(TEXT, msgspec.json.encode(message))

    async def frame(self) -> tuple[int, bytes]:
        """Return the next frame."""
        async with asyncio.timeout(self.within_s):
            first, size = await self.reader.readexactly(2)
            if size == 126:
                (size,) = struct.unpack("!H", await self.reader.readexactly(2))
            elif size == 127:
                (size,) = struct.unpack("!Q", await self.reader.readexactly(8))
            return first & 0x0F, await self.reader.readexactly(size)

    async def hear(self) -> Any:
        """Return the next message. Pings are answered, as by any client."""
        while True:
            opcode, payload = await self.frame()
            if opcode == PING:
                await self.send(PONG, payload)
                continue
            assert opcode == TEXT, (opcode, payload)
            return msgspec.json.decode(payload)

    async def closed(self) -> tuple[int, str]:
        """Read until the server closes the socket; return the code and the reason. The connection ends."""
        while True:
            opcode, payload = await self.frame()
            if opcode == CLOSE:
                await self.send(CLOSE, payload)
                async with asyncio.timeout(self.within_s):
                    assert await self.reader.read() == b""
                return struct.unpack("!H", payload[:2])[0], payload[2:].decode()

    async def enter(self, **told: object) -> None:
        """Say who it is, and be let in."""
        await self.say({"type": "connection_init", **({"payload": told} if told else {})})
        assert await self.hear() == {"type": "connection_ack"}

    async def ask(self, number: str, query: str, **variables: object) -> None:
        """Ask for an operation."""
        payload = {"query": query, "variables": variables}
        await self.say({"id": number, "type": "subscribe", "payload": payload})


async def upgrade(
    port: int, path: str = "/graphql", headers: Mapping[str, str | None] | None = None
) -> Frames:
    """Ask for a socket, with some headers changed and some left out; the answer is in `head`."""
    usual: dict[str, str | None] = {
        "Host": f"127.0.0.1:{port}",
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
        "Sec-WebSocket-Protocol": PROTOCOL,
        **(headers or {}),
    }
    lines = [f"{name}: {value}\r\n" for name, value in usual.items() if value is not None]
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(f"GET {path} HTTP/1.1\r\n{''.join(lines)}\r\n".encode())
    async with asyncio.timeout(WITHIN_S):
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
    return Frames(reader, writer, head)


@asynccontextmanager
async def frames(port: int, path: str = "/graphql", **headers: str) -> AsyncIterator[Frames]:
    """Have a socket for a while."""
    client = await upgrade(port, path, headers)
    assert client.head.startswith("HTTP/1.1 101 "), client.head
    try:
        yield client
    finally:
        await leave(client.writer)


async def leave(writer: asyncio.StreamWriter) -> None:
    """Close a connection, whatever the other side does."""
    writer.close()
    try:
        async with asyncio.timeout(1):
            await writer.wait_closed()
    except (OSError, TimeoutError):
        writer.transport.abort()


async def answer(client: Frames) -> tuple[int, str]:
    """Return the status and the code of an answer that refuses."""
    length = next(line for line in client.head.lower().splitlines() if line.startswith("content-length:"))
    async with asyncio.timeout(WITHIN_S):
        body = await client.reader.readexactly(int(length.partition(":")[2]))
    await leave(client.writer)
    return int(client.head.split()[1]), str(msgspec.json.decode(body)["error"]["code"])
