"""The group writer: steps share a commit, and nothing else."""

import asyncio
import logging
import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from mercato.adapters.sql import sqlite_writer
from mercato.adapters.sql.database import CheckViolation, Step, StorageUnavailable, Tx, UniqueViolation
from mercato.adapters.sql.sqlite import SqliteDatabase, connect
from mercato.adapters.sql.sqlite_writer import GROUP_STEPS, GroupWriter, StepSuspended


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "rows.db"
    with closing(connect(path, writer=True)) as connection:
        connection.execute(
            "CREATE TABLE rows (n INTEGER PRIMARY KEY, body BLOB, CONSTRAINT positive CHECK (n > 0))"
        )
    return path


@pytest.fixture
async def db(path: Path) -> AsyncIterator[SqliteDatabase]:
    database = SqliteDatabase(path)
    yield database
    await database.close()


@pytest.fixture
async def raw(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[tuple[GroupWriter, sqlite3.Connection]]:
    """A writer together with the connection that is otherwise its own. No group ends for want of time."""
    monkeypatch.setattr(sqlite_writer, "GROUP_SECONDS", 60.0)
    connection = connect(path, writer=True)
    writer = GroupWriter(connection, name="rows")
    yield writer, connection
    await writer.close()


def put(n: int, body: bytes = b"") -> Step[int]:
    async def step(tx: Tx) -> int:
        await tx.execute("INSERT INTO rows (n, body) VALUES (?, ?)", (n, body))
        return n

    return step


def saved(path: Path) -> list[int]:
    """Return the rows as another connection finds them."""
    with closing(sqlite3.connect(path)) as connection:
        return [n for (n,) in connection.execute("SELECT n FROM rows ORDER BY n")]


def commits(connection: sqlite3.Connection) -> list[str]:
    seen: list[str] = []
    connection.set_trace_callback(lambda sql: seen.append(sql) if sql == "COMMIT" else None)
    return seen


async def outcomes(writer: GroupWriter | SqliteDatabase, *steps: Step[Any]) -> list[Any]:
    return await asyncio.gather(*(writer.transact(step) for step in steps), return_exceptions=True)


async def test_waiting_steps_share_commits_and_keep_their_order(
    raw: tuple[GroupWriter, sqlite3.Connection], path: Path
) -> None:
    writer, connection = raw
    seen = commits(connection)
    count = 3 * GROUP_STEPS
    assert await outcomes(writer, *(put(n) for n in range(1, count + 1))) == list(range(1, count + 1))
    assert 3 <= len(seen) <= count // 4
    assert saved(path) == list(range(1, count + 1))


async def test_a_step_that_fails_leaves_the_others_of_its_group_alone(
    raw: tuple[GroupWriter, sqlite3.Connection], path: Path
) -> None:
    writer, connection = raw
    seen = commits(connection)

    async def fails_half_way(tx: Tx) -> None:
        await put(3)(tx)
        raise LookupError("half way")

    results = await outcomes(writer, put(1), fails_half_way, put(1), put(-1), put(2))
    assert [type(each) for each in results] == [int, LookupError, UniqueViolation, CheckViolation, int]
    assert saved(path) == [1, 2]
    assert len(seen) == 1


async def test_a_step_that_suspends_is_refused_and_undone(db: SqliteDatabase, path: Path) -> None:
    async def waits(tx: Tx) -> None:
        await put(1)(tx)
        await asyncio.sleep(0)

    results = await outcomes(db, waits, put(2))
    assert isinstance(results[0], StepSuspended)
    assert saved(path) == [2]


async def test_a_wrong_statement_is_a_defect_and_not_an_outage(db: SqliteDatabase) -> None:
    async def wrong(tx: Tx) -> None:
        await tx.execute("INSERT INTO nowhere VALUES (1)")

    with pytest.raises(sqlite3.OperationalError, match="nowhere"):
        await db.transact(wrong)


def losing(connection: sqlite3.Connection, *, times: int, raises: bool) -> Step[str]:
    """Return a step that rolls the whole transaction back, as a full disk does."""
    left = [times]

    async def step(tx: Tx) -> str:
        await put(100)(tx)
        if left[0]:
            left[0] -= 1
            connection.execute("ROLLBACK")
            if raises:
                raise sqlite3.OperationalError("database or disk is full")
        return "done"

    return step


async def test_members_of_a_lost_transaction_are_run_again(
    raw: tuple[GroupWriter, sqlite3.Connection], path: Path
) -> None:
    writer, connection = raw
    # The first two have released their savepoints when the transaction goes.
    results = await outcomes(writer, put(1), put(2), losing(connection, times=1, raises=True), put(3))
    assert results == [1, 2, "done", 3]
    assert saved(path) == [1, 2, 3, 100]


@pytest.mark.parametrize("raises", [True, False])
async def test_a_step_that_loses_every_transaction_fails_alone(
    raw: tuple[GroupWriter, sqlite3.Connection], path: Path, *, raises: bool
) -> None:
    writer, connection = raw
    results = await outcomes(writer, put(1), losing(connection, times=9, raises=raises), put(2))
    assert [type(each) for each in results] == [int, StorageUnavailable, int]
    assert saved(path) == [1, 2]


async def test_nothing_is_acknowledged_that_a_full_disk_took_back(
    raw: tuple[GroupWriter, sqlite3.Connection], path: Path
) -> None:
    writer, connection = raw
    connection.execute("PRAGMA cache_size = 5")
    pages = connection.execute("PRAGMA page_count").fetchone()[0]
    connection.execute(f"PRAGMA max_page_count = {pages + 20}")
    results = await outcomes(writer, *(put(n, bytes(3000)) for n in range(1, 61)))
    acknowledged = [each for each in results if isinstance(each, int)]
    refused = [each for each in results if isinstance(each, StorageUnavailable)]
    assert acknowledged
    assert refused
    assert len(acknowledged) + len(refused) == 60
    assert saved(path) == acknowledged

    connection.execute("PRAGMA max_page_count = 1000000")
    assert await writer.transact(put(999)) == 999


async def test_a_commit_that_fails_is_told_to_every_member(
    raw: tuple[GroupWriter, sqlite3.Connection], path: Path
) -> None:
    writer, connection = raw
    called: list[int] = []

    def with_callback(n: int) -> Step[int]:
        async def step(tx: Tx) -> int:
            tx.after_commit(lambda: called.append(n))
            return await put(n)(tx)

        return step

    def deny_commit(action: int, operation: str | None, *_: object) -> int:
        denied = action == sqlite3.SQLITE_TRANSACTION and operation == "COMMIT"
        return sqlite3.SQLITE_DENY if denied else sqlite3.SQLITE_OK

    connection.set_authorizer(deny_commit)
    results = await outcomes(writer, with_callback(1), put(-1), with_callback(2))
    assert [type(each) for each in results] == [StorageUnavailable] * 3
    assert called == []
    assert saved(path) == []

    connection.set_authorizer(None)
    assert await outcomes(writer, with_callback(3)) == [3]
    assert called == [3]


async def test_callbacks_come_after_the_commit_and_only_of_steps_that_took_effect(
    raw: tuple[GroupWriter, sqlite3.Connection], path: Path
) -> None:
    writer, connection = raw
    called: list[tuple[str, list[int]]] = []

    def calling(name: str, step: Step[Any]) -> Step[Any]:
        async def both(tx: Tx) -> object:
            tx.after_commit(lambda: called.append((name, saved(path))))
            return await step(tx)

        return both

    lost = losing(connection, times=1, raises=True)
    await outcomes(writer, calling("kept", put(1)), calling("failed", put(-1)), calling("lost once", lost))
    assert [name for name, _ in called] == ["kept", "lost once"]
    assert called[-1][1] == [1, 100]


async def test_a_listener_that_fails_does_not_undo_what_is_durable(
    db: SqliteDatabase, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def broken() -> None:
        raise RuntimeError("a broken listener")

    async def step(tx: Tx) -> int:
        tx.after_commit(broken)
        return await put(1)(tx)

    with caplog.at_level(logging.ERROR):
        assert await outcomes(db, step, put(2)) == [1, 2]
    assert saved(path) == [1, 2]
    assert "a broken listener" in caplog.text


async def test_a_step_whose_caller_went_away_is_carried_out(db: SqliteDatabase, path: Path) -> None:
    callers = [asyncio.create_task(db.transact(put(n))) for n in (1, 2, -3)]
    await asyncio.sleep(0)
    for caller in callers:
        caller.cancel()
    await asyncio.gather(*callers, return_exceptions=True)
    assert await db.transact(put(4)) == 4
    assert saved(path) == [1, 2, 4]


async def test_closing_carries_out_what_waits_and_refuses_what_comes_later(
    db: SqliteDatabase, path: Path
) -> None:
    waiting = [asyncio.create_task(db.transact(put(n))) for n in range(1, 200)]
    await asyncio.sleep(0)
    await db.close()
    assert await asyncio.gather(*waiting) == list(range(1, 200))
    assert saved(path) == list(range(1, 200))
    with pytest.raises(StorageUnavailable):
        await db.transact(put(200))
    for read in (db.fetch_one, db.fetch_all, db.search):
        with pytest.raises(StorageUnavailable):
            await read("SELECT n FROM rows")
    await db.close()


async def test_a_writer_waits_for_another_process_without_holding_the_loop(
    db: SqliteDatabase, path: Path
) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        other.execute("INSERT INTO rows (n) VALUES (1)")
        writing = asyncio.create_task(db.transact(put(2)))
        for _ in range(20):
            await asyncio.sleep(0.001)
            assert await db.fetch_all("SELECT n FROM rows") == []
        assert not writing.done()
        other.execute("COMMIT")
    assert await writing == 2
    assert saved(path) == [1, 2]


async def test_a_lock_that_is_never_given_back_is_an_outage(
    db: SqliteDatabase, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_writer, "BUSY_DEADLINE_S", 0.05)
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        results = await outcomes(db, put(1), put(2))
        assert [type(each) for each in results] == [StorageUnavailable] * 2
    assert await db.transact(put(3)) == 3
    assert saved(path) == [3]


async def test_more_waiting_steps_than_it_holds_are_refused_at_once(
    db: SqliteDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_writer, "MAX_WAITING", 10)
    results = await outcomes(db, *(put(n) for n in range(1, 16)))
    assert sum(isinstance(each, StorageUnavailable) for each in results) == 5


async def test_reads_see_what_is_committed_and_nothing_else(db: SqliteDatabase) -> None:
    seen: list[object] = []

    def look(read: Callable[[], object]) -> Step[None]:
        async def step(tx: Tx) -> None:
            await put(1)(tx)
            seen.append(await tx.fetch_one("SELECT count(*) FROM rows"))
            seen.append(read())

        return step

    await db.transact(look(lambda: db._reader.execute("SELECT count(*) FROM rows").fetchone()))
    assert seen == [(1,), (0,)]
    assert await db.fetch_one("SELECT count(*) FROM rows") == (1,)
    assert await db.search("SELECT count(*) FROM rows") == [(1,)]
    with pytest.raises(StorageUnavailable):
        await db.fetch_all("DELETE FROM rows")
