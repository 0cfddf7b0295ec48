"""Logs: one JSON object per line, or readable lines on a terminal.

An error is told by its type, its words and the place it came from; never by a stack trace,
which would show statements and values.
"""

import logging
import os
import sys
import threading
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

import msgspec
from prometheus_client import CollectorRegistry

from mercato.runtime.metrics import FailureCounter
from mercato.runtime.settings import Settings
from mercato.web.access_log import AccessLine, Write

_OWN = frozenset(logging.LogRecord("", 0, "", 0, "", None, None).__dict__) | {
    "message",
    "asctime",
    "taskName",
}
_hushed = threading.Event()
_encode = msgspec.json.Encoder(enc_hook=str).encode


def set_up(settings: Settings, registry: CollectorRegistry, process: str = "") -> Write:
    """Send the program's logs to standard error; return how the access log writes there.

    As JSON each line names the `process`, where that is one of several.
    """
    pretty = settings.log_format == "pretty" or (settings.log_format == "auto" and sys.stderr.isatty())
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_PrettyFormatter() if pretty else _JsonFormatter(process))
    root = logging.getLogger()
    root.handlers = [handler, FailureCounter(registry)]
    root.setLevel(settings.log_level.upper())
    # Of a migration it is told that it runs; how its tool goes about it is not news.
    logging.getLogger("alembic").setLevel(logging.WARNING)
    logging.raiseExceptions = False
    if not settings.access_log:
        return _nowhere
    if pretty:
        return _write_pretty
    return _writing_as(process) if process else _write


@contextmanager
def hushed() -> Iterator[None]:
    """Log warnings and errors only, and no requests, while the block runs: it makes very many."""

    def is_urgent(record: logging.LogRecord) -> bool:
        return record.levelno >= logging.WARNING

    handlers = logging.getLogger().handlers
    for handler in handlers:
        handler.addFilter(is_urgent)
    _hushed.set()
    try:
        yield
    finally:
        _hushed.clear()
        for handler in handlers:
            handler.removeFilter(is_urgent)


def _nowhere(_: bytes) -> None:
    """Write nothing: the access log is off."""


def _write(lines: bytes) -> None:
    if _hushed.is_set():
        return
    os.write(sys.stderr.fileno(), lines)


def _writing_as(process: str) -> Write:
    begin = _encode({"process": process})[:-1] + b","

    def write(lines: bytes) -> None:
        _write(b"".join(begin + line[1:] for line in lines.splitlines(keepends=True)))

    return write


def _write_pretty(lines: bytes) -> None:
    text = [_pretty(msgspec.json.decode(line, type=AccessLine)) for line in lines.splitlines()]
    _write("".join(text).encode())


def _pretty(line: AccessLine) -> str:
    code = f" {line.code}" if line.code else ""
    path = _plain(line.path)
    return f"{line.ts:%H:%M:%S} {line.status} {line.method} {path} {line.ms:.1f} ms{code}\n"


def _plain(text: str) -> str:
    """Return a text in which nothing moves the cursor or begins a line: strangers wrote it."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)


def _place(error: BaseException) -> str:
    """Return where an error came from: the innermost line of this program."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if "mercato" in frame.filename] or list(frames)
    if not own:
        return ""
    return f"{os.path.basename(own[-1].filename)}:{own[-1].lineno} {own[-1].name}"  # noqa: PTH119


class _JsonFormatter(logging.Formatter):
    """One JSON object per record."""

    def __init__(self, process: str) -> None:
        super().__init__()
        self._process = {"process": process} if process else {}

    def format(self, record: logging.LogRecord) -> str:
        fields: dict[str, object] = {
            **self._process,
            "ts": datetime.fromtimestamp(record.created, UTC),
            "level": record.levelname.lower(),
            "event": record.getMessage(),
            "logger": record.name,
        }
        fields |= {name: value for name, value in record.__dict__.items() if name not in _OWN}
        if record.exc_info and record.exc_info[1] is not None:
            error = record.exc_info[1]
            fields |= {"error": type(error).__name__, "cause": str(error)[:500], "where": _place(error)}
        return _encode(fields).decode()


class _PrettyFormatter(logging.Formatter):
    """A readable line per record."""

    def format(self, record: logging.LogRecord) -> str:
        extras = [f"{name}={value}" for name, value in record.__dict__.items() if name not in _OWN]
        if record.exc_info and record.exc_info[1] is not None:
            error = record.exc_info[1]
            extras.append(f"{type(error).__name__}: {str(error)[:500]} at {_place(error)}")
        when = datetime.fromtimestamp(record.created, UTC)
        line = " ".join([f"{when:%H:%M:%S} {record.levelname.lower()} {record.getMessage()}", *extras])
        return _plain(line)
