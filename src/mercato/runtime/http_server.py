"""The HTTP server of a process: granian, on a socket that can be taken from it."""

import os
import socket
from typing import Any

from granian.constants import HTTPModes, Interfaces
from granian.http import HTTP1Settings
from granian.net import SocketHolder  # type: ignore[attr-defined]  # it names no exports
from granian.server.embed import Server

from mercato.web.http import Request, Response
from mercato.web.rsgi import Answers, RsgiApp
from mercato.web.sockets import Sockets

HEADER_DEADLINE_MS = 10_000
WRITE_DEADLINE_MS = 30_000
"""How long a client may take nothing of what is sent to it."""
_BACKLOG = 1024
"""How many connections may wait to be accepted. granian serves no more than so many at a time, either."""


class HttpServer(Server):
    """Serves on a port, which other processes may share. Raises OSError for one that cannot be had."""

    def __init__(self, answers: Answers, host: str, port: int, sockets: Sockets | None = None) -> None:
        self._app = app = RsgiApp(answers, sockets)
        super().__init__(
            app,
            address=host,
            port=port,
            interface=Interfaces.RSGI,
            http=HTTPModes.http1,
            websockets=False,
            backlog=_BACKLOG,
            http1_settings=HTTP1Settings(header_read_timeout=HEADER_DEADLINE_MS),
            log_enabled=False,
        )
        self._socket = _bound(host, port)

    def _init_shared_socket(self) -> None:
        """Give granian the socket, which is its own from now on."""
        holder: Any = SocketHolder  # its stub lacks what it takes
        self._shd = holder(self._socket, False, _BACKLOG)  # noqa: FBT003  by position alone

    def stop_accepting(self) -> None:
        """Take no connection any more; on those that there are, answer each one request more at most.

        granian itself could stop accepting only by closing, at the same moment, connections into which
        clients may be writing.
        """
        self._app.shell = _Parting(self._app.shell)
        with socket.socket() as nobodys:
            nobodys.bind(("127.0.0.1", 0))
            nobodys.listen(1)
            nobodys.settimeout(0)
            # It closes the one that clients know, and granian goes on listening where nobody calls.
            os.dup2(nobodys.fileno(), self._socket, inheritable=False)


class _Parting:
    """Says with each answer that it is the last on its connection."""

    def __init__(self, answers: Answers) -> None:
        self._answers = answers

    async def handle(self, request: Request) -> Response:
        """Answer one request."""
        response = await self._answers.handle(request)
        response.headers.append(("connection", "close"))
        return response


def _bound(host: str, port: int) -> int:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as opened:
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if hasattr(socket, "TCP_USER_TIMEOUT"):
            # Connections inherit it. The server itself would wait for ever for a client that reads nothing,
            # and lets in no others beyond so many.
            opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, WRITE_DEADLINE_MS)
        opened.bind((host, port))
        return opened.detach()
