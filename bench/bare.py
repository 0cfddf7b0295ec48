"""The ceiling of HTTP: a bare ASGI handler on granian, with the platform's server settings.

`python -m bench.bare PORT [ANSWER]` answers every request with the raw HTTP answer that the
file ANSWER holds, or with a few bytes.
"""

import asyncio
import signal
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from granian.constants import HTTPModes, Interfaces
from granian.http import HTTP1Settings
from granian.server.embed import Server

Send = Callable[[dict[str, Any]], Awaitable[None]]

OWN_HEADERS = (b"date", b"server", b"connection")
"""Headers that the server adds by itself."""


Handler = Callable[[Any, Any, Send], Awaitable[None]]


def answering(raw: bytes) -> Handler:
    """Return the ASGI handler that answers with these bytes."""
    head, _, body = raw.partition(b"\r\n\r\n")
    lines = [line.split(b": ", 1) for line in head.split(b"\r\n")[1:]]
    headers = [(name.lower(), value) for name, value in lines if name.lower() not in OWN_HEADERS]

    async def handle(_scope: object, _receive: object, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": list(headers)})
        await send({"type": "http.response.body", "body": body, "more_body": False})

    return handle


async def serve(port: int, raw: bytes) -> None:
    """Serve the same answer until SIGTERM."""
    await serve_handler(port, answering(raw))


async def serve_handler(port: int, handler: Handler) -> None:
    """Serve until SIGTERM."""
    server = Server(
        handler,
        address="127.0.0.1",
        port=port,
        interface=Interfaces.ASGINL,
        http=HTTPModes.http1,
        websockets=False,
        backlog=1024,
        http1_settings=HTTP1Settings(header_read_timeout=10_000),
        log_enabled=False,
    )
    stop: Callable[[], None] = server.stop
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop)
    await server.serve()


if __name__ == "__main__":
    answer = Path(sys.argv[2]).read_bytes() if len(sys.argv) > 2 else b"HTTP/1.1 200 OK\r\n\r\nok"
    asyncio.run(serve(int(sys.argv[1]), answer))
