"""Killed, or with a failing disk, at each of the first fifty syncs: nothing acknowledged is lost."""

import asyncio
import os
import shutil
import signal
import sqlite3
import sys
from contextlib import closing
from pathlib import Path

import pytest

from mercato.adapters.sql.database import Tx
from mercato.adapters.sql.sqlite import SqliteDatabase, connect

PROGRAM = Path(__file__).with_name("commit_rows.py")
SYNCS = range(1, 51)
AT_ONCE = 4
TOTAL = 120


@pytest.fixture(scope="module", autouse=True)
def strace() -> None:
    if shutil.which("strace") is None:
        if os.environ.get("CI"):
            pytest.fail("strace is missing: run `make setup-engines`")
        pytest.skip("cannot inject faults without strace: run `make setup-engines`")


def empty_database(path: Path) -> None:
    with closing(connect(path, writer=True)) as connection:
        connection.execute("CREATE TABLE rows (n INTEGER PRIMARY KEY, body BLOB)")


async def commit_under(fault: str, path: Path) -> tuple[set[int], int]:
    """Run the program with `fault` injected; return what it acknowledged and how it ended."""
    empty_database(path)
    calls = "fdatasync,fsync"
    process = await asyncio.create_subprocess_exec(
        *("strace", "-f", "-qq", "-o", "/dev/null", "-e", f"trace={calls}", "-e", f"inject={calls}:{fault}"),
        *(sys.executable, str(PROGRAM), str(path)),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    out, _ = await process.communicate()
    assert process.returncode is not None
    # A number that was cut off was not acknowledged.
    whole = out[: out.rfind(b"\n") + 1]
    return {int(line) for line in whole.split()}, process.returncode


async def recovered_and_usable(path: Path) -> set[int]:
    """Open the database as the next start does, write to it, and return the rows before that."""
    database = SqliteDatabase(path)
    try:
        rows = await database.fetch_all("SELECT n FROM rows")

        async def step(tx: Tx) -> None:
            await tx.execute("INSERT INTO rows (n) VALUES (?)", (TOTAL,))

        await database.transact(step)
    finally:
        await database.close()
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        assert connection.execute("SELECT count(*) FROM rows").fetchone() == (len(rows) + 1,)
    return {n for (n,) in rows}


async def at_every_sync(tmp_path: Path, fault: str) -> list[tuple[set[int], set[int], int]]:
    """Return, for each sync, what was acknowledged, what was recovered and how the program ended."""
    slots = asyncio.Semaphore(AT_ONCE)

    async def at(n: int) -> tuple[set[int], set[int], int]:
        path = tmp_path / f"{n}.db"
        async with slots:
            acknowledged, ended = await commit_under(f"{fault}:when={n}", path)
        return acknowledged, await recovered_and_usable(path), ended

    return await asyncio.gather(*(at(n) for n in SYNCS))


async def test_what_was_acknowledged_before_a_kill_is_there_after_it(tmp_path: Path) -> None:
    found = await at_every_sync(tmp_path, "signal=KILL")
    for acknowledged, recovered, ended in found:
        assert ended in (-signal.SIGKILL, 128 + signal.SIGKILL)
        assert acknowledged <= recovered < set(range(TOTAL))
    assert max(len(acknowledged) for acknowledged, _, _ in found) > TOTAL // 4


async def test_what_was_acknowledged_on_a_failing_disk_is_there_after_it(tmp_path: Path) -> None:
    found = await at_every_sync(tmp_path, "error=EIO")
    for acknowledged, recovered, ended in found:
        assert ended == 0
        assert acknowledged <= recovered
    # Some syncs are those of commits, whose members are told that nothing happened.
    assert min(len(acknowledged) for acknowledged, _, _ in found) < TOTAL


async def test_without_a_fault_every_row_is_acknowledged(tmp_path: Path) -> None:
    acknowledged, ended = await commit_under("error=EIO:when=60000", tmp_path / "whole.db")
    assert (acknowledged, ended) == (set(range(TOTAL)), 0)
