"""What a platform stands on: the machine, the settings, the data folder, the port."""

import os
import platform
import shutil
import sqlite3
import sys
from collections.abc import Iterator
from pathlib import Path

from mercato import __version__
from mercato.cli.doctor.around import ANSWER_S, Stranger, ask_health
from mercato.cli.doctor.findings import Finding, ok, problem, warning
from mercato.runtime.settings import Settings, WrongSetting, describe, load
from mercato.web.health import HealthReport

_PYTHON = (3, 11)
_FREE_MIN = 100 * 1024**2
_FREE_LOW = 1024**3
_LOCKS = Path("/proc/locks")


def programs() -> Iterator[Finding]:
    """Look at Python, SQLite and this program."""
    python = platform.python_version()
    if sys.version_info[:2] < _PYTHON:
        yield problem("python", f"Python {python} is too old", "install Python 3.11 or newer")
    else:
        yield ok("python", f"Python {python}, SQLite {sqlite3.sqlite_version}")
    yield ok("version", f"Mercato {__version__}")


def settings(options: dict[str, object]) -> tuple[Settings | None, Finding]:
    """Read every setting; None if one of them is wrong."""
    try:
        found = load(os.environ, **options)
    except WrongSetting as error:
        return None, problem("settings", str(error), "mend it, or take it out of the environment or .env")
    described = describe(os.environ, **options)
    chosen = [f"{each.name} ({each.source})" for each in described if each.source != "default"]
    told = (
        f"{len(described)} settings, {', '.join(chosen)}"
        if chosen
        else f"{len(described)} settings, all defaults"
    )
    return found, ok("settings", told, None)


def folder(path: Path) -> Iterator[Finding]:
    """Look at the data folder, which may not be there yet."""
    there = path.resolve()
    if there.exists() and not there.is_dir():
        yield problem("data folder", f"{there} is a file", "name a folder with --data or MERCATO_DATA")
        return
    if not there.exists():
        home = next(parent for parent in there.parents if parent.exists())
        if os.access(home, os.W_OK | os.X_OK):
            yield ok("data folder", f"there is nothing in {there} yet", "mercato up")
        else:
            yield problem("data folder", f"{there} cannot be made by {_who()}", "name another with --data")
        return
    if not os.access(there, os.R_OK | os.W_OK | os.X_OK):
        yield problem(
            "data folder",
            f"{there} cannot be written to by {_who()}",
            f"chown it, or: sudo -u {_owner(there)}",
        )
        return
    if there.stat().st_mode & 0o077:
        yield warning("data folder", f"others may look into {there}", f"chmod 700 {there}")
    else:
        yield ok("data folder", str(there))
    yield _space(there)


def _space(path: Path) -> Finding:
    free = shutil.disk_usage(path).free
    told = f"{free / 1024**3:.1f} GiB are free"
    if free < _FREE_MIN:
        return problem("disk", told, "make room: nothing can be written without it")
    return warning("disk", told, "make room soon") if free < _FREE_LOW else ok("disk", told)


def server(found: Settings) -> Finding:
    """Ask who answers at the address."""
    where = f"{found.host}:{found.port}"
    # On PostgreSQL nobody holds a folder.
    user = "?" if found.database_url else _user_of(found.folder)
    try:
        report = ask_health(found.own_url)
    except ConnectionRefusedError:
        if user is None or found.database_url:
            return ok("server", f"nothing runs at {where}", "mercato up")
        told = f"process {user} runs on the data folder, but not at {where}"
        return warning("server", told, "name its address with --host and --port")
    except TimeoutError:
        told = f"who listens at {where} does not answer within {ANSWER_S:.0f} s"
        return problem("server", told, "look into its log, or restart it")
    except Stranger:
        return warning("server", f"what listens at {where} is no Mercato", "choose another with --port")
    return _running(where, report, user)


def _running(where: str, report: HealthReport, user: str | None) -> Finding:
    told = f"{report.service} {report.version} is {report.phase} at {where}"
    failing = [name for name, state in report.checks.items() if state != "ok"]
    if failing:
        told = f"{told}, but failing: {', '.join(failing)}"
        return problem("server", told, "look into its log, or restart it")
    if report.version != __version__:
        return warning("server", f"{told}; this program is {__version__}", "restart it with this one")
    if user is None:
        return warning("server", f"{told}, but not on this data folder", "name its folder with --data")
    return ok("server", told if user == "?" else f"{told}, process {user}")


def _user_of(path: Path) -> str | None:
    """Return the id of the process that holds a lock in the data folder, `?` if that cannot be known."""
    try:
        inodes = {str(lock.stat().st_ino) for lock in path.glob("*.lock")}
        lines = [line.split() for line in _LOCKS.read_text().splitlines()]
    except OSError:
        return "?" if path.is_dir() else None
    holders = [line[4] for line in lines if line[1] == "FLOCK" and line[5].rpartition(":")[2] in inodes]
    return holders[0] if holders else None


def _who() -> str:
    return f"user {os.geteuid()}"


def _owner(path: Path) -> str:
    try:
        return path.owner()
    except KeyError:
        return str(path.stat().st_uid)
