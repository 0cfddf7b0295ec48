"""What is logged a thousand times a second is told a few times, and then by its number."""

import copy
import logging
import threading
import time
from collections.abc import Callable

FIRST = 10
"""How many like lines are written at once."""
EVERY_S = 10.0
"""How often the others are told of, all of them in one line."""
_MOST_KINDS = 1_000
_ALIKE = ("service", "consumer", "route", "database", "dependency", "neighbour", "child")
"""What tells lines of one message apart: of each there are few, whatever is going on."""
_OTHERS = ("others",)

_Kind = tuple[object, ...]


class _Written:
    """What was written of one kind of line, and what was not."""

    __slots__ = ("held", "last", "since", "written")

    def __init__(self, since: float) -> None:
        self.since = since
        self.written = 0
        self.held = 0
        self.last: logging.LogRecord | None = None


class Storms:
    """Holds back lines like those that have just been written, and sees that their number is told.

    Lines may come from any thread.
    """

    def __init__(
        self,
        write: Callable[[logging.LogRecord], object],
        *,
        every_s: float = EVERY_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`write` is given the last of the lines that were held back, with their number as `repeated`."""
        self._write = write
        self._every_s = every_s
        self._clock = clock
        self._lock = threading.Lock()
        self._kinds: dict[_Kind, _Written] = {}
        self._timer: threading.Timer | None = None

    def holds_back(self, record: logging.LogRecord) -> bool:
        """Say whether a line is one too many for now; then it is counted."""
        with self._lock:
            kind = _kind_of(record)
            if kind not in self._kinds and len(self._kinds) >= _MOST_KINDS:
                self._forget()
                kind = kind if len(self._kinds) < _MOST_KINDS else _OTHERS
            now = self._clock()
            told = self._kinds.setdefault(kind, _Written(now))
            if not told.held and now - told.since >= self._every_s:
                told.since, told.written = now, 0
            if told.written < FIRST:
                told.written += 1
                return False
            told.held += 1
            told.last = record
            if self._timer is None:
                self._timer = threading.Timer(self._every_s, self.tell)
                self._timer.daemon = True
                self._timer.start()
            return True

    def tell(self) -> None:
        """Write how many were held back: after a while, and before the process ends."""
        with self._lock:
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None
            due = [_summary(each) for each in self._kinds.values() if each.held]
            now = self._clock()
            for each in self._kinds.values():
                if each.held:
                    # What goes on is told by its number alone, until it has been quiet for a while.
                    each.since, each.held, each.last = now, 0, None
            self._forget()
        for record in due:
            self._write(record)

    def _forget(self) -> None:
        """Forget kinds of which nothing was written lately."""
        before = self._clock() - self._every_s
        self._kinds = {kind: each for kind, each in self._kinds.items() if each.held or each.since > before}


def _kind_of(record: logging.LogRecord) -> _Kind:
    error = record.exc_info[0] if record.exc_info else None
    about = record.__dict__
    return (record.name, record.levelno, str(record.msg), error, *(str(about.get(name)) for name in _ALIKE))


def _summary(told: _Written) -> logging.LogRecord:
    assert told.last is not None  # noqa: S101  one was held back
    record = copy.copy(told.last)
    record.repeated = told.held
    return record
