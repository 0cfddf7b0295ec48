"""Requests and responses as plain values, whatever server carries them."""

from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field

Header = tuple[str, str]

LINGER_S = 1.0
"""How long a process that is replaced goes on answering on the connections that it has.

Each answer then says that it is the connection's last. Clients of ours use no connection that was idle for
half as long, so none of them ever writes into one that is about to be closed.
"""

ReadBody = Callable[[int], Awaitable[bytes]]
"""Reads the whole body, at most that many bytes. Raises PayloadTooLarge."""

Chunks = AsyncGenerator[bytes, None]

StreamBody = Callable[[int], Chunks]
"""Reads the body as it comes, at most that many bytes. The iterator raises PayloadTooLarge."""


@dataclass(slots=True)
class Request:
    """One request. Header names are lower case; a repeated header is joined with a comma.

    The path is percent-decoded, once; the query is as it came.
    """

    method: str
    path: str
    query: str
    headers: Mapping[str, str]
    client: str
    secure: bool
    read_body: ReadBody
    stream_body: StreamBody
    header_bytes: int = 0
    deadline_s: float | None = None
    """How long whoever sent it still waits, where that is known."""
    counted: bool = False
    """It counted against its address where it came in: at the gateway."""
    admitted: bool = False
    """It is part of a request that has had its turn."""


def _nothing() -> None:
    """Nothing is to be closed."""


@dataclass(slots=True)
class Response:
    """One response: whole, or with a body that is made while it is sent."""

    status: int
    body: bytes = b""
    content_type: str = "application/json"
    headers: list[Header] = field(default_factory=list)
    stream: Chunks | None = None
    """Instead of `body`; what it raises breaks the answer off."""
    has_csp: bool = False
    """Its headers say what a page may load; no other answer may load anything."""
    close: Callable[[], None] = _nothing
    """Called when the stream has been sent, or will not be."""
    left: Callable[[], None] = _nothing
    """Called when the client is gone while the stream is made, and maybe after."""
