"""Lists of what was made in a span of time: `from` a moment, up to but not at `to` another."""

from datetime import datetime
from typing import Annotated

import msgspec

from mercato.kernel.errors import FieldError, ValidationFailed
from mercato.web.paging import ListQuery

_Time = Annotated[
    str,
    msgspec.Meta(
        max_length=40,
        description="a time such as 2026-01-31T12:00:00Z",
        extra_json_schema={"format": "date-time"},
    ),
]
_read_time = msgspec.json.Decoder(Annotated[datetime, msgspec.Meta(tz=True)]).decode


class SpanQuery(ListQuery, frozen=True, kw_only=True):
    """The parameters of a list whose objects have a time of creation."""

    from_: _Time | None = msgspec.field(default=None, name="from")
    to: _Time | None = None


def span(query: SpanQuery) -> tuple[datetime | None, datetime | None]:
    """Read `from` and `to`. Raises ValidationFailed naming each that is no time, or `from` after `to`."""
    times: dict[str, datetime | None] = {}
    wrong = []
    for name, text in (("from", query.from_), ("to", query.to)):
        try:
            times[name] = None if text is None else _read_time(msgspec.json.encode(text))
        except msgspec.ValidationError:
            wrong.append(FieldError(name, "must be a time with its offset, such as 2026-01-31T12:00:00Z"))
    if wrong:
        raise ValidationFailed.of(*wrong)
    since, before = times["from"], times["to"]
    if since is not None and before is not None and since > before:
        raise ValidationFailed.field("from", "must not be later than to")
    return since, before
