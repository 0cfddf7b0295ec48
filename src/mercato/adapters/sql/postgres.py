"""PostgreSQL: a pool of connections, each with its statements prepared and its store set.

Steps run at READ COMMITTED: a row that a step decides on is locked (`lock_one`), all else is a
conditional statement. Deadlocks and serialization failures are run again.

Row-level security is the second fence: a connection that works for a store sees that store's rows
alone, whatever the statement says. The store is the task's (see kernel.acting); work on every store
has connections of its own, with another role.
"""

import asyncio
import logging
import random
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import asyncpg

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
from mercato.kernel.acting import acting_for
from mercato.kernel.errors import ValidationFailed
from mercato.kernel.tenancy import TenantId

if TYPE_CHECKING:  # they are generic to type checkers alone
    from asyncpg.pool import PoolConnectionProxy

    Connection = PoolConnectionProxy[asyncpg.Record]
    _Connection = asyncpg.Connection[asyncpg.Record]
else:
    Connection, _Connection = object, asyncpg.Connection

log = logging.getLogger(__name__)

ACQUIRE_DEADLINE_S = 5.0
"""How long a statement waits for a connection."""
STATEMENT_DEADLINE_S = 10.0
SEARCH_DEADLINE_S = 5.0
ATTEMPTS = 8
"""How often a step is run that others keep in the way of."""
_FIRST_PAUSE_S = 0.004
TENANT_SETTING = "mercato.tenant"
_SET_TENANT = f"SELECT set_config('{TENANT_SETTING}', $1, false)"

_GONE = (
    asyncpg.PostgresConnectionError,
    asyncpg.InterfaceError,
    asyncpg.CannotConnectNowError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.TooManyConnectionsError,
    asyncpg.QueryCanceledError,
    asyncpg.DiskFullError,
    asyncpg.OutOfMemoryError,
    asyncpg.ReadOnlySQLTransactionError,
    OSError,
    TimeoutError,
)
"""What says that the database cannot be used now."""
_REFUSED = (asyncpg.UniqueViolationError, asyncpg.CheckViolationError, asyncpg.CharacterNotInRepertoireError)
_IN_THE_WAY = (asyncpg.SerializationError, asyncpg.DeadlockDetectedError, asyncpg.LockNotAvailableError)


class PostgresTx:
    """The Tx of one step, on its connection."""

    __slots__ = ("_connection", "callbacks")
    dialect: Dialect = "postgres"

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self.callbacks: list[Callable[[], None]] = []

    async def execute(self, sql: str, params: Sequence[Value] = ()) -> int:
        """Run one statement and return the number of rows it changed."""
        # "INSERT 0 1", "UPDATE 1": the number comes last, where there is one.
        try:
            told = (await self._connection.execute(numbered(sql), *params)).rpartition(" ")[2]
        except _REFUSED as error:
            raise _refusal(error) from error
        return int(told) if told.isdigit() else 0

    async def fetch_one(self, sql: str, params: Sequence[Value] = ()) -> Row | None:
        """Return the first row, or None."""
        try:
            row = await self._connection.fetchrow(numbered(sql), *params)
        except _REFUSED as error:
            raise _refusal(error) from error
        return None if row is None else tuple(row)

    async def lock_one(self, sql: str, params: Sequence[Value] = ()) -> Row | None:
        """Return the first row, or None, and hold it until the step ends."""
        return await self.fetch_one(f"{sql} FOR UPDATE", params)

    async def lock_name(self, name: str) -> None:
        """Hold an advisory lock until the step ends."""
        await self._connection.execute("SELECT pg_advisory_xact_lock(hashtextextended($1, 0))", name)

    async def fetch_all(self, sql: str, params: Sequence[Value] = ()) -> list[Row]:
        """Return all rows."""
        return [tuple(row) for row in await self._connection.fetch(numbered(sql), *params)]

    def after_commit(self, callback: Callable[[], None]) -> None:
        """Call `callback` once the step is durable."""
        self.callbacks.append(callback)


