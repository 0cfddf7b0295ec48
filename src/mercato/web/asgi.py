"""The ASGI skin: carries requests from a server to the shell and answers back (ASGI 3.0)."""

from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from contextlib import aclosing
from typing import Any

from mercato.kernel.errors import BadRequest
from mercato.web.asgi_socket import AsgiSocket
from mercato.web.body import collect, pieces
from mercato.web.http import Chunks, Request, Response
from mercato.web.shell import Shell
from mercato.web.sockets import Admitted, Sockets

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


class AsgiApp:
    """An ASGI application around a Shell, and around sockets, if there are any."""

    def __init__(self, shell: Shell, sockets: Sockets | None = None) -> None:
        self._shell = shell
        self._sockets = sockets

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one HTTP request, or speak with a socket; other kinds of connection are not served."""
        if scope["type"] == "websocket":
            await self._converse(scope, receive, send)
            return
        if scope["type"] != "http":
            raise RuntimeError(f"cannot serve {scope['type']} connections")
        request = _request(scope, receive)
        await _respond(await self._shell.handle(request), request, send)

    async def _converse(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a socket in, or refuse it: with an answer where the server can send one, else with 403."""
        request = _request({"method": "GET", **scope}, receive)
        await receive()
        if self._sockets is None or not self._sockets.wanted(request):
            await send({"type": "websocket.close", "code": 1000})
            return
        admitted = await self._sockets.admit(request)
        if not isinstance(admitted, Admitted):
            if "websocket.http.response" in scope.get("extensions", {}):
                await _respond(admitted, request, send, prefix="websocket.")
            else:
                await send({"type": "websocket.close", "code": 1000})
            return
        await send({"type": "websocket.accept", "subprotocol": admitted.subprotocol})
        terms = self._sockets.terms
        await self._sockets.start(admitted, AsgiSocket(receive, send, admitted.route.max_message, terms))


async def _respond(response: Response, request: Request, send: Send, prefix: str = "") -> None:
    headers = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in response.headers]
    if response.status not in {204, 304}:
        headers.append((b"content-type", response.content_type.encode("latin-1")))
        if response.stream is None:
            headers.append((b"content-length", b"%d" % len(response.body)))
    await send({"type": f"{prefix}http.response.start", "status": response.status, "headers": headers})
    await _send_body(response, send, f"{prefix}http.response.body", whole=request.method != "HEAD")


async def _send_body(response: Response, send: Send, kind: str, *, whole: bool) -> None:
    if response.stream is not None and whole:
        async with aclosing(response.stream) as pieces_of_it:
            async for piece in pieces_of_it:
                await send({"type": kind, "body": piece, "more_body": True})
    response.close()
    body = response.body if whole else b""
    await send({"type": kind, "body": body, "more_body": False})


def _request(scope: Scope, receive: Receive) -> Request:
    headers: dict[str, str] = {}
    size = 0
    for raw_name, raw_value in scope["headers"]:
        size += len(raw_name) + len(raw_value)
        name, value = raw_name.decode("latin-1"), raw_value.decode("latin-1")
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    client = scope.get("client")

    async def read_body(limit: int) -> bytes:
        return await collect(headers, _chunks(receive), limit)

    def stream_body(limit: int) -> Chunks:
        return pieces(headers, _chunks(receive), limit)

    return Request(
        method=scope["method"],
        path=scope["path"],
        query=scope["query_string"].decode("latin-1"),
        headers=headers,
        client=client[0] if client else "",
        secure=scope.get("scheme") in {"https", "wss"},
        read_body=read_body,
        stream_body=stream_body,
        header_bytes=size,
    )


async def _chunks(receive: Receive) -> AsyncIterator[bytes]:
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise BadRequest("The body ended early.")
        yield message.get("body", b"")
        if not message.get("more_body", False):
            return
