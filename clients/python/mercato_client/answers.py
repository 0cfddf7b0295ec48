"""The envelope of success, and lists page by page."""

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

import msgspec

from mercato_client.models.shared import PageMeta

T = TypeVar("T")


class Answer(msgspec.Struct, Generic[T], frozen=True):
    """What came back for one thing."""

    data: T


class Listed(msgspec.Struct, Generic[T], frozen=True):
    """What came back for a list."""

    data: tuple[T, ...]
    meta: PageMeta


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """One page of a list, and where in the list it stands."""

    items: tuple[T, ...]
    meta: PageMeta


async def each_of(page_after: Callable[[str | None], Awaitable[Page[T]]]) -> AsyncIterator[T]:
    """Yield the items of page after page, each fetched when it is needed."""
    after: str | None = None
    while True:
        page = await page_after(after)
        for item in page.items:
            yield item
        after = page.meta.next_cursor
        if after is None:
            return
