"""PostgreSQL: a pool of connections, each with its statements prepared and its store set.

Steps run at READ COMMITTED: a row that a step decides on is locked (`lock_one`), all else is a
conditional statement. Deadlocks and serialization failures are run again.

Row-level security is the second fence: a connection that works for a store sees that store's rows
alone, whatever the statement says. The store is the task's (see kernel.acting); work on every store
has connections of its own, with another role.
"""

import asyncio
import logging
import math
import random
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from typing import Any, Protocol, TypeVar

import asyncpg

from mercato.adapters.sql import spans
from mercato.adapters.sql.database import Dialect, InTheWay, Row, Step, StorageUnavailable, T, Value
from mercato.adapters.sql.postgres_pool import (
    DRIVERS,
    Connection,
    Pool,
    PoolSettings,
    is_open,
    throw_away,
)
from mercato.adapters.sql.postgres_tx import REFUSED, PostgresTx, PutRefused, count, numbered, refusal
from mercato.kernel.acting import acting_for
from mercato.kernel.counting import Measure
from mercato.kernel.shielding import shielded
from mercato.kernel.tenancy import TenantId

log = logging.getLogger(__name__)

SEARCH_DEADLINE_S = 5.0
ATTEMPTS = 8
"""How often a step is run that others keep in the way of."""
_FIRST_PAUSE_S = 0.004
_TELL_EVERY_S = 5.0

_GONE = (
    asyncpg.PostgresConnectionError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    asyncpg.OperatorInterventionError,
    asyncpg.InsufficientResourcesError,
    asyncpg.PostgresSystemError,
    asyncpg.ReadOnlySQLTransactionError,
    asyncpg.IdleInTransactionSessionTimeoutError,
    asyncpg.InvalidAuthorizationSpecificationError,
    asyncpg.InvalidCatalogNameError,
    asyncpg.UndefinedTableError,
    asyncpg.UndefinedColumnError,
    OSError,
    TimeoutError,
)
"""What says that the database cannot be used now."""
_IN_THE_WAY = (asyncpg.SerializationError, asyncpg.DeadlockDetectedError, asyncpg.LockNotAvailableError)


T_co = TypeVar("T_co", covariant=True)


class _Run(Protocol[T_co]):
    """One run of a step, which another may follow."""

    async def __call__(self, *, one_by_one: bool) -> T_co:
        """Run it; `one_by_one` says that its statements are not to be sent together."""
        ...


async def _again_and_again(run: _Run[T], *, patient: bool) -> T:
    """Run something until others do not keep it from its end; a bounded number of times, or once."""
    one_by_one, attempt = False, 1
    while True:
        try:
            return await run(one_by_one=one_by_one)
        except PutRefused:
            # Which of its statements it was, and what that means, shows when each is sent by itself.
            one_by_one = True
        except _IN_THE_WAY as error:
            if not patient:
                raise InTheWay from error
            if attempt == ATTEMPTS:
                raise StorageUnavailable("Too many writes are in each other's way.") from error
            await asyncio.sleep(_FIRST_PAUSE_S * 2**attempt * random.random())  # noqa: S311  a jitter
            attempt += 1


