"""Paging: by page, by offset, or by an opaque cursor of constant cost at any depth."""

import base64
import binascii
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from typing import Annotated, Protocol, TypeVar

import msgspec

from mercato.kernel.errors import ValidationFailed
from mercato.kernel.ids import is_id
from mercato.kernel.paging import Window, read_time_key, time_key
from mercato.web.decode import Query
from mercato.web.envelope import Page, PageMeta


class _HasId(Protocol):
    @property
    def id(self) -> str: ...


class _HasTime(_HasId, Protocol):
    @property
    def created_at(self) -> datetime: ...


T = TypeVar("T", bound=_HasId)
Timed = TypeVar("Timed", bound=_HasTime)
V = TypeVar("V")
Row = TypeVar("Row")

DEFAULT_PAGE_SIZE = 20
_Size = Annotated[int, msgspec.Meta(ge=1, le=100)]
_MAX_OFFSET = 10_000_000
MAX_CURSOR = 1024
"""Characters of a cursor."""


class ListQuery(Query, frozen=True, kw_only=True):
    """The parameters every list takes."""

    page: Annotated[int, msgspec.Meta(ge=1, le=_MAX_OFFSET)] | None = None
    page_size: _Size | None = None
    limit: _Size | None = None
    offset: Annotated[int, msgspec.Meta(ge=0, le=_MAX_OFFSET)] | None = None
    after: Annotated[str, msgspec.Meta(max_length=MAX_CURSOR)] | None = None
    count: bool = True


_Time = Annotated[
    str,
    msgspec.Meta(
        max_length=40,
        description="a time such as 2026-01-31T12:00:00Z",
        extra_json_schema={"format": "date-time"},
    ),
]
_read_time = msgspec.json.Decoder(Annotated[datetime, msgspec.Meta(tz=True)]).decode


def window(query: ListQuery) -> Window:
    """Read the paging parameters. Raises ValidationFailed where they contradict each other."""
    by_page = query.page is not None or query.page_size is not None
    by_offset = query.limit is not None or query.offset is not None
    if by_page and by_offset:
        raise ValidationFailed.field("page", "use page and page_size, or limit and offset, not both")
    if query.after is not None and (query.page is not None or query.offset is not None):
        raise ValidationFailed.field("after", "cannot be combined with page or offset")
    size = query.page_size or query.limit or DEFAULT_PAGE_SIZE
    offset = query.offset or ((query.page or 1) - 1) * size
    after = None if query.after is None else read_cursor(query.after)
    return Window(size, offset, after, counted=query.count and after is None)


def cursor(sort_key: str) -> str:
    """Return an opaque cursor that continues after `sort_key`."""
    return base64.urlsafe_b64encode(sort_key.encode()).decode().rstrip("=")


def read_cursor(text: str) -> str:
    """Return a cursor's sort key. Raises ValidationFailed for what is no cursor."""
    try:
        padded = text + "=" * (-len(text) % 4)
        return base64.b64decode(padded.encode("ascii"), altchars=b"-_", validate=True).decode()
    except (binascii.Error, UnicodeError):
        raise ValidationFailed.field("after", "must be a next_cursor from an earlier page") from None


def page_meta(wanted: Window, last_key: str | None, total: int | None, *, has_more: bool) -> PageMeta:
    """Describe a page. `last_key` is the sort key of its last item."""
    by_offset = wanted.after is None
    return PageMeta(
        page_size=wanted.limit,
        limit=wanted.limit,
        has_more=has_more,
        page=wanted.offset // wanted.limit + 1 if by_offset else None,
        offset=wanted.offset if by_offset else None,
        total_count=total,
        total_pages=None if total is None else -(-total // wanted.limit),
        next_cursor=cursor(last_key) if has_more and last_key is not None else None,
    )


async def newest_first(
    query: ListQuery,
    search: Callable[[Window], Awaitable[Sequence[T]]],
    count: Callable[[], Awaitable[int]],
    view: Callable[[T], V],
) -> Page[V]:
    """Return the page that `query` wants of a list that is sorted by id, newest first.

    `search` returns the rows of a window, and one more if there are more. Raises
    ValidationFailed for paging parameters that contradict each other, or a cursor that is none.
    """
    return await _page(query, search, count, view, key=lambda row: row.id, is_key=is_id)


async def latest_first(
    query: ListQuery,
    search: Callable[[Window], Awaitable[Sequence[Timed]]],
    count: Callable[[], Awaitable[int]],
    view: Callable[[Timed], V],
) -> Page[V]:
    """Return the page that `query` wants of a list sorted by creation, latest first, then by id.

    As `newest_first`; the window's `after` is a `time_key`.
    """
    return await _page(
        query,
        search,
        count,
        view,
        key=lambda row: time_key(row.created_at, row.id),
        is_key=lambda text: read_time_key(text) is not None,
    )


async def _page(
    query: ListQuery,
    search: Callable[[Window], Awaitable[Sequence[Row]]],
    count: Callable[[], Awaitable[int]],
    view: Callable[[Row], V],
    *,
    key: Callable[[Row], str],
    is_key: Callable[[str], bool],
) -> Page[V]:
    wanted = window(query)
    if wanted.after is not None and not is_key(wanted.after):
        raise ValidationFailed.field("after", "must be a next_cursor from an earlier page")
    found = await search(wanted)
    total = await count() if wanted.counted else None
    shown = found[: wanted.limit]
    views = [view(each) for each in shown]
    last_key = key(shown[-1]) if shown else None
    return Page(views, page_meta(wanted, last_key, total, has_more=len(found) > wanted.limit))
