"""The RSGI skin: carries requests from granian to the shell and answers back (RSGI 1.7).

RSGI is granian's own protocol. It costs the server less than ASGI does, since an answer is
one call and header names and values are text already.

Its own WebSockets can choose no subprotocol and no code to close with, and take messages of 64 MiB. So
the server is told of none: the answer 101 is one like any other, after which it lets go of the connection,
and a WebSocket goes on with a descriptor of its own.
"""

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import suppress
from typing import Protocol

from mercato.kernel.errors import BadRequest
from mercato.web.body import collect, pieces
from mercato.web.http import Chunks, Header, Request, Response
from mercato.web.rsgi_interface import Scope, Transport
from mercato.web.rsgi_live import converse, send_pieces
from mercato.web.sockets import Admitted, Sockets

_UNREADABLE = "\ufffd"
_DRAINED = 16 * 1024
"""What nobody reads of a body the server reads itself, if it is no more than about this; else it hangs up."""
_CLOSE: Header = ("connection", "close")
_LINGER_S = 10.0
"""How long the rest of a body that was refused is read and dropped."""
_LINGER_BYTES = 16 << 20
"""And how much of it: whoever still sends then does not want to read."""
_SILENCE_S = 1.0
"""How long the next piece of it is waited for."""


class Answers(Protocol):
    """What answers requests: a Shell, or something before one."""

    async def handle(self, request: Request) -> Response:
        """Answer one request. Raises nothing."""
        ...


class RsgiApp:
    """An RSGI application around a Shell, and around sockets, if there are any."""

    def __init__(self, shell: Answers, sockets: Sockets | None = None) -> None:
        self.shell = shell
        self._sockets = sockets

    async def __rsgi__(self, scope: Scope, transport: Transport) -> None:
        """Answer one HTTP request; other kinds of connection are not served."""
        if scope.proto != "http":
            raise RuntimeError(f"cannot serve {scope.proto} connections")
        items = scope.headers.items()
        headers = dict(items)
        if len(headers) != len(items):
            headers = _joined(items)
        names = scope.headers.keys()
        if len(names) != len(headers):
            # What is not ASCII is left out of the items. It is no value that anything accepts,
            # and it must not pass for a header that was not sent.
            headers |= {name: _UNREADABLE for name in names if name not in headers}

        body = _Body(headers, transport)
        request = Request(
            method=scope.method,
            path=scope.path,
            query=scope.query_string,
            headers=headers,
            client=scope.client.rpartition(":")[0],
            secure=scope.scheme == "https",
            read_body=body.read,
            stream_body=body.stream,
            header_bytes=sum(len(name) + len(value) for name, value in items),
        )
        if self._sockets is not None and "upgrade" in headers and self._sockets.wanted(request):
            admitted = await self._sockets.admit(request)
            if isinstance(admitted, Admitted):
                await converse(self._sockets, admitted, scope, transport)
                return
            response = admitted
        else:
            response = await self.shell.handle(request)
        if body.ended or not _is_long(headers) or not scope.http_version.startswith("1"):
            await _send(scope, transport, response)
            return
        # Without being told so, clients would send their next request into a connection that ends.
        response.headers.append(_CLOSE)
        await _send(scope, transport, response)
        await body.linger()


async def _send(scope: Scope, transport: Transport, response: Response) -> None:
    if response.status in {204, 304}:
        transport.response_empty(response.status, response.headers)
        return
    response.headers.append(("content-type", response.content_type))
    if response.stream is None:
        transport.response_bytes(response.status, response.headers, response.body)
    else:
        await send_pieces(response, response.stream, scope, transport)


class _Body:
    """A request's body, and whether all of it has been read."""

    __slots__ = ("_arriving", "_headers", "_transport", "ended")

    def __init__(self, headers: Mapping[str, str], transport: Transport) -> None:
        self._headers = headers
        self._transport: Transport | None = transport
        self._arriving: AsyncIterator[bytes] | None = None
        """The server gives its chunks once, so whoever goes on reading reads from here."""
        self.ended = False

    async def read(self, limit: int) -> bytes:
        """See web.http.ReadBody."""
        return await collect(self._headers, self, limit)

    def stream(self, limit: int) -> Chunks:
        """See web.http.StreamBody."""
        return pieces(self._headers, self, limit)

    async def linger(self) -> None:
        """Read what still comes, so that a client that sends all before it reads anything can do so.

        The system breaks a connection that is closed with something unread, and what was answered may be
        lost with it (RFC 9112, section 9.6).
        """
        with suppress(TimeoutError, BadRequest, StopAsyncIteration):
            async with asyncio.timeout(_LINGER_S):
                arriving, dropped = aiter(self), 0
                while dropped < _LINGER_BYTES:
                    async with asyncio.timeout(_SILENCE_S):
                        dropped += len(await anext(arriving))
        # The connection is open for as long as anything holds on to these, and whoever has read of them may.
        self._arriving = self._transport = None

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """Yield the chunks. Raises BadRequest for a body that broke off before its end.

        granian raises nothing then: its last chunk is empty, as HTTP/1.1's own is, and where the
        connection broke another empty one came before it.
        """
        was_empty = False
        left = _declared(self._headers)
        if self._transport is None:
            raise BadRequest("The body ended early.")
        if self._arriving is None:
            self._arriving = aiter(self._transport)
        while True:
            try:
                chunk = await anext(self._arriving)
            except StopAsyncIteration:
                break
            if was_empty:
                raise BadRequest("The body ended early.")
            if chunk:
                left -= len(chunk)
                # Whoever knows the length may stop listening with the last of it.
                self.ended = left == 0
                yield chunk
            was_empty = not chunk
        self.ended = True


def _declared(headers: Mapping[str, str]) -> int:
    """Return how long the body is said to be, -1 where that is not said."""
    declared = headers.get("content-length", "")
    return int(declared) if declared.isdigit() and "transfer-encoding" not in headers else -1


def _is_long(headers: Mapping[str, str]) -> bool:
    """Say whether the request has a body that the server does not read to its end by itself."""
    return "transfer-encoding" in headers or _declared(headers) > _DRAINED


def _joined(items: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Return the headers with repeated ones joined by a comma (RFC 9110, section 5.2)."""
    headers: dict[str, str] = {}
    for name, value in items:
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    return headers
