"""Lists by creation, latest first, over indexes that end in `created_at, id`.

The cursor and the end of a span are one bound, so a page costs the same at any depth.
"""

from datetime import datetime

from mercato.adapters.sql.database import Value
from mercato.kernel.clock import to_micros
from mercato.kernel.paging import Window, read_time_key

LATEST_FIRST = "ORDER BY created_at DESC, id DESC LIMIT ? OFFSET ?"


def between(since: datetime | None, before: datetime | None) -> tuple[str, list[Value]]:
    """Return the condition, to be added to others, that a row was created in a span."""
    where, params = "", list[Value]()
    if since is not None:
        where, params = " AND created_at >= ?", [to_micros(since)]
    if before is not None:
        where, params = where + " AND created_at < ?", [*params, to_micros(before)]
    return where, params


def page(
    window: Window, since: datetime | None = None, before: datetime | None = None
) -> tuple[str, list[Value]]:
    """Return the condition that a row was created in a span and comes after a window's cursor."""
    seen = None if window.after is None else read_time_key(window.after)
    if seen is None or (before is not None and to_micros(before) <= seen[0]):
        return between(since, before)
    at, last_id = seen
    where, params = between(since, None)
    return where + " AND created_at <= ? AND (created_at < ? OR id < ?)", [*params, at, at, last_id]
