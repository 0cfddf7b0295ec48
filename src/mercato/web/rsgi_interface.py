"""RSGI 1.7, as far as it is used here: what granian gives to an application."""

from collections.abc import AsyncIterator
from typing import Protocol


class Headers(Protocol):
    """A request's headers."""

    def keys(self) -> list[str]:
        """Return the names, in lower case, each once."""
        ...

    def items(self) -> list[tuple[str, str]]:
        """Return names and values that are ASCII; a repeated header is there repeatedly."""
        ...


class Scope(Protocol):
    """A request's head, as granian gives it."""

    proto: str
    http_version: str
    method: str
    path: str
    query_string: str
    scheme: str
    client: str
    """Address and port, with a colon between."""
    server: str
    """The same of this side."""
    headers: Headers


class Transport(Protocol):
    """A request's body, and the way to answer it."""

    def __aiter__(self) -> AsyncIterator[bytes]:
        """Iterate over the body's chunks as they arrive."""
        ...

    async def client_disconnect(self) -> None:
        """Wait until the client is gone."""
        ...

    def response_empty(self, status: int, headers: list[tuple[str, str]]) -> None:
        """Answer without a body."""
        ...

    def response_bytes(self, status: int, headers: list[tuple[str, str]], body: bytes) -> None:
        """Answer with a body, whose length the server adds."""
        ...

    def response_stream(self, status: int, headers: list[tuple[str, str]]) -> "Stream":
        """Answer with a body that follows in pieces."""
        ...


class Stream(Protocol):
    """An answer's body under way."""

    async def send_bytes(self, data: bytes) -> None:
        """Send a piece; returns when there is room for the next."""
        ...
