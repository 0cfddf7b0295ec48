"""Every command the program has, run in one go: each in a process of its own, forked from one that has
imported what they share, so that hundreds of runs take seconds."""

import importlib
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec
from cyclopts import App

from mercato.cli.app import app
from tests.commands import Ended, environment

ROOT = Path(__file__).parents[1]
NOBODY = 65534
ALL_DEADLINE_S = 240

ARGUMENTS: dict[str, str] = {
    "up": "",
    "serve": "orders",
    "demo": "--url http://127.0.0.1:9",
    "doctor": "",
    "reconcile": "",
    "outbox": "",
    "outbox show": "",
    "dlq list": "",
    "dlq show": "01a1fd3c",
    "dlq replay": "01a1fd3c",
    "dlq drop": "01a1fd3c --yes",
    "config": "",
    "openapi": "--output openapi.json",
    "graphql-schema": "--output schema.graphql",
    "completion": "bash",
    "version": "",
    "export": "--out instance.export.gz",
    "import": "nothing.export.gz",
    "keys list": "",
    "keys rotate": "",
    "keys retire": "nonsense",
    "migrate up": "",
    "migrate down": "--service orders",
    "migrate status": "",
    "tenants list": "",
    "tenants show": "default",
    "tenants suspend": "nowhere",
    "tenants activate": "nowhere",
    "tenants set-tier": "nowhere basic",
    "tenants offboard": "nowhere --yes",
    "tenants purge": "nowhere --yes",
    "tenants create-operator": "--email a@b.cc --password long-enough",
    "tenants create-admin": "default --email a@b.cc --password long-enough",
}
"""What each command needs at least."""


def commands(of: App = app, path: str = "") -> Iterator[str]:
    """Yield the words of every command that does something."""
    for name, each in of.resolved_commands().items():
        if name.startswith("-"):
            continue
        words = f"{path} {name}".strip()
        if each.default_command is not None:
            yield words
        yield from commands(each, words)


def groups(of: App = app, path: str = "") -> Iterator[str]:
    """Yield the words of everything that has commands below it, the program itself as nothing."""
    yield path
    for name, each in of.resolved_commands().items():
        if not name.startswith("-") and any(not below.startswith("-") for below in each.resolved_commands()):
            yield from groups(each, f"{path} {name}".strip())


def run_all(
    lines: Sequence[str], *, folder: Path, as_nobody: bool = False, variables: dict[str, str] | None = None
) -> dict[str, Ended]:
    """Run each line of words in `folder`; return how each ended."""
    drop = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]
    ended = subprocess.run(
        [*(drop if as_nobody and os.geteuid() == 0 else []), sys.executable, __file__],
        input=msgspec.json.encode(lines),
        capture_output=True,
        timeout=ALL_DEADLINE_S,
        cwd=folder,
        env=environment((variables or {}) | {"PYTHONPATH": str(ROOT)}),
        check=False,
    )
    assert ended.returncode == 0, ended.stderr.decode()
    found = msgspec.json.decode(ended.stdout, type=list[tuple[int, str, str]])
    return {line: Ended(*how) for line, how in zip(lines, found, strict=True)}


def _fork(words: list[str]) -> tuple[int, str, str]:
    """Run one command in a child; a command that serves is killed, and told by its code."""
    import signal  # noqa: PLC0415  the parent needs none of it
    import tempfile  # noqa: PLC0415
    import traceback  # noqa: PLC0415

    from mercato.cli.starting import run  # noqa: PLC0415

    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        child = os.fork()
        if child == 0:
            os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
            os.dup2(out.fileno(), 1)
            os.dup2(err.fileno(), 2)
            signal.alarm(20)
            code = 0
            try:
                sys.argv = ["mercato", *words]
                run(words)
            except SystemExit as end:
                code = end.code if isinstance(end.code, int) else int(end.code is not None)
            except BaseException:  # noqa: BLE001  as the interpreter does
                traceback.print_exc()
                code = 1
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)
        _, status = os.waitpid(child, 0)
        for file in (out, err):
            file.seek(0)
        return os.waitstatus_to_exitcode(status), out.read().decode(), err.read().decode()


def _import_what_is_slow() -> None:
    for name in ("cli.app", "runtime.embedded", "runtime.server", "cli.demo.command", "cli.doctor.books"):
        importlib.import_module(f"mercato.{name}")
    for name in ("alembic.command", "sqlalchemy.dialects.sqlite", "rich.table", "joserfc.jwk"):
        importlib.import_module(name)


if __name__ == "__main__":
    _import_what_is_slow()
    wanted = msgspec.json.decode(sys.stdin.buffer.read(), type=list[str])
    sys.stdout.buffer.write(msgspec.json.encode([_fork(line.split()) for line in wanted]))
