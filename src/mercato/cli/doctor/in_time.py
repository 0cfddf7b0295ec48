"""Looking at something within a deadline, whatever hangs."""

import threading
import time
from collections.abc import Callable, Iterable
from functools import cache
from queue import Empty, SimpleQueue

from mercato.cli.doctor.findings import Finding, problem

DEADLINE_S = 25.0
"""How long a check may take. Most have shorter ones of their own, and can say more when these are over."""

Look = Callable[[], Iterable[Finding]]


def begin(check: str, look: Look, *, deadline_s: float = DEADLINE_S) -> Callable[[], list[Finding]]:
    """Begin to look at something beside others; what is returned waits for what was found.

    That is a problem where nothing was found in time. Raises what `look` raises.
    """
    told: SimpleQueue[list[Finding] | BaseException] = SimpleQueue()
    until = time.monotonic() + deadline_s

    def work() -> None:
        try:
            told.put(list(look()))
        except BaseException as error:  # noqa: BLE001  it is raised where it is waited for
            told.put(error)

    # Nobody waits for a thread that hangs, at the end neither.
    threading.Thread(target=work, name=f"doctor-{check}", daemon=True).start()

    @cache
    def found() -> list[Finding]:
        try:
            result = told.get(timeout=max(until - time.monotonic(), 0.0))
        except Empty:
            return [problem(check, f"nothing was found within {deadline_s:.0f} s", "see what keeps it busy")]
        if isinstance(result, BaseException):
            raise result
        return result

    return found
