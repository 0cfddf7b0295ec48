"""Lists: which part is wanted, and which part it is."""

from typing import Any

import msgspec

from mercato.contracts.reading import MAX_OFFSET, MAX_PAGE, Listed
from mercato.gateway.graphql.bindings import Args
from mercato.kernel.errors import FieldError, ValidationFailed
from mercato.kernel.paging import Window
from mercato.web.paging import DEFAULT_PAGE_SIZE, MAX_CURSOR, cursor, read_cursor


class Part(msgspec.Struct, frozen=True):
    """A part of a list, and where in the list it is."""

    data: tuple[Any, ...]
    total: int | None
    limit: int
    offset: int | None
    has_more: bool
    end_cursor: str | None


def window(args: Args, *, counted: bool) -> Window:
    """Read which part of a list is wanted, and with its `counted` total, where it begins.

    Raises ValidationFailed naming each argument that is wrong.
    """
    limit, offset = size(args, DEFAULT_PAGE_SIZE), args.get("offset") or 0
    after = args.get("after")
    wrong = []
    if not 0 <= offset <= MAX_OFFSET:
        wrong.append(FieldError("offset", f"must be 0 to {MAX_OFFSET}"))
    if after is not None and offset:
        wrong.append(FieldError("after", "cannot be combined with offset"))
    if wrong:
        raise ValidationFailed.of(*wrong)
    # A count costs a statement of its own, so there is one where the list begins alone.
    return Window(limit, offset, None if after is None else _key(after), counted=counted and after is None)


def size(args: Args, default: int) -> int:
    """Read how many are wanted at most. Raises ValidationFailed for what is out of bounds."""
    given = args.get("limit")
    limit: int = default if given is None else given
    if not 1 <= limit <= MAX_PAGE:
        raise ValidationFailed.field("limit", f"must be 1 to {MAX_PAGE}")
    return limit


def part(wanted: Window, found: Listed[Any]) -> Part:
    """Return the part that was found for a window."""
    return Part(
        data=found.items,
        total=found.total,
        limit=wanted.limit,
        offset=wanted.offset if wanted.after is None else None,
        has_more=found.has_more,
        end_cursor=cursor(found.end) if found.has_more and found.end is not None else None,
    )


def _key(after: str) -> str:
    if len(after) <= MAX_CURSOR:
        try:
            return read_cursor(after)
        except ValidationFailed:
            pass
    raise ValidationFailed.field("after", "must be the endCursor of an earlier part of the list")
