"""The group writer: waiting steps share one transaction and one sync of the disk.

Each step runs in a savepoint of its own, so one that fails leaves the others alone. The
writer drives a step's coroutine by hand; only COMMIT leaves the event loop, for a thread.
While it syncs, the next group gathers: the busier the writer, the larger the groups.
"""

import asyncio
import logging
import sqlite3
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from mercato.adapters.sql.database import (
    CheckViolation,
    Dialect,
    Row,
    Step,
    StorageUnavailable,
    T,
    UniqueViolation,
    Value,
)
from mercato.kernel import tracing

log = logging.getLogger(__name__)

GROUP_STEPS = 64
GROUP_SECONDS = 0.002
"""A group takes no further step once it has held the event loop this long."""
MAX_WAITING = 10_000
BUSY_DEADLINE_S = 5.0
"""How long another process, such as a command line tool, may hold the write lock."""
_BUSY_PAUSE_S = 0.005


class StepSuspended(RuntimeError):
    """A step awaited something other than its `tx`: a defect in the step."""


class SqliteTx:
    """The Tx of one step. Its methods never suspend."""

    __slots__ = ("_connection", "callbacks")
    dialect: Dialect = "sqlite"

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self.callbacks: list[Callable[[], None]] = []

    async def execute(self, sql: str, params: Sequence[Value] = ()) -> int:
        """Run one statement and return the number of rows it changed."""
        return self._run(sql, params).rowcount

    async def put(
        self,
        sql: str,
        params: Sequence[Value] = (),
        *,
        given: str = "",
        rows: int = 1,
        otherwise: Callable[[], Exception] | None = None,
    ) -> None:
        """Run one statement at once: there is no way to it that could be saved."""
        if given:
            raise NotImplementedError("statements that read what others have changed")
        if self._run(sql, params).rowcount != rows and otherwise is not None:
            raise otherwise()

    async def fetch_one(self, sql: str, params: Sequence[Value] = ()) -> Row | None:
        """Return the first row, or None."""
        rows = self._run(sql, params).fetchall()
        return rows[0] if rows else None

    async def lock_one(self, sql: str, params: Sequence[Value] = ()) -> Row | None:
        """Return the first row, or None: there is one writer, so every row is this step's."""
        return await self.fetch_one(sql, params)

    async def lock_name(self, name: str) -> None:
        """Do nothing: no other step goes on anyway."""

    async def fetch_all(self, sql: str, params: Sequence[Value] = ()) -> list[Row]:
        """Return all rows."""
        return self._run(sql, params).fetchall()

    def after_commit(self, callback: Callable[[], None]) -> None:
        """Call `callback` once the group is durable."""
        self.callbacks.append(callback)

    def _run(self, sql: str, params: Sequence[Value]) -> sqlite3.Cursor:
        try:
            return self._connection.execute(sql, params)
        except sqlite3.IntegrityError as error:
            if error.sqlite_errorcode == sqlite3.SQLITE_CONSTRAINT_CHECK:
                raise CheckViolation(str(error)) from error
            raise UniqueViolation(str(error)) from error


@dataclass(slots=True, eq=False)
class _Job:
    """One waiting step, and what came of its last run."""

    step: Step[Any]
    future: asyncio.Future[Any]
    value: Any = None
    error: BaseException | None = None
    callbacks: list[Callable[[], None]] = field(default_factory=list)


