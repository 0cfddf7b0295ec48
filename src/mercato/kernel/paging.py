"""Which part of a list is wanted."""

import re
from datetime import datetime

import msgspec

from mercato.kernel.clock import to_micros
from mercato.kernel.ids import is_id

_time_key = re.compile(r"(-?[0-9]{1,18})\.(.*)").fullmatch


class Window(msgspec.Struct, frozen=True):
    """Which part of a list is wanted. One row more is fetched, to see whether there are more."""

    limit: int
    offset: int
    after: str | None
    """The sort key of the last item seen, or None to go by offset."""
    counted: bool

    @property
    def fetch(self) -> int:
        """How many rows to ask the store for."""
        return self.limit + 1


def time_key(at: datetime, object_id: str) -> str:
    """Return the sort key of an object in a list by time, and by id within a moment."""
    return f"{to_micros(at)}.{object_id}"


def read_time_key(text: str) -> tuple[int, str] | None:
    """Return a `time_key`'s microseconds and id, or None for what is none."""
    found = _time_key(text)
    return (int(found[1]), found[2]) if found and is_id(found[2]) else None
