"""The envelope of success, and what a handler may return in it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

import msgspec

from mercato.web.http import Chunks, Header

T = TypeVar("T")

encode = msgspec.json.Encoder(decimal_format="number").encode
"""Encodes response data: decimals become JSON numbers with exactly their digits."""


class PageMeta(msgspec.Struct, frozen=True, omit_defaults=True):
    """Where in a list a page stands. What was not counted is left out."""

    page_size: int
    limit: int
    has_more: bool
    page: int | None = None
    offset: int | None = None
    total_count: int | None = None
    total_pages: int | None = None
    next_cursor: str | None = None


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """One page of a list."""

    items: Sequence[T]
    meta: PageMeta


@dataclass(frozen=True, slots=True)
class Reply(Generic[T]):
    """An answer that differs from the endpoint's declared one: another status, or headers."""

    data: T
    status: int | None = None
    headers: tuple[Header, ...] = field(default=())
    variant: str = ""
    """Which object it is, where one path stands for several: two of the same version are not the same."""


@dataclass(frozen=True, slots=True)
class Encoded(Generic[T]):
    """Data of type T that is encoded already, as a cache keeps it."""

    data: bytes
    headers: tuple[Header, ...] = ()
    etag: str | None = None
    meta: PageMeta | None = None
    """Where the data is a page of a list."""


@dataclass(frozen=True, slots=True)
class Upload:
    """A body that is read while it arrives, by an endpoint that declares it as `body`."""

    content_type: str
    """One of those the endpoint takes."""
    chunks: Chunks
    headers: Mapping[str, str] = field(default_factory=dict)
    """The request's, which may hold a signature of the body; names are lower case."""


@dataclass(frozen=True, slots=True)
class Download:
    """An answer of any length, made in pieces, without an envelope."""

    content_type: str
    chunks: Chunks
    headers: tuple[Header, ...] = ()


def success(data: bytes, meta: PageMeta | None = None) -> bytes:
    """Wrap encoded data in the envelope."""
    if meta is None:
        return b'{"success":true,"data":' + data + b"}"
    return b'{"success":true,"data":' + data + b',"meta":' + encode(meta) + b"}"