class PostgresDatabase:
    """A Database over PostgreSQL. `url` connects as the role that serves, `system_url` as the platform's."""

    dialect: Dialect = "postgres"

    def __init__(self, url: str, system_url: str, settings: PoolSettings, *, name: str) -> None:
        """Connect on first use. Each role has connections of its own."""
        self.name = name
        self.system_url = system_url
        self._pools = {True: Pool(url, settings), False: Pool(system_url, settings)}
        self._begins = settings.set_local
        """Whether a connection is lent in a transaction."""
        self._steps: set[asyncio.Task[Any]] = set()
        self._closed = False
        self._told_at = -math.inf

    @property
    def is_behind(self) -> bool:
        """Whether more wait for a connection than there are."""
        return any(pool.is_behind for pool in self._pools.values())

    async def transact(self, step: Step[T], *, patient: bool = True) -> T:
        """Run `step` in one transaction; see Database.transact."""
        with spans.transaction("postgres", self.name) as begun:
            run = partial(self._run, spans.observed(step, begun), patient=patient)
            return await self._see_through(run, patient=patient)

    async def write(self, sql: str, params: Sequence[Value] = ()) -> int:
        """Run a step of one statement, which is a transaction by itself."""

        async def run(*, one_by_one: bool) -> int:  # noqa: ARG001  there is but one
            async with self._connection() as connection:
                try:
                    return count(await connection.execute(numbered(sql), *params))
                except REFUSED as error:
                    raise refusal(error) from error

        with spans.reading("postgres", self.name, sql):
            return await self._see_through(run)

    async def _see_through(self, run: "_Run[T]", *, patient: bool = True) -> T:
        """Run something to its end, whether or not whoever asked for it goes away."""
        if self._closed:
            raise StorageUnavailable("The database is closed.")
        running = asyncio.get_running_loop().create_task(_again_and_again(run, patient=patient))
        self._steps.add(running)
        running.add_done_callback(self._steps.discard)
        return await shielded(running)

    async def _run(self, step: Step[T], *, patient: bool, one_by_one: bool) -> T:
        async with self._connection() as connection:
            tx = PostgresTx(connection, begun=self._begins, patient=patient, one_by_one=one_by_one)
            try:
                result = await step(tx)
                await tx.commit()
            except BaseException:
                await tx.roll_back()
                raise
        for callback in tx.callbacks:
            try:
                callback()
            except Exception:
                log.exception("callback after a commit failed", extra={"database": self.name})
        return result

    async def fetch_one(self, sql: str, params: Sequence[Value] = ()) -> Row | None:
        """Return the first committed row."""
        with spans.reading("postgres", self.name, sql):
            async with self._connection() as connection:
                row = await connection.fetchrow(numbered(sql), *params)
        return None if row is None else tuple(row)

    async def fetch_all(self, sql: str, params: Sequence[Value] = ()) -> list[Row]:
        """Return committed rows."""
        with spans.reading("postgres", self.name, sql):
            async with self._connection() as connection:
                return [tuple(row) for row in await connection.fetch(numbered(sql), *params)]

    async def search(self, sql: str, params: Sequence[Value] = ()) -> list[Row]:
        """Return committed rows of a longer read, within a deadline."""
        with spans.reading("postgres", self.name, sql):
            async with self._connection() as connection:
                found = await connection.fetch(numbered(sql), *params, timeout=SEARCH_DEADLINE_S)
                return [tuple(row) for row in found]

    def measures(self, service: str) -> tuple[Measure, ...]:
        """Return what is told of both roles' connections."""
        return self._pools[True].measures(service, "store") + self._pools[False].measures(service, "system")

    async def close(self) -> None:
        """Finish the steps under way and close every connection. Idempotent."""
        self._closed = True
        while self._steps:
            await asyncio.gather(*self._steps, return_exceptions=True)
        for pool in self._pools.values():
            await pool.close()

    def _connection(self) -> AbstractAsyncContextManager[Connection]:
        """Lend a connection that works for the task's store. Raises StorageUnavailable, Misconfigured."""
        if self._closed and not self._steps:
            raise StorageUnavailable("The database is closed.")
        tenant = acting_for()
        pool = self._pools[tenant is not None]
        return self._in_transaction(pool, tenant) if self._begins else _Lent(self, pool, tenant)

    @asynccontextmanager
    async def _in_transaction(self, pool: Pool, tenant: TenantId | None) -> AsyncIterator[Connection]:
        try:
            async with pool.lend_in_transaction(tenant) as connection:
                yield connection
        except Exception as error:
            self.explain(error)
            raise

    def explain(self, error: BaseException | None) -> None:
        """Raise what a driver's error means to whoever uses the database, if it is one."""
        if isinstance(error, asyncpg.CharacterNotInRepertoireError):
            raise refusal(error) from error
        if isinstance(error, _GONE) and not isinstance(error, _IN_THE_WAY):
            self._tell(error)
            raise StorageUnavailable("The database cannot be used now.") from error

    def _tell(self, error: Exception) -> None:
        """Log why the database cannot be used, once in a while: there may be very many calls."""
        now = time.monotonic()
        if now - self._told_at >= _TELL_EVERY_S:
            self._told_at = now
            cause = f"{type(error).__name__}: {error}"
            log.warning("database cannot be used", extra={"database": self.name, "cause": cause})


class _Lent:
    """A connection lent for a while; a class, since generators cost a point read more."""

    __slots__ = ("_connection", "_db", "_pool", "_tenant")

    def __init__(self, db: PostgresDatabase, pool: Pool, tenant: TenantId | None) -> None:
        self._db = db
        self._pool = pool
        self._tenant = tenant

    async def __aenter__(self) -> Connection:
        try:
            self._connection = await self._pool.acquire(self._tenant)
        except Exception as error:
            self._db.explain(error)
            raise
        return self._connection

    async def __aexit__(self, _: object, error: BaseException | None, __: object) -> None:
        good = error is None
        if isinstance(error, asyncpg.InternalClientError):
            # The server has ended the connection, and the driver has not seen it yet.
            throw_away(self._connection)
        elif isinstance(error, Exception) and not isinstance(error, DRIVERS):
            # A step that was refused has rolled back.
            good = is_open(self._connection) and not self._connection.is_in_transaction()
        await self._pool.release(self._tenant, self._connection, good=good)
        self._db.explain(error)
