"""Time: aware UTC datetimes inside, integer microseconds in stores, RFC 3339 outside.

A process that works with others may follow another clock than its machine's: see runtime.timekeeping.
"""

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

Clock = Callable[[], datetime]
"""Returns the present moment, aware, in UTC."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_ahead = timedelta()
_ahead_ns = 0


def utc_now() -> datetime:
    """Return the present moment in UTC."""
    return datetime.now(UTC) - _ahead


def now_ms() -> int:
    """Return the present moment in milliseconds since the epoch."""
    return (time.time_ns() - _ahead_ns) // 1_000_000


def follow(*, ahead: timedelta) -> None:
    """Take the time from now on from a clock that this machine's is ahead of by so much."""
    global _ahead, _ahead_ns
    _ahead, _ahead_ns = ahead, ahead // _MICROSECOND * 1_000


def to_micros(at: datetime) -> int:
    """Return microseconds since the epoch, exactly. `at` must be aware."""
    return (at - _EPOCH) // _MICROSECOND


def from_micros(micros: int) -> datetime:
    """Return the moment `micros` microseconds after the epoch, exactly."""
    # By position, which costs two thirds of naming it: some rows have three moments, and lists many rows.
    return _EPOCH + timedelta(0, 0, micros)
