"""The RSGI skin: carries requests from granian to the shell and answers back (RSGI 1.7).

RSGI is granian's own protocol. It costs the server less than ASGI does, since an answer is
one call and header names and values are text already.

Its own WebSockets can choose no subprotocol and no code to close with, and take messages of 64 MiB. So
the server is told of none: the answer 101 is one like any other, after which it lets go of the connection,
and a WebSocket goes on with a descriptor of its own.
"""

from collections.abc import AsyncIterator, Iterable, Mapping
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


class Answers(Protocol):
    """What answers requests: a Shell, or something before one."""

    async def handle(self, request: Request) -> Response:
        """Answer one request. Raises nothing."""
        ...


class RsgiApp:
    """An RSGI application around a Shell, and around sockets, if there are any."""

    def __init__(self, shell: Answers, sockets: Sockets | None = None) -> None:
        self._shell = shell
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
            response = await self._shell.handle(request)
        if not body.ended and _is_long(headers) and scope.http_version.startswith("1"):
            # Without being told so, clients would send their next request into a connection that ends.
            response.headers.append(_CLOSE)
        if response.status in {204, 304}:
            transport.response_empty(response.status, response.headers)
            return
        response.headers.append(("content-type", response.content_type))
        if response.stream is not None:
            await send_pieces(response, response.stream, scope, transport)
            return
        transport.response_bytes(response.status, response.headers, response.body)


class _Body:
    """A request's body, and whether all of it has been read."""

    __slots__ = ("_headers", "_transport", "ended")

    def __init__(self, headers: Mapping[str, str], transport: Transport) -> None:
        self._headers = headers
        self._transport = transport
        self.ended = False

    async def read(self, limit: int) -> bytes:
        """See web.http.ReadBody."""
        return await collect(self._headers, self, limit)

    def stream(self, limit: int) -> Chunks:
        """See web.http.StreamBody."""
        return pieces(self._headers, self, limit)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """Yield the chunks. Raises BadRequest for a body that broke off before its end.

        granian raises nothing then: its last chunk is empty, as HTTP/1.1's own is, and where the
        connection broke another empty one came before it.
        """
        was_empty = False
        async for chunk in self._transport:
            if was_empty:
                raise BadRequest("The body ended early.")
            if chunk:
                yield chunk
            was_empty = not chunk
        self.ended = True


def _is_long(headers: Mapping[str, str]) -> bool:
    """Say whether the request has a body that the server does not read to its end by itself."""
    declared = headers.get("content-length", "")
    return "transfer-encoding" in headers or (declared.isdigit() and int(declared) > _DRAINED)


def _joined(items: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Return the headers with repeated ones joined by a comma (RFC 9110, section 5.2)."""
    headers: dict[str, str] = {}
    for name, value in items:
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    return headers