class GroupWriter:
    """Runs steps on one connection that nobody else uses."""

    def __init__(self, connection: sqlite3.Connection, *, name: str) -> None:
        self._connection = connection
        self._name = name
        self._waiting: deque[_Job] = deque()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=f"commit-{name}")
        self._task: asyncio.Task[None] | None = None
        self._closed = False

    @property
    def waiting(self) -> int:
        """How many steps wait for a group."""
        return len(self._waiting)

    async def transact(self, step: Step[T]) -> T:
        """Queue `step` and wait until its group is durable. See Database.transact."""
        if self._closed:
            raise StorageUnavailable("The database is closed.")
        if len(self._waiting) >= MAX_WAITING:
            raise StorageUnavailable("Too many writes are waiting.")
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Job(step, future))
        if self._task is None:
            self._task = asyncio.create_task(self._drain(), name=f"writer-{self._name}")
        # Whoever asked may go away and cancel the future; the step is carried out all the same.
        return await future

    async def close(self) -> None:
        """Carry out what waits, then close. Idempotent."""
        self._closed = True
        if self._task is not None:
            await self._task
        self._thread.shutdown(wait=True)
        self._connection.close()

    async def _drain(self) -> None:
        """Carry out groups until nothing waits."""
        # The task began in the context of the first that came.
        tracing.enter(None)
        try:
            while self._waiting:
                # One turn of the loop lets everybody who is ready join the group.
                await asyncio.sleep(0)
                await self._carry_out_group()
        finally:
            self._task = None
            if self._waiting and not self._closed:
                self._task = asyncio.create_task(self._drain(), name=f"writer-{self._name}")

    async def _carry_out_group(self) -> None:
        jobs: list[_Job] = []
        try:
            await self._begin()
            started = time.perf_counter()
            while self._waiting and len(jobs) < GROUP_STEPS and time.perf_counter() - started < GROUP_SECONDS:
                jobs.append(self._waiting.popleft())
                self._run(jobs[-1])
                if not self._connection.in_transaction:
                    await self._run_again_one_by_one(jobs)
                    return
            await self._commit(jobs)
        except sqlite3.Error as error:
            self._fail(jobs or self._take_group(), error)
        except BaseException as error:
            self._fail(jobs, error)
            raise

    def _take_group(self) -> list[_Job]:
        return [self._waiting.popleft() for _ in range(min(GROUP_STEPS, len(self._waiting)))]

    async def _begin(self) -> None:
        """Take the write lock, asking again while another process has it."""
        deadline = time.monotonic() + BUSY_DEADLINE_S
        while True:
            try:
                self._connection.execute("BEGIN IMMEDIATE")
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                    raise
            else:
                return
            await asyncio.sleep(_BUSY_PAUSE_S)

    def _run(self, job: _Job) -> None:
        """Run one step in a savepoint, keeping its value or its error."""
        connection = self._connection
        tx = SqliteTx(connection)
        job.value, job.error = None, None
        connection.execute("SAVEPOINT step")
        try:
            job.value = _drive(job.step, tx)
            job.callbacks = tx.callbacks
        except Exception as error:  # noqa: BLE001  whatever a step raises is its caller's to see
            job.error = error
        # A full disk or an I/O error may have rolled back the whole transaction.
        if not connection.in_transaction:
            return
        if job.error is not None:
            connection.execute("ROLLBACK TO step")
        connection.execute("RELEASE step")

    async def _run_again_one_by_one(self, jobs: list[_Job]) -> None:
        """Each member alone, after one of them lost the group's transaction for all."""
        log.warning("group transaction lost", extra={"database": self._name, "steps": len(jobs)})
        for job in jobs:
            try:
                await self._begin()
                self._run(job)
                if self._connection.in_transaction:
                    await self._commit([job])
                else:
                    self._fail([job], job.error)
            except sqlite3.Error as error:
                self._fail([job], error)

    async def _commit(self, jobs: list[_Job]) -> None:
        """Make the group durable, then tell everybody.

        A refusal was decided on the group's state: it too is told only once that is durable.
        """
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(self._thread, self._connection.execute, "COMMIT")
        for job in jobs:
            if job.error is not None:
                _reject(job, _as_unavailable(job.error))
                continue
            for callback in job.callbacks:
                self._call(callback)
            if not job.future.done():
                job.future.set_result(job.value)

    def _call(self, callback: Callable[[], None]) -> None:
        try:
            callback()
        except Exception:
            # The change is durable: a listener's failure must not be told as the step's.
            log.exception("after-commit callback failed", extra={"database": self._name})

    def _fail(self, jobs: list[_Job], cause: BaseException | None) -> None:
        """Roll back whatever is left, and tell every member that nothing happened."""
        log.error(
            "commit failed",
            extra={"database": self._name, "steps": len(jobs), "cause": repr(cause)},
        )
        if self._connection.in_transaction:
            try:
                self._connection.execute("ROLLBACK")
            except sqlite3.Error as error:
                log.error("rollback failed", extra={"database": self._name, "cause": repr(error)})  # noqa: TRY400
        for job in jobs:
            refusal = StorageUnavailable("The database could not store the change.")
            refusal.__cause__ = cause
            _reject(job, refusal)


def _drive(step: Step[Any], tx: SqliteTx) -> Any:  # noqa: ANN401  a step returns what it likes
    """Run a step's coroutine to its end without an event loop."""
    coroutine = step(tx)
    try:
        coroutine.send(None)
    except StopIteration as done:
        return done.value
    coroutine.close()
    raise StepSuspended("a step awaited something other than its tx")


def _as_unavailable(error: BaseException) -> BaseException:
    # SQLITE_ERROR is a wrong statement: a defect, which no repetition mends.
    if isinstance(error, sqlite3.OperationalError) and error.sqlite_errorcode != sqlite3.SQLITE_ERROR:
        unavailable = StorageUnavailable("The database could not store the change.")
        unavailable.__cause__ = error
        return unavailable
    return error


def _reject(job: _Job, error: BaseException) -> None:
    if not job.future.done():
        job.future.set_exception(error)
        # A caller that went away never looks: the log line above, or its own, has said it.
        job.future.exception()
