"""What a request passes on to the calls that are made for it: its id, and until when it waits."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import msgspec


class Passing(msgspec.Struct, frozen=True):
    """A request under way. `until` is on the monotonic clock, None where nobody set a deadline."""

    request_id: str | None = None
    until: float | None = None


_NOTHING = Passing()
_passing: ContextVar[Passing] = ContextVar("passing", default=_NOTHING)


def request_id() -> str | None:
    """Return the id of the request that the task works for; None for the platform's own work."""
    return _passing.get().request_id


def seconds_left(most: float) -> float:
    """Return how long a call made now may take: `most`, or what is left of the request's time."""
    until = _passing.get().until
    return most if until is None else min(most, until - time.monotonic())


@contextmanager
def passing(request_id: str | None, seconds: float | None) -> Iterator[None]:
    """Work for a request for a while; `seconds` is how long it waits."""
    until = None if seconds is None else time.monotonic() + seconds
    before = _passing.set(Passing(request_id, until))
    try:
        yield
    finally:
        _passing.reset(before)
