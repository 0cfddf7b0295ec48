"""The ASGI skin: carries requests from a server to the shell and answers back (ASGI 3.0)."""

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from mercato.kernel.errors import BadRequest
from mercato.web.errors import PayloadTooLarge
from mercato.web.http import Request
from mercato.web.shell import Shell

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

BODY_DEADLINE_S = 20.0


class AsgiApp:
    """An ASGI application around a Shell."""

    def __init__(self, shell: Shell) -> None:
        self._shell = shell
        self.in_flight = 0
        self._idle = asyncio.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one HTTP request; other kinds of connection are not served."""
        if scope["type"] != "http":
            raise RuntimeError(f"cannot serve {scope['type']} connections")
        self.in_flight += 1
        try:
            await self._answer(scope, receive, send)
        finally:
            self.in_flight -= 1
            if not self.in_flight:
                self._idle.set()

    async def drained(self) -> None:
        """Wait until no request is in flight."""
        while self.in_flight:
            self._idle.clear()
            await self._idle.wait()

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = _request(scope, receive)
        response = await self._shell.handle(request)
        headers = response.headers
        if response.status != 204:
            headers.append((b"content-type", response.content_type))
            headers.append((b"content-length", b"%d" % len(response.body)))
        await send({"type": "http.response.start", "status": response.status, "headers": headers})
        body = b"" if request.method == "HEAD" else response.body
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
        return await _read_body(headers, receive, limit)

    return Request(
        method=scope["method"],
        path=scope["path"],
        query=scope["query_string"].decode("latin-1"),
        headers=headers,
        client=client[0] if client else "",
        secure=scope.get("scheme") == "https",
        read_body=read_body,
        header_bytes=size,
    )


async def _read_body(headers: dict[str, str], receive: Receive, limit: int) -> bytes:
    """Read a body of at most `limit` bytes within a deadline for all of it."""
    too_large = PayloadTooLarge(f"The body must not exceed {limit} bytes.")
    declared = headers.get("content-length", "")
    if declared.isdigit() and int(declared) > limit:
        raise too_large
    chunks: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout(BODY_DEADLINE_S):
            while True:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise BadRequest("The body ended early.")
                chunk = message.get("body", b"")
                size += len(chunk)
                if size > limit:
                    raise too_large
                chunks.append(chunk)
                if not message.get("more_body", False):
                    return chunks[0] if len(chunks) == 1 else b"".join(chunks)
    except TimeoutError:
        raise BadRequest("The body did not arrive in time.") from None
