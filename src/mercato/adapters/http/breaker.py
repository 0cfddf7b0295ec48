"""A circuit breaker: whoever keeps failing is left alone for a while, then tried with a few calls.

It is a state machine over the moments it is told, in seconds of any clock that does not go back.
"""

import enum
import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from mercato.kernel.errors import Unavailable


class CircuitOpen(Unavailable):
    """A service kept failing and is left alone for a while."""

    code = "CIRCUIT_OPEN"


@dataclass(frozen=True, slots=True)
class BreakerTerms:
    """When a circuit opens, and for how long."""

    window_s: float = 60.0
    """How far back calls count."""
    least_calls: int = 3
    share: float = 0.5
    """The share of failures among the calls that opens it."""
    open_s: float = 30.0
    probes: int = 3
    """How many calls are let through to find out, all of which must succeed."""
    slots: int = 60
    """Into how many parts the window is divided: what it remembers does not grow with the calls."""


class BreakerState(enum.StrEnum):
    """Whether calls go through."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


def _nobody(_: BreakerState) -> None:
    """Nobody is told."""


class Breaker:
    """Decides whether to call, from what became of the calls before.

    Each call that `allows` let through is told back, by `succeeded`, `failed` or `abandoned`, with the
    number that it was given: what belongs to an earlier state changes nothing.
    """

    def __init__(
        self, terms: BreakerTerms | None = None, on_change: Callable[[BreakerState], None] = _nobody
    ) -> None:
        """`on_change` is told of each new state; of a half-open one with the first call of it."""
        self._terms = terms or BreakerTerms()
        self._on_change = on_change
        self._state = BreakerState.CLOSED
        self._opened_at = 0.0
        self._epoch = 0
        self._probing = 0
        self._probed = 0
        self._slots: deque[list[float]] = deque(maxlen=self._terms.slots + 1)
        """Of each part of the window: when it began, calls, failures."""

    def state(self, now: float) -> BreakerState:
        """Return the state at a moment."""
        if self._state is BreakerState.OPEN and now >= self._opened_at + self._terms.open_s:
            return BreakerState.HALF_OPEN
        return self._state

    def retry_after(self, now: float) -> int:
        """Return in how many whole seconds calls may go through again; at least one."""
        if self._state is not BreakerState.OPEN:
            return 1
        return max(1, math.ceil(self._opened_at + self._terms.open_s - now))

    def allows(self, now: float) -> int | None:
        """Let a call through and return its number, or return None: it is not to be made."""
        state = self.state(now)
        if state is not self._state:
            self._enter(state)
        if state is BreakerState.OPEN:
            return None
        if state is BreakerState.HALF_OPEN:
            if self._probing + self._probed >= self._terms.probes:
                return None
            self._probing += 1
        return self._epoch

    def succeeded(self, number: int, now: float) -> None:
        """Take note of a call that was answered, be it by a refusal."""
        if number != self._epoch:
            return
        if self._state is BreakerState.HALF_OPEN:
            self._probing -= 1
            self._probed += 1
            if self._probed >= self._terms.probes:
                self._enter(BreakerState.CLOSED)
            return
        self._count(now, failed=False)

    def failed(self, number: int, now: float) -> None:
        """Take note of a call that was not answered, or by an error of the other side's."""
        if number != self._epoch:
            return
        if self._state is BreakerState.HALF_OPEN:
            self._open(now)
            return
        self._count(now, failed=True)
        calls = sum(slot[1] for slot in self._slots)
        failures = sum(slot[2] for slot in self._slots)
        if calls >= self._terms.least_calls and failures >= calls * self._terms.share:
            self._open(now)

    def abandoned(self, number: int) -> None:
        """Take note of a call whose caller went away: it says nothing of the other side."""
        if number == self._epoch and self._state is BreakerState.HALF_OPEN:
            self._probing -= 1

    def _open(self, now: float) -> None:
        self._enter(BreakerState.OPEN)
        self._opened_at = now

    def _enter(self, state: BreakerState) -> None:
        self._state = state
        self._epoch += 1
        self._probing = self._probed = 0
        self._slots.clear()
        self._on_change(state)

    def _count(self, now: float, *, failed: bool) -> None:
        length = self._terms.window_s / self._terms.slots
        begin = now - now % length
        while self._slots and self._slots[0][0] <= now - self._terms.window_s:
            self._slots.popleft()
        if not self._slots or self._slots[-1][0] < begin:
            self._slots.append([begin, 0, 0])
        self._slots[-1][1] += 1
        self._slots[-1][2] += failed
