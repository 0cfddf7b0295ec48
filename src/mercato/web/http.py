"""Requests and responses as plain values, whatever server carries them."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field

Header = tuple[str, str]

ReadBody = Callable[[int], Awaitable[bytes]]
"""Reads the whole body, at most that many bytes. Raises PayloadTooLarge."""


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
    header_bytes: int = 0


@dataclass(slots=True)
class Response:
    """One response, whole."""

    status: int
    body: bytes = b""
    content_type: str = "application/json"
    headers: list[Header] = field(default_factory=list)
