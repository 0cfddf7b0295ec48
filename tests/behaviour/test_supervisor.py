"""Child processes: those that do not stop when they are asked to are killed, and it is told."""

import asyncio
import os
import signal
import sys
from pathlib import Path

import pytest

from mercato.runtime import supervisor
from mercato.runtime.server import PARENT_PIPE
from mercato.runtime.supervisor import Child, Supervisor
from tests.waiting import until

HEARS = f"""
import os, pathlib, sys
pathlib.Path(sys.argv[1]).touch()
os.read(int(os.environ[{PARENT_PIPE!r}]), 1)
"""
"""A child that ends with its parent at the latest."""
DEAF = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)" + HEARS


async def test_a_child_that_does_not_stop_is_killed_and_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(supervisor, "_KILL_AFTER_S", 2.0)
    runs = [tmp_path / "deaf", tmp_path / "hears"]
    deaf = Child("deaf", [sys.executable, "-c", DEAF, str(runs[0])])
    hears = Child("hears", [sys.executable, "-c", HEARS, str(runs[1])])
    supervising = asyncio.create_task(Supervisor([deaf, hears], drain_s=0.0).run())
    await until(lambda: all(each.exists() for each in runs))
    os.kill(os.getpid(), signal.SIGTERM)
    async with asyncio.timeout(10):
        await supervising
    told = [(each.message, vars(each)["processes"]) for each in caplog.records]
    assert told == [("children did not stop, and are killed", ["deaf"])]
