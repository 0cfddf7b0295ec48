"""What outlasts a request of RSGI: WebSockets, and answers that are sent while they are made."""

import asyncio
import logging
from contextlib import aclosing

from mercato.web.descriptor import Connection, connection_between
from mercato.web.http import Chunks, Response
from mercato.web.rsgi_interface import Scope, Transport
from mercato.web.sockets import Admitted, Sockets

log = logging.getLogger(__name__)

ROOM_S = 30.0
"""How long a client may take nothing of an answer before it is cut off."""


async def converse(sockets: Sockets, admitted: Admitted, scope: Scope, transport: Transport) -> None:
    """Make a connection of the server's a WebSocket, and let the conversation begin."""
    from mercato.web.websocket import WebSocket  # noqa: PLC0415  most processes never have one

    connection = connection_between(scope.client, scope.server)
    if connection is None:
        # The client is gone already.
        sockets.leave(admitted)
        transport.response_empty(503, [])
        return
    # The server sends this, closes its own descriptor, and knows nothing of what follows.
    transport.response_empty(101, admitted.headers)
    try:
        _, socket = await asyncio.get_running_loop().connect_accepted_socket(
            lambda: WebSocket(admitted.route.max_message, sockets.terms, connection.give_up),
            connection.socket,
        )
    except BaseException:
        sockets.leave(admitted)
        connection.close()
        raise
    sockets.start(admitted, socket)


async def send_pieces(response: Response, stream: Chunks, scope: Scope, transport: Transport) -> None:
    """Send an answer while it is made, no faster than the client takes it.

    The server itself would keep all that it is given. A client that takes nothing for too long is cut off.
    """
    connection = connection_between(scope.client, scope.server)
    sending = transport.response_stream(response.status, response.headers)
    gone = asyncio.ensure_future(transport.client_disconnect())
    gone.add_done_callback(lambda _: response.left())
    try:
        async with aclosing(stream):
            async for piece in stream:
                if connection is not None and not await _has_room(connection):
                    log.warning("a client took nothing of an answer", extra={"client": scope.client})
                    connection.cut()
                    return
                await sending.send_bytes(piece)
    finally:
        gone.cancel()
        response.close()
        if connection is not None:
            connection.close()


async def _has_room(connection: Connection) -> bool:
    """Wait until the client has taken what was sent before; say whether it has."""
    try:
        async with asyncio.timeout(ROOM_S):
            await connection.room()
    except TimeoutError:
        return False
    return True
