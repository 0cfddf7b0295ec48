"""A terminal: a program in a pseudo-terminal, what it has shown, and keys to press."""

import fcntl
import os
import pty
import re
import select
import signal
import struct
import termios
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

DEADLINE_S = 120.0
"""As long as a platform may take to start and to make its demo on a busy machine."""
_CONTROLS = re.compile(rb"\x1b\[[0-9;?]*[ -/]*[@-~]|\x1b[()][A-Z0-9]|\x1b[=>]|\x1b\][^\x07]*\x07")


class Terminal:
    """Runs a program until the block ends."""

    def __init__(
        self, command: Sequence[str], *, folder: Path, environ: dict[str, str], columns: int = 100
    ) -> None:
        self._command = command
        self._folder = folder
        self._environ = {"TERM": "xterm", **environ}
        self._columns = columns
        self._raw = b""
        self.pid = 0
        self._file = -1

    def __enter__(self) -> Self:
        self.pid, self._file = pty.fork()
        if self.pid == 0:
            # Before the program can ask for it.
            fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", 40, self._columns, 0, 0))
            os.chdir(self._folder)
            os.execvpe(self._command[0], list(self._command), self._environ)  # noqa: S606  no shell is meant
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        try:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
        except (ProcessLookupError, ChildProcessError):
            pass
        os.close(self._file)

    @property
    def raw(self) -> bytes:
        """All that was written so far."""
        self._read(0)
        return self._raw

    @property
    def shown(self) -> str:
        """What was written so far, without colours and movements."""
        return _CONTROLS.sub(b"", self.raw).decode(errors="replace")

    def press(self, keys: str) -> None:
        os.write(self._file, keys.encode())

    def wait_for(self, text: str) -> str:
        """Wait until it has been shown; return all that was."""
        deadline = time.monotonic() + DEADLINE_S
        while text not in self.shown:
            assert time.monotonic() < deadline, self.shown
            self._read(0.05)
        return self.shown

    def wait(self) -> int:
        """Wait until the program has ended; return its exit code."""
        deadline = time.monotonic() + DEADLINE_S
        while True:
            self._read(0.02)
            found, status = os.waitpid(self.pid, os.WNOHANG)
            if found:
                self._read(0)
                return os.waitstatus_to_exitcode(status)
            assert time.monotonic() < deadline, self.shown

    def _read(self, within_s: float) -> None:
        while select.select([self._file], [], [], within_s)[0]:
            try:
                piece = os.read(self._file, 65_536)
            except OSError:
                # The program has closed its end.
                return
            if not piece:
                return
            self._raw += piece
            within_s = 0