class PostgresDatabase:
    """A Database over PostgreSQL. `url` connects as the role that serves, `system_url` as the platform's."""

    dialect: Dialect = "postgres"

    def __init__(
        self, url: str, system_url: str, *, name: str, size: int = 10, schema: str = "public"
    ) -> None:
        """Connect on first use: a database that is away does not keep a service from starting.

        Each role gets at most `size` connections.
        """
        self.name = name
        self.system_url = system_url
        self._pools = {True: _Pool(url, size, schema), False: _Pool(system_url, size, schema)}
        self._steps: set[asyncio.Task[Any]] = set()
        self._closed = False

    async def transact(self, step: Step[T]) -> T:
        """Run `step` in one transaction; see Database.transact."""
        if self._closed:
            raise StorageUnavailable("The database is closed.")
        # In a task of its own: whoever asked may go away, the step is carried out all the same.
        running = asyncio.get_running_loop().create_task(self._transact(step))
        self._steps.add(running)
        running.add_done_callback(self._steps.discard)
        return await asyncio.shield(running)

    async def _transact(self, step: Step[T]) -> T:
        for attempt in range(1, ATTEMPTS + 1):
            try:
                return await self._run(step)
            except _IN_THE_WAY as error:
                if attempt == ATTEMPTS:
                    raise StorageUnavailable("Too many writes are in each other's way.") from error
                await asyncio.sleep(_FIRST_PAUSE_S * 2**attempt * random.random())  # noqa: S311  a jitter
        raise AssertionError("the last attempt returns or raises")

    async def _run(self, step: Step[T]) -> T:
        async with self._connection() as connection:
            tx = PostgresTx(connection)
            async with connection.transaction():
                result = await step(tx)
        for callback in tx.callbacks:
            try:
                callback()
            except Exception:
                log.exception("callback after a commit failed", extra={"database": self.name})
        return result

    async def fetch_one(self, sql: str, params: Sequence[Value] = ()) -> Row | None:
        """Return the first committed row."""
        async with self._connection() as connection:
            row = await connection.fetchrow(numbered(sql), *params)
        return None if row is None else tuple(row)

    async def fetch_all(self, sql: str, params: Sequence[Value] = ()) -> list[Row]:
        """Return committed rows."""
        async with self._connection() as connection:
            return [tuple(row) for row in await connection.fetch(numbered(sql), *params)]

    async def search(self, sql: str, params: Sequence[Value] = ()) -> list[Row]:
        """Return committed rows of a longer read, within a deadline."""
        async with self._connection() as connection:
            found = await connection.fetch(numbered(sql), *params, timeout=SEARCH_DEADLINE_S)
            return [tuple(row) for row in found]

    async def close(self) -> None:
        """Finish the steps under way and close every connection. Idempotent."""
        self._closed = True
        while self._steps:
            await asyncio.gather(*self._steps, return_exceptions=True)
        for pool in self._pools.values():
            await pool.close()

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[Connection]:
        """Lend a connection that works for the task's store. Raises StorageUnavailable."""
        if self._closed and not self._steps:
            raise StorageUnavailable("The database is closed.")
        tenant = acting_for()
        try:
            async with self._pools[tenant is not None].lend(tenant) as connection:
                yield connection
        except _IN_THE_WAY:
            raise
        except asyncpg.CharacterNotInRepertoireError as error:
            raise _refusal(error) from error
        except _GONE as error:
            raise StorageUnavailable("The database cannot be used now.") from error


class _StoreConnection(_Connection):
    """A connection that remembers for which store it works."""

    __slots__ = ("works_for",)

    def __init__(self, *args: Any, **options: Any) -> None:  # noqa: ANN401  asyncpg's own
        super().__init__(*args, **options)
        self.works_for: TenantId | None = None

    async def work_for(self, tenant: TenantId) -> None:
        """Work for a store. A connection of which it is not known whether it does is thrown away."""
        if self.works_for == tenant:
            return
        try:
            await self.fetchval(_SET_TENANT, tenant)
        except BaseException:
            self.terminate()
            raise
        self.works_for = tenant


class _Pool:
    """The connections of one role."""

    def __init__(self, url: str, size: int, schema: str) -> None:
        self._url = url
        self._size = size
        self._schema = schema
        self._opening = asyncio.Lock()
        self._pool: asyncpg.Pool[asyncpg.Record] | None = None

    @asynccontextmanager
    async def lend(self, tenant: TenantId | None) -> AsyncIterator[Connection]:
        """Lend a connection that works for `tenant`."""
        pool = self._pool or await self._open()
        connection = await pool.acquire(timeout=ACQUIRE_DEADLINE_S)
        try:
            if tenant is not None:
                await connection.work_for(tenant)  # type: ignore[attr-defined]  # the proxy passes it on
            yield connection
        finally:
            await pool.release(connection)

    async def _open(self) -> "asyncpg.Pool[asyncpg.Record]":
        async with self._opening:
            if self._pool is None:
                self._pool = await asyncpg.create_pool(
                    self._url,
                    min_size=0,
                    max_size=self._size,
                    timeout=ACQUIRE_DEADLINE_S,
                    command_timeout=STATEMENT_DEADLINE_S,
                    # Nothing that a statement of ours leaves behind has to be reset, and asking to costs
                    # two fifths of a point read.
                    reset=_nothing,
                    connection_class=_StoreConnection,
                    server_settings={"application_name": "mercato", "search_path": self._schema},
                )
            return self._pool

    async def close(self) -> None:
        """Close every connection."""
        if self._pool is not None:
            await self._pool.close()
            self._pool = None


async def _nothing(_: Any) -> None:  # noqa: ANN401  asyncpg's own type of a connection
    """Nothing is reset."""


def _refusal(error: asyncpg.PostgresError) -> Exception:
    """Return what a statement's refusal means to the step."""
    if isinstance(error, asyncpg.UniqueViolationError):
        return UniqueViolation(str(error))
    if isinstance(error, asyncpg.CheckViolationError):
        return CheckViolation(str(error))
    return ValidationFailed("A text holds the character U+0000, which cannot be kept.")


@lru_cache(maxsize=4096)
def numbered(sql: str) -> str:
    """Return a statement with its `?` numbered as PostgreSQL has parameters. Its texts hold none."""
    first, *rest = sql.split("?")
    return first + "".join(f"${number}{part}" for number, part in enumerate(rest, 1))
