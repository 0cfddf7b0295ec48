"""A client of event streams that shows all of what comes: the head, events, and silence."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import msgspec

from tests.frames import leave

WITHIN_S = 10.0


@dataclass
class EventStream:
    """One answer, as it arrives."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    status: int
    headers: Mapping[str, str]
    text: str = ""

    async def _more(self) -> bool:
        """Read a piece; say whether there was one."""
        async with asyncio.timeout(WITHIN_S):
            size = int((await self.reader.readuntil(b"\r\n")).strip(), 16)
            piece = await self.reader.readexactly(size)
            await self.reader.readexactly(2)
        self.text += piece.decode()
        return size > 0

    async def event(self) -> tuple[str, Any]:
        """Return the name and the data of the next event; what keeps the connection alive is passed over."""
        while True:
            block, end, rest = self.text.partition("\n\n")
            if not end:
                assert await self._more(), "the stream has ended"
                continue
            self.text = rest
            fields = dict(line.split(": ", 1) for line in block.splitlines() if ": " in line)
            if fields:
                data = fields.get("data", "")
                return fields["event"], msgspec.json.decode(data) if data else None

    async def silence(self) -> None:
        """Wait for something that is no event."""
        while not self.text.startswith(":\n\n"):
            assert await self._more()
        self.text = self.text[3:]

    async def ended(self) -> str:
        """Read until the answer ends as it should; return what came until then."""
        while await self._more():
            pass
        return self.text

    async def body(self) -> Any:
        """Return the whole of an answer that is no event stream."""
        async with asyncio.timeout(WITHIN_S):
            return msgspec.json.decode(await self.reader.readexactly(int(self.headers["content-length"])))


@asynccontextmanager
async def event_stream(
    port: int, query: str, token: str = "", *, method: str = "POST", **variables: object
) -> AsyncIterator[EventStream]:
    """Ask for an operation, and have its event stream for a while."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    body = msgspec.json.encode({"query": query, "variables": variables}) if method == "POST" else b""
    target = "/graphql" if method == "POST" else f"/graphql?query={quote(query)}"
    lines = [
        f"{method} {target} HTTP/1.1",
        f"Host: 127.0.0.1:{port}",
        "Accept: text/event-stream",
        *([f"Authorization: Bearer {token}"] if token else []),
        *(["Content-Type: application/json", f"Content-Length: {len(body)}"] if body else []),
    ]
    writer.write("\r\n".join(lines).encode() + b"\r\n\r\n" + body)
    async with asyncio.timeout(WITHIN_S):
        head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
    headers = dict(line.lower().split(": ", 1) for line in head[1:] if line)
    try:
        yield EventStream(reader, writer, int(head[0].split()[1]), headers)
    finally:
        await leave(writer)
