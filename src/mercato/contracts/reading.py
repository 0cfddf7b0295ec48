"""Reading what a service keeps, for whoever asks for it.

The service that keeps an object decides who sees it, by the rights of its REST contract: the role and a
machine's scope first, before anything is looked up, which is Forbidden; then the object, and what is not
in the caller's scope is absent as if it were not there. The caller acts in one store, and sees no other.
"""

from typing import Generic, TypeVar

import msgspec

T = TypeVar("T")

MAX_PAGE = 100
"""Objects of one part of a list."""
MAX_OFFSET = 10_000_000
MAX_IDS = 1_000
"""Ids of one call; a call with more is refused with ValidationFailed."""


class Listed(msgspec.Struct, Generic[T], frozen=True):
    """A part of a list."""

    items: tuple[T, ...]
    total: int | None
    """How many objects the whole list has; None where it was not to be counted, or is too long for it."""
    has_more: bool
    end: str | None
    """The sort key of the last item, which is the `after` of the window that goes on behind it."""
