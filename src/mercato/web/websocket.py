"""A WebSocket (RFC 6455) on a connection that is one's own: messages of a bounded size, both ways.

Nothing waits here without bound. While what is to be sent waits for the client, nothing is read from it
either, and one that takes nothing for too long is cut off; so is one that does not answer to a ping.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable

from websockets.exceptions import InvalidState
from websockets.frames import Frame, Opcode
from websockets.protocol import OPEN, SEND_EOF, Protocol, Side

from mercato.web.sockets import ABNORMAL, SocketClosed, SocketTerms

# What goes wrong is told in the line that each socket leaves.
logging.getLogger("websockets").setLevel(logging.ERROR)

_WAITING = 64 * 1024
"""Bytes that may wait to be sent before a sender waits, too."""
_UNREAD = 16
"""Messages that may wait to be read before no more are taken."""
_REASON_BYTES = 123


class WebSocket(asyncio.Protocol):
    """See web.sockets.Socket."""

    def __init__(self, max_message: int, terms: SocketTerms, lost: Callable[[], None]) -> None:
        """`lost` is called before the connection is closed."""
        self.code: int | None = None
        self._terms = terms
        self._lost = lost
        self._frames = Protocol(Side.SERVER, state=OPEN, max_size=max_message)
        self._parts: list[bytes | bytearray | memoryview] = []
        self._kind = Opcode.TEXT
        self._messages: deque[str | bytes] = deque()
        self._arrived = asyncio.Event()
        self._room = asyncio.Event()
        self._room.set()
        self._gone = asyncio.Event()
        self._is_paused = False
        self._heard = True
        self._loop = asyncio.get_running_loop()
        self._timer = self._loop.call_later(terms.ping_s, self._look)
        self._transport: asyncio.Transport | None = None

    async def receive(self) -> str | bytes:
        """Return the next message. Raises SocketClosed."""
        while not self._messages:
            if self.code is not None:
                raise SocketClosed(self.code)
            self._arrived.clear()
            await self._arrived.wait()
        message = self._messages.popleft()
        self._read_on()
        return message

    async def send(self, text: bytes) -> None:
        """Send a message. Raises SocketClosed."""
        if self.code is not None:
            raise SocketClosed(self.code)
        self._frames.send_text(text)
        self._flush()
        if self._room.is_set():
            return
        try:
            async with asyncio.timeout(self._terms.send_s):
                await self._room.wait()
        except TimeoutError:
            self._break(ABNORMAL)
        if self.code is not None:
            raise SocketClosed(self.code)

    async def close(self, code: int, reason: str = "") -> None:
        """Say that it is over, and wait a little for the client to agree."""
        if self.code is None:
            self.code = code
            cut = reason.encode()[:_REASON_BYTES].decode(errors="ignore")
            try:
                # 1005 and 1006 are told to nobody: they say how a connection ended without a word.
                self._frames.send_close(*(() if code in {1005, ABNORMAL} else (code, cut)))
            except InvalidState:
                # The client has said so at the same time.
                self._end()
            self._flush()
            self._arrived.set()
        try:
            async with asyncio.timeout(self._terms.close_s):
                await self._gone.wait()
        except TimeoutError:
            self._break(self.code)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        assert isinstance(transport, asyncio.Transport)  # noqa: S101  a stream has no other
        self._transport = transport
        transport.set_write_buffer_limits(high=_WAITING)

    def data_received(self, data: bytes) -> None:
        """Take what the client has sent."""
        self._heard = True
        self._frames.receive_data(data)
        for event in self._frames.events_received():
            if isinstance(event, Frame):
                self._take(event)
        self._flush()
        if self._frames.state is not OPEN:
            self._end()
        elif len(self._messages) > _UNREAD:
            self._pause()

    def eof_received(self) -> bool:
        """Take note that the client sends nothing more: it is gone."""
        self._frames.receive_eof()
        self._end()
        return False

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002  the code says enough
        """Take note that it is over."""
        self._timer.cancel()
        self._lost()
        self._end()
        self._room.set()
        self._gone.set()

    def pause_writing(self) -> None:
        """Let senders wait. What the client sends would be answered, so it has to wait as well."""
        self._room.clear()
        self._pause()

    def resume_writing(self) -> None:
        """Let senders go on."""
        self._room.set()
        self._read_on()

    def _take(self, frame: Frame) -> None:
        if frame.opcode in {Opcode.TEXT, Opcode.BINARY}:
            self._kind, self._parts = frame.opcode, [frame.data]
        elif frame.opcode is Opcode.CONT:
            if frame.data:
                self._parts.append(frame.data)
        else:
            return
        if not frame.fin:
            return
        message = b"".join(self._parts)
        self._parts = []
        if self._kind is Opcode.BINARY:
            self._messages.append(message)
        else:
            try:
                self._messages.append(message.decode())
            except UnicodeDecodeError:
                self._frames.fail(1007, "text must be UTF-8")
                return
        self._arrived.set()

    def _flush(self) -> None:
        transport = self._transport
        if transport is None or transport.is_closing():
            return
        pieces = self._frames.data_to_send()
        said = b"".join(pieces)
        if said:
            transport.write(said)
        if SEND_EOF in pieces:
            # Both have said that it is over: what is left to be sent is sent, and that is all.
            transport.close()

    def _end(self) -> None:
        """Note how it has ended, if it was not over before."""
        if self.code is None:
            told = self._frames.close_sent or self._frames.close_rcvd
            self.code = ABNORMAL if told is None else int(told.code)
        self._arrived.set()

    def _break(self, code: int) -> None:
        """Cut the connection off."""
        if self.code is None:
            self.code = code
        self._arrived.set()
        if self._transport is not None:
            self._transport.abort()

    def _pause(self) -> None:
        if not self._is_paused and self._transport is not None:
            self._is_paused = True
            self._transport.pause_reading()

    def _read_on(self) -> None:
        if self._is_paused and len(self._messages) <= _UNREAD and self._room.is_set():
            self._is_paused = False
            if self._transport is not None and not self._transport.is_closing():
                self._transport.resume_reading()

    def _look(self) -> None:
        """Ask a client that says nothing whether it is there; one that did not answer is not."""
        self._timer = self._loop.call_later(self._terms.ping_s, self._look)
        if self._heard:
            self._heard = False
            if self._frames.state is OPEN:
                self._frames.send_ping(b"")
                self._flush()
        else:
            self._break(ABNORMAL)
