"""How often calls may be repeated: a few times each, and few of all, so that repeats never make a storm."""

import random

ATTEMPTS = 3
_FIRST_PAUSE_S = 0.05
_MOST_PAUSE_S = 0.4


class RetryBudget:
    """Earns a part of a repeat with every call, and keeps no more than a few."""

    def __init__(self, *, share: float = 0.1, most: float = 10.0) -> None:
        self._share = share
        self._most = most
        self._left = most
        self.taken = 0
        self.denied = 0

    def called(self) -> None:
        """Take note of a call's first attempt."""
        self._left = min(self._left + self._share, self._most)

    def take(self) -> bool:
        """Spend a repeat, if there is one left."""
        if self._left < 1:
            self.denied += 1
            return False
        self._left -= 1
        self.taken += 1
        return True


def pause(attempt: int) -> float:
    """Return how long to wait before the attempt after the given one: with full jitter."""
    longest: float = min(_FIRST_PAUSE_S * 2**attempt, _MOST_PAUSE_S)
    return longest * random.random()  # noqa: S311  spreads load, guards nothing
