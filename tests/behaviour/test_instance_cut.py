"""One moment of several databases, taken while they are written."""

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Self

import pytest

from mercato.adapters.sql.sqlite import connect
from mercato.runtime.instance.cut import NeverStill, cut
from tests.commands import wait_until

NAMES = ("first", "second", "third")
CUTS = 40


@pytest.fixture
def paths(tmp_path: Path) -> dict[str, Path]:
    """Three databases that each count."""
    found = {name: tmp_path / f"{name}.db" for name in NAMES}
    for path in found.values():
        with closing(connect(path, writer=True)) as made:
            made.execute("CREATE TABLE counter (n INTEGER)")
            made.execute("INSERT INTO counter VALUES (0)")
    return found


def count(database: sqlite3.Connection) -> int:
    return int(database.execute("SELECT n FROM counter").fetchone()[0])


class Counting:
    """Counts in one database after the other, each time in the same order."""

    def __init__(self, paths: dict[str, Path]) -> None:
        self._paths = paths
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.rounds = 0

    def _run(self) -> None:
        with ExitStack() as opened:
            databases = [
                opened.enter_context(closing(connect(path, writer=True))) for path in self._paths.values()
            ]
            while not self._ending.is_set():
                for database in databases:
                    database.execute("PRAGMA busy_timeout = 5000")
                    database.execute("UPDATE counter SET n = n + 1")
                self.rounds += 1

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ending.set()
        self._thread.join()


@pytest.fixture
def counting(paths: dict[str, Path]) -> Iterator[Counting]:
    with Counting(paths) as running:
        yield running


def test_what_is_read_is_of_one_moment_however_fast_others_write(
    paths: dict[str, Path], counting: Counting
) -> None:
    for _ in range(CUTS):
        before = counting.rounds
        wait_until(lambda: counting.rounds > before)  # noqa: B023  it is waited for here
        with cut(paths) as snapshots:
            counts = [count(each) for each in snapshots.values()]
            again = [count(each) for each in snapshots.values()]
        assert counts == again
        first, *_, last = counts
        assert first - last in {0, 1}, counts
        assert counts == sorted(counts, reverse=True)
        assert last > before


def test_writers_go_on_while_a_snapshot_is_read(paths: dict[str, Path]) -> None:
    with cut(paths) as snapshots:
        for path in paths.values():
            with closing(connect(path, writer=True)) as writer:
                writer.execute("UPDATE counter SET n = 7")
        assert [count(each) for each in snapshots.values()] == [0, 0, 0]
    with cut(paths) as snapshots:
        assert [count(each) for each in snapshots.values()] == [7, 7, 7]


def test_a_database_that_stays_locked_is_named_and_the_others_are_free(paths: dict[str, Path]) -> None:
    with closing(connect(paths["second"], writer=True)) as holder:
        holder.execute("BEGIN IMMEDIATE")
        with pytest.raises(NeverStill, match="second stays locked"), cut(paths, deadline_s=0.2):
            pytest.fail("there is nothing to read")
        for free in ("first", "third"):
            with closing(connect(paths[free], writer=True)) as writer:
                writer.execute("UPDATE counter SET n = n + 1")
        holder.execute("ROLLBACK")
    with cut(paths) as snapshots:
        assert count(snapshots["first"]) == 1


def test_a_snapshot_cannot_be_written(paths: dict[str, Path]) -> None:
    with cut(paths) as snapshots, pytest.raises(sqlite3.OperationalError, match="readonly"):
        snapshots["first"].execute("UPDATE counter SET n = 1")
