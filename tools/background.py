"""The platform in the background, for `make up-d`, `down`, `logs` and `health`.

Its pid and its log are in the data folder, so that each folder has one of its own.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from urllib.parse import urlsplit

import psutil

from mercato.runtime.server import PortInUse, check_port
from mercato.runtime.settings import Settings, WrongSetting, load

_COMMAND = ["-m", "mercato", "up"]
START_S = 60.0
STOP_GRACE_S = 10.0
"""Beyond what requests under way are given."""


class _Failed(Exception):
    """What was asked for was not done; the message is a sentence for the person."""


def up(settings: Settings) -> str:
    """Start it unless it runs, and wait until it is ready."""
    if (pid := _running(settings)) is not None:
        return f"It is running already, as process {pid}, at {settings.own_url}."
    # Another program there might be as healthy, and would be taken for this one.
    check_port(settings.host, settings.port)
    settings.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    with _log(settings).open("ab") as log:
        started = subprocess.Popen(
            [sys.executable, *_COMMAND],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    _pid(settings).write_text(f"{started.pid}\n")
    deadline = time.monotonic() + START_S
    while _health(settings, "/health/ready") is None:
        if started.poll() is not None or time.monotonic() > deadline:
            started.kill()
            _pid(settings).unlink()
            last = "\n".join(_log(settings).read_text(errors="replace").splitlines()[-5:])
            raise _Failed(f"It did not get ready. The end of {_log(settings)}:\n{last}")
        time.sleep(0.05)
    return f"It runs at {settings.own_url}, as process {started.pid}. Log: {_log(settings)}"


def down(settings: Settings) -> str:
    """Stop it, letting it finish what is under way."""
    pid = _running(settings)
    if pid is None:
        return f"Nothing runs from {settings.folder}."
    os.kill(pid, signal.SIGTERM)
    deadline = time.monotonic() + settings.drain_deadline + STOP_GRACE_S
    while _running(settings) is not None:
        if time.monotonic() > deadline:
            raise _Failed(f"Process {pid} has not ended yet.")
        time.sleep(0.05)
    _pid(settings).unlink(missing_ok=True)
    return "It is stopped."


def logs(settings: Settings) -> str:
    """Show the end of its log, and what comes, until it is interrupted."""
    if not _log(settings).exists():
        raise _Failed(f"There is no {_log(settings)}; `make up-d` writes it.")
    os.execvp("tail", ["tail", "-n", "100", "-F", str(_log(settings))])  # noqa: S606, S607  the system's own


def health(settings: Settings) -> str:
    """Tell its health, however it was started."""
    found = _health(settings, "/health")
    if found is None:
        raise _Failed(f"Nothing answers at {settings.own_url}.")
    if _health(settings, "/health/ready") is None:
        raise _Failed(f"It is not ready: {found}")
    return found


COMMANDS: dict[str, Callable[[Settings], str]] = {"up": up, "down": down, "logs": logs, "health": health}


def _log(settings: Settings) -> Path:
    return settings.folder / "mercato.log"


def _pid(settings: Settings) -> Path:
    return settings.folder / "mercato.pid"


def _running(settings: Settings) -> int | None:
    """Return the process, unless it is gone, or its number has passed to another program."""
    try:
        pid = int(_pid(settings).read_text())
    except (OSError, ValueError):
        return None
    try:
        process = psutil.Process(pid)
        gone = process.status() == psutil.STATUS_ZOMBIE or process.cmdline()[1:] != _COMMAND
    except psutil.NoSuchProcess:
        return None
    return None if gone else pid


def _health(settings: Settings, path: str) -> str | None:
    """Return what it answers there, if that is a success."""
    at = urlsplit(settings.own_url)
    connection = HTTPConnection(at.hostname or "", at.port, timeout=10)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        text = answer.read().decode()
    except (OSError, HTTPException):
        return None
    finally:
        connection.close()
    return text if answer.status == 200 else None


def main(words: list[str]) -> int:
    """Carry out one command."""
    try:
        print(COMMANDS[words[0]](load(os.environ)))
    except (_Failed, PortInUse, WrongSetting) as failed:
        print(f"mercato: {failed}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
