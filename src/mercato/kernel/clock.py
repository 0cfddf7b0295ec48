"""Time: aware UTC datetimes inside, integer microseconds in stores, RFC 3339 outside."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

Clock = Callable[[], datetime]
"""Returns the present moment, aware, in UTC."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def utc_now() -> datetime:
    """Return the present moment in UTC."""
    return datetime.now(UTC)


def to_micros(at: datetime) -> int:
    """Return microseconds since the epoch, exactly. `at` must be aware."""
    return (at - _EPOCH) // _MICROSECOND


def from_micros(micros: int) -> datetime:
    """Return the moment `micros` microseconds after the epoch, exactly."""
    # By position, which costs two thirds of naming it: some rows have three moments, and lists many rows.
    return _EPOCH + timedelta(0, 0, micros)
