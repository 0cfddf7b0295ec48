"""The connection under a request: found among those of the process, by its two addresses.

The server gives out requests, not connections. Two things need the connection itself: a WebSocket, which
goes on when the server has let go of it, and an answer that is sent while it is made, whose maker is to
wait for the client.
"""

import asyncio
import contextlib
import os
import socket
from pathlib import Path

_FOLDER = "/proc/self/fd" if Path("/proc/self/fd").exists() else "/dev/fd"

_own: set[int] = set()
"""The numbers of those made here, which nobody looks for."""

_Addresses = tuple[tuple[str, int], tuple[str, int]]


class Connection:
    """A descriptor of one's own for a connection that the server has. It is to be closed, or given up."""

    def __init__(self, duplicate: socket.socket) -> None:
        duplicate.settimeout(0)
        self.socket = duplicate
        self._number = duplicate.fileno()
        _own.add(self._number)

    async def room(self) -> None:
        """Wait until the system takes more to send: then what was sent before is out of the process."""
        loop = asyncio.get_running_loop()
        waiting: asyncio.Future[None] = loop.create_future()

        def there() -> None:
            if not waiting.done():
                waiting.set_result(None)

        loop.add_writer(self.socket, there)
        try:
            await waiting
        finally:
            loop.remove_writer(self.socket)

    def cut(self) -> None:
        """End the connection, whoever else has it."""
        with contextlib.suppress(OSError):
            self.socket.shutdown(socket.SHUT_RDWR)

    def give_up(self) -> None:
        """Take note that somebody else is about to close it."""
        _own.discard(self._number)

    def close(self) -> None:
        """Close the descriptor; the connection goes on."""
        self.give_up()
        self.socket.close()


def connection_between(client: str, server: str) -> Connection | None:
    """Return the connection between two addresses, each with its port after a colon, if it is still there."""
    wanted = (_split(client), _split(server))
    # The lowest first: the system gives a new connection the lowest number that is free.
    for number in sorted(int(name) for name in os.listdir(_FOLDER)):  # noqa: PTH208  a Path each costs more
        if number in _own or _addresses(number) != wanted:
            continue
        try:
            duplicate = os.dup(number)
        except OSError:
            continue
        # The server may have closed it meanwhile, and have another under the same number.
        if _addresses(duplicate) == wanted:
            return Connection(socket.socket(fileno=duplicate))
        os.close(duplicate)
    return None


def _addresses(number: int) -> _Addresses | None:
    """Return the client's and the server's address of a descriptor, if it is a connection."""
    try:
        # Being told what it is, Python does not ask the system for it.
        found = socket.socket(socket.AF_INET, socket.SOCK_STREAM, 0, fileno=number)
    except OSError:
        return None
    try:
        return found.getpeername()[:2], found.getsockname()[:2]
    except OSError:
        return None
    finally:
        found.detach()


def _split(address: str) -> tuple[str, int]:
    host, _, port = address.rpartition(":")
    return host.strip("[]"), int(port)
