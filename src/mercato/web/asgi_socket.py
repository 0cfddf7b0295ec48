"""A socket over ASGI: the server frames the messages."""

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from mercato.web.sockets import ABNORMAL, SocketClosed, SocketTerms

_TOO_LONG = 1009
Message = MutableMapping[str, Any]


class AsgiSocket:
    """See web.sockets.Socket. Pings are the server's, and what it has read by then may be of any length."""

    def __init__(
        self,
        receive: Callable[[], Awaitable[Message]],
        send: Callable[[Message], Awaitable[None]],
        max_message: int,
        terms: SocketTerms,
    ) -> None:
        self.code: int | None = None
        self._receive = receive
        self._send = send
        self._max_message = max_message
        self._terms = terms
        self._one_at_a_time = asyncio.Lock()
        self._over = asyncio.Event()

    async def receive(self) -> str | bytes:
        """Return the next message. Raises SocketClosed."""
        over = asyncio.ensure_future(self._over.wait())
        coming = asyncio.ensure_future(self._receive())
        try:
            await asyncio.wait([over, coming], return_when=asyncio.FIRST_COMPLETED)
        finally:
            over.cancel()
            if not coming.done():
                coming.cancel()
        if self.code is not None:
            raise SocketClosed(self.code)
        message = coming.result()
        if message["type"] != "websocket.receive":
            raise SocketClosed(self._end(message.get("code") or 1005))
        text = message.get("text")
        found: str | bytes = message.get("bytes") or b"" if text is None else text
        if len(found.encode() if isinstance(found, str) else found) > self._max_message:
            await self.close(_TOO_LONG, "the message is too long")
            raise SocketClosed(_TOO_LONG)
        return found

    async def send(self, text: bytes) -> None:
        """Send a message. Raises SocketClosed."""
        try:
            async with asyncio.timeout(self._terms.send_s), self._one_at_a_time:
                if self.code is None:
                    await self._send({"type": "websocket.send", "text": text.decode()})
        except (OSError, TimeoutError):
            self._end(ABNORMAL)
        if self.code is not None:
            raise SocketClosed(self.code)

    async def close(self, code: int, reason: str = "") -> None:
        """Say that it is over."""
        if self.code is not None:
            return
        self._end(code)
        try:
            async with asyncio.timeout(self._terms.close_s):
                await self._send({"type": "websocket.close", "code": code, "reason": reason})
        except (OSError, TimeoutError):
            self.code = ABNORMAL

    def _end(self, code: int) -> int:
        self.code = self.code or code
        self._over.set()
        return self.code
