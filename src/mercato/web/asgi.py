"""The ASGI skin: carries requests from a server to the shell and answers back (ASGI 3.0)."""

from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from contextlib import aclosing
from typing import Any

from mercato.kernel.errors import BadRequest
from mercato.web.body import collect, pieces
from mercato.web.http import Chunks, Request, Response
from mercato.web.shell import Shell

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


class AsgiApp:
    """An ASGI application around a Shell."""

    def __init__(self, shell: Shell) -> None:
        self._shell = shell

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one HTTP request; other kinds of connection are not served."""
        if scope["type"] != "http":
            raise RuntimeError(f"cannot serve {scope['type']} connections")
        request = _request(scope, receive)
        response = await self._shell.handle(request)
        headers = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in response.headers]
        if response.status not in {204, 304}:
            headers.append((b"content-type", response.content_type.encode("latin-1")))
            if response.stream is None:
                headers.append((b"content-length", b"%d" % len(response.body)))
        await send({"type": "http.response.start", "status": response.status, "headers": headers})
        await _send_body(response, send, whole=request.method != "HEAD")


async def _send_body(response: Response, send: Send, *, whole: bool) -> None:
    if response.stream is not None and whole:
        async with aclosing(response.stream) as pieces_of_it:
            async for piece in pieces_of_it:
                await send({"type": "http.response.body", "body": piece, "more_body": True})
    response.close()
    body = response.body if whole else b""
    await send({"type": "http.response.body", "body": body, "more_body": False})


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
        secure=scope.get("scheme") == "https",
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
