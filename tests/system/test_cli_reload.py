"""`mercato up --reload`: a new process after each change, one that outlives nothing."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

import mercato
from tests.commands import Server, environment, wait_until
from tests.modes import DATA_FOLDER
from tests.running import free_port

pytestmark = DATA_FOLDER

STOP_S = 20


@dataclass
class Reloading:
    """A supervisor, and what it serves."""

    process: "subprocess.Popen[bytes]"
    server: Server
    source: Path
    err: Path

    @property
    def said(self) -> str:
        return self.err.read_text()

    def children(self) -> list[psutil.Process]:
        return psutil.Process(self.process.pid).children(recursive=True)

    def version(self) -> str | None:
        """The version that is served, None while nothing is."""
        try:
            return str(self.server.ask("GET", "/health")[1]["version"])
        except OSError:
            return None

    def write(self, version: str) -> None:
        (self.source / "__init__.py").write_text(f'"""A copy."""\n\n__version__ = "{version}"\n')


@contextmanager
def reloading(folder: Path, *words: str) -> Iterator[Reloading]:
    """Run it on a copy of the source."""
    source = folder / "src" / "mercato"
    original = Path(mercato.__file__).parent
    shutil.copytree(original, source, ignore=shutil.ignore_patterns("__pycache__"))
    port = free_port()
    out, err = folder / "out", folder / "err"
    command = [sys.executable, "-m", "mercato", "up", "--reload", "--port", str(port), *words]
    with out.open("wb") as stdout, err.open("wb") as stderr:
        process = subprocess.Popen(
            command,
            cwd=folder,
            stdout=stdout,
            stderr=stderr,
            env=environment({"PYTHONPATH": str(source.parent)}),
        )
    found = Reloading(process, Server(f"http://127.0.0.1:{port}", port, out), source, err)
    try:
        wait_until(lambda: found.version() is not None)
        yield found
    finally:
        if process.poll() is None:
            process.kill()
            process.wait(STOP_S)


def test_a_change_is_served_at_the_same_address_and_one_ctrl_c_ends_all(tmp_path: Path) -> None:
    with reloading(tmp_path) as running:
        (first,) = running.children()
        running.write("7.7.7")
        wait_until(lambda: running.version() == "7.7.7")
        assert not first.is_running()
        (second,) = running.children()

        running.process.send_signal(signal.SIGINT)

        assert running.process.wait(STOP_S) == 0
        assert not second.is_running()
        assert running.version() is None
        assert "__init__.py changed: starting anew" in running.said
        assert "Traceback" not in running.said


def test_a_broken_source_is_shown_and_the_next_change_waited_for(tmp_path: Path) -> None:
    with reloading(tmp_path) as running:
        (running.source / "__init__.py").write_text("def broken(:\n")
        wait_until(lambda: "waiting for a change" in running.said)
        assert "SyntaxError" in running.said
        assert running.children() == []
        running.write("7.7.8")
        wait_until(lambda: running.version() == "7.7.8")


def test_a_change_of_the_settings_file_counts_too(tmp_path: Path) -> None:
    with reloading(tmp_path) as running:
        (tmp_path / ".env").write_text("MERCATO_HOLD=soon\n")
        wait_until(lambda: "MERCATO_HOLD is 'soon', which is not acceptable" in running.said)
        (tmp_path / ".env").unlink()
        wait_until(lambda: running.version() is not None)
        other = running.source / "notes.txt.swp"
        before = running.children()
        other.write_text("an editor's")
        assert running.children() == before


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGHUP])
def test_however_it_ends_nothing_is_left_behind(number: signal.Signals, tmp_path: Path) -> None:
    with reloading(tmp_path) as running:
        (child,) = running.children()
        os.kill(running.process.pid, number)
        running.process.wait(STOP_S)
        wait_until(lambda: not child.is_running() or child.status() == psutil.STATUS_ZOMBIE)
        wait_until(lambda: running.version() is None)
