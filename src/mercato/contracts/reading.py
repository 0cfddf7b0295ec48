"""Reading what a service keeps, for whoever asks for it.

The service that keeps an object decides who sees it, by the rights of its REST contract: the role and a
machine's scope first, before anything is looked up, which is Forbidden; then the object, and what is not
in the caller's scope is absent as if it were not there. The caller acts in one store, and sees no other.
"""

from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

import msgspec

from mercato.kernel.errors import FieldError, ValidationFailed
from mercato.kernel.ids import is_id
from mercato.kernel.paging import Window

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


def check_window(window: Window) -> None:
    """Raise ValidationFailed for a part of a list that is out of bounds."""
    wrong = []
    if not 1 <= window.limit <= MAX_PAGE:
        wrong.append(FieldError("limit", f"must be 1 to {MAX_PAGE}"))
    if not 0 <= window.offset <= MAX_OFFSET:
        wrong.append(FieldError("offset", f"must be 0 to {MAX_OFFSET}"))
    if window.after is not None and window.offset:
        wrong.append(FieldError("after", "cannot be combined with offset"))
    if wrong:
        raise ValidationFailed.of(*wrong)


def wrong_cursor() -> ValidationFailed:
    """Return the refusal of a window's `after` that no list could have ended with."""
    return ValidationFailed.field("after", "must be where an earlier part of the list ended")


def distinct(ids: Sequence[str]) -> list[str]:
    """Return each id once, without what cannot be one."""
    return [each for each in dict.fromkeys(ids) if is_id(each)]


def sought(ids: Sequence[str]) -> list[str]:
    """Return the distinct ids. Raises ValidationFailed for too many."""
    found = distinct(ids)
    if len(found) > MAX_IDS:
        raise ValidationFailed.field("ids", f"must be at most {MAX_IDS}")
    return found


def told_by(window: Window, found: Sequence[object]) -> int | None:
    """Return how many objects a list has, where the rows fetched for a window tell it by themselves."""
    is_end = len(found) <= window.limit and (len(found) > 0 or window.offset == 0)
    return window.offset + len(found) if is_end and window.after is None else None


def listed(window: Window, found: Sequence[T], total: int | None, key: Callable[[T], str]) -> Listed[T]:
    """Return the part of a list of which `found` are the rows fetched, up to `window.fetch`."""
    items = tuple(found[: window.limit])
    return Listed(
        items,
        total if window.counted else None,
        has_more=len(found) > window.limit,
        end=key(items[-1]) if items else None,
    )
