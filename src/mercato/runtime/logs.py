"""Logs: one JSON object per line, or readable lines on a terminal.

Each line tells which request or event it is about. An error is told by its type, its words and the place
it came from; never by a stack trace, which would show statements and values. Whatever any library words,
secrets are hidden in it; and of like lines in great number a few are written, and how many more there were.
See docs/logs.md.
"""

import logging
import os
import sys
import threading
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from types import TracebackType
from typing import TextIO

import msgspec
from prometheus_client import CollectorRegistry

from mercato.kernel import subject, tracing
from mercato.kernel.redaction import HIDDEN, is_secret_name, without_secrets
from mercato.runtime.metrics import FailureCounter
from mercato.runtime.settings import Settings, secrets_of
from mercato.runtime.storms import Storms
from mercato.web.access_log import AccessLine, Write

_OWN = frozenset(logging.LogRecord("", 0, "", 0, "", None, None).__dict__) | {
    "message",
    "asctime",
    "taskName",
}
_LONGEST_CAUSE = 500
_hushed = threading.Event()
_encode = msgspec.json.Encoder(enc_hook=str).encode


def set_up(settings: Settings, registry: CollectorRegistry, process: str = "") -> Write:
    """Send the program's logs to standard error; return how the access log writes there.

    As JSON each line names the `process`, where that is one of several.
    """
    pretty = settings.log_format == "pretty" or (settings.log_format == "auto" and sys.stderr.isatty())
    handler = _Lines(sys.stderr)
    secrets = secrets_of(settings)
    handler.setFormatter(_PrettyFormatter(secrets) if pretty else _JsonFormatter(secrets, process))
    sys.excepthook = _log_the_end
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


class _Lines(logging.StreamHandler[TextIO]):
    """Writes lines, and of a storm of them only some."""

    def __init__(self, stream: TextIO) -> None:
        super().__init__(stream)
        self.storms = Storms(super().handle)

    def handle(self, record: logging.LogRecord) -> bool:
        """Write a record, unless it is one of too many that are alike."""
        return not self.storms.holds_back(record) and bool(super().handle(record))


class _Formatter(logging.Formatter):
    """Knows what is told of a record, and what of that is not."""

    def __init__(self, secrets: frozenset[str]) -> None:
        """`secrets` are the settings' own, which have no shape to know them by."""
        super().__init__()
        self._secrets = secrets

    def told(self, record: logging.LogRecord) -> tuple[str, dict[str, object]]:
        """Return the record's words, and what is told with them."""
        # Ours without arguments are constants.
        constant = not record.args and record.name.startswith("mercato.")
        words = record.getMessage()
        fields = {
            name: HIDDEN if is_secret_name(name) else self._clean(value)
            for name, value in record.__dict__.items()
            if name not in _OWN
        }
        if record.exc_info and record.exc_info[1] is not None:
            error = record.exc_info[1]
            cause = self._clean(str(error)[:_LONGEST_CAUSE])
            fields |= {"error": type(error).__name__, "cause": cause, "where": _place(error)}
        return words if constant else str(self._clean(words)), fields

    def _clean(self, value: object) -> object:
        """Return a value with secrets hidden in it."""
        if value is None or isinstance(value, bool | int | float | datetime):
            return value
        text = str(value)
        for secret in self._secrets:
            text = text.replace(secret, HIDDEN)
        return without_secrets(text)


class _JsonFormatter(_Formatter):
    """One JSON object per record."""

    def __init__(self, secrets: frozenset[str], process: str) -> None:
        super().__init__(secrets)
        self._process = {"process": process} if process else {}

    def format(self, record: logging.LogRecord) -> str:
        words, told = self.told(record)
        fields: dict[str, object] = {
            **self._process,
            "ts": datetime.fromtimestamp(record.created, UTC),
            "level": record.levelname.lower(),
            "event": words,
            "logger": record.name,
        }
        return _encode(fields | _context() | told).decode()


class _PrettyFormatter(_Formatter):
    """A readable line per record."""

    def format(self, record: logging.LogRecord) -> str:
        words, told = self.told(record)
        about = _context() if record.levelno >= logging.WARNING else {}
        when = datetime.fromtimestamp(record.created, UTC)
        pairs = [f"{name}={value}" for name, value in (about | told).items()]
        return _plain(" ".join([f"{when:%H:%M:%S} {record.levelname.lower()} {words}", *pairs]))


def _context() -> dict[str, object]:
    """Return what the task is about that logs: a record is formatted where it is made."""
    trace_id = tracing.trace_id()
    return {**subject.named(), **({"trace_id": trace_id} if trace_id else {})}


def tell_rest() -> None:
    """Write how many lines were held back: before the process ends."""
    for handler in logging.getLogger().handlers:
        if isinstance(handler, _Lines):
            handler.storms.tell()


def _log_the_end(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Tell of an error that ends the process as of any other."""
    if not issubclass(kind, Exception):
        sys.__excepthook__(kind, error, trace)
        return
    logging.getLogger(__name__).critical("ended by an error", exc_info=(kind, error, trace))
