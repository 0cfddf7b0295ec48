"""`mercato up --reload`, for those who work on Mercato: a new process whenever its source or .env changes.

This process serves nothing: it starts another that does, and looks after it. The other is in a group of its
own, so that Ctrl-C reaches it once, by way of this one; and it ends with this one, however that ends: it
reads a pipe from it.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from types import FrameType

from mercato.runtime.settings import DOTENV

SOURCE = Path(__file__).parents[1]
_CHILD = "mercato.cli.reloaded"
_LOOK_S = 0.3
_KINDS = (".py", ".sql", ".html", ".css", ".js", ".json", ".txt", ".graphql")

Seen = dict[str, int]
"""When each file was changed last."""


def watch(words: Sequence[str]) -> None:
    """Run `mercato` with these words, anew after each change, until a signal ends it."""
    supervisor = _Supervisor(words)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, supervisor.stop)
    _say(f"watching {SOURCE} and {DOTENV}")
    supervisor.run()


class _Supervisor:
    """Looks after one process at a time."""

    def __init__(self, words: Sequence[str]) -> None:
        self._words = words
        self._process: subprocess.Popen[bytes] | None = None
        self._stopping = False

    def stop(self, _number: int, _frame: FrameType | None) -> None:
        """Have the process stop; told a second time, at once."""
        if self._stopping:
            self._signal()
        self._stopping = True

    def run(self) -> None:
        """Start, and start anew, until told to stop. Exits with the process's own code."""
        seen = snapshot()
        while self._goes_on():
            self._start()
            seen, changed = self._until_changed(seen)
            if changed:
                _say(f"{changed} changed: starting anew")
            self._signal()
            self._wait()
        sys.exit(self._wait())

    def _start(self) -> None:
        self._process = subprocess.Popen(  # noqa: S603  this program itself
            [sys.executable, "-m", _CHILD, *self._words], stdin=subprocess.PIPE, process_group=0
        )

    def _until_changed(self, seen: Seen) -> tuple[Seen, str]:
        """Wait for a change that has come to its end; return what is seen then, and a file that changed."""
        ended = False
        while self._goes_on():
            if not ended and self._process is not None and self._process.poll() is not None:
                ended = True
                _say(f"it ended with {self._process.returncode}; waiting for a change")
            time.sleep(_LOOK_S)
            now = snapshot()
            if now == seen:
                continue
            changed = next(path for path in now | seen if now.get(path) != seen.get(path))
            # An editor or git writes many files in a row.
            while self._goes_on() and (settled := self._later()) != now:
                now = settled
            return now, os.path.relpath(changed)
        return seen, ""

    def _goes_on(self) -> bool:
        return not self._stopping

    def _later(self) -> Seen:
        time.sleep(_LOOK_S)
        return snapshot()

    def _signal(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)

    def _wait(self) -> int:
        return 0 if self._process is None else self._process.wait()


def snapshot() -> Seen:
    """Return every file that is watched, with when it was changed last."""
    found: Seen = {}
    for path in (*_files(str(SOURCE)), str(DOTENV)):
        # Files come and go while this looks.
        with suppress(FileNotFoundError):
            found[path] = os.stat(path).st_mtime_ns  # noqa: PTH116  hundreds of files, several times a second
    return found


def _files(folder: str) -> Iterator[str]:
    with suppress(FileNotFoundError), os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                if entry.name != "__pycache__":
                    yield from _files(entry.path)
            elif entry.name.endswith(_KINDS):
                yield entry.path


def _say(line: str) -> None:
    print(f"reload: {line}", file=sys.stderr, flush=True)
