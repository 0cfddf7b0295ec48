"""Connections to PostgreSQL as one role, each of which works for one store at a time."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import asyncpg

from mercato.adapters.sql.database import Misconfigured
from mercato.kernel.ids import uuid7
from mercato.kernel.tenancy import TenantId

if TYPE_CHECKING:  # they are generic to type checkers alone
    from asyncpg.pool import PoolConnectionProxy

    Connection = PoolConnectionProxy[asyncpg.Record]
    _Connection = asyncpg.Connection[asyncpg.Record]
else:
    Connection, _Connection = object, asyncpg.Connection

ACQUIRE_DEADLINE_S = 5.0
"""How long a statement waits for a connection."""
STATEMENT_DEADLINE_S = 10.0
_IDLE_STEP_S = 5
"""How long a step may take from one statement to the next, for which it waits for nothing."""
TENANT_SETTING = "mercato.tenant"
_SET_TENANT = f"SELECT set_config('{TENANT_SETTING}', $1, false)"
_SET_LOCAL = f"SELECT set_config('{TENANT_SETTING}', $1, true), set_config('search_path', $2, true)"
_CLIENTS = 3
"""How many connections are compared to find out whether what they set is kept apart."""


@dataclass(frozen=True, slots=True)
class PoolSettings:
    """How a role connects."""

    size: int = 10
    """Connections at most."""
    schema: str = "public"
    set_local: bool = False
    """Whether the store is set in each transaction: a pooler lends a connection for no longer than one."""


class StoreConnection(_Connection):
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


class Pool:
    """The connections of one role."""

    def __init__(self, url: str, settings: PoolSettings) -> None:
        self._url = url
        self._settings = settings
        self._opening = asyncio.Lock()
        self._pool: asyncpg.Pool[asyncpg.Record] | None = None
        self._acquiring: set[asyncio.Future[Any]] = set()
        self._waiting = 0
        """How many wait for the driver's pool, to which connections go back then."""
        self._idle: list[Connection] = []
        self._closing = False

    @asynccontextmanager
    async def lend(self, tenant: TenantId | None) -> AsyncIterator[Connection]:
        """Lend a connection that works for `tenant`; with `set_local`, in a transaction that ends with it."""
        pool = self._pool or await self._open()
        connection = await self._acquire(pool)
        good = False
        try:
            if self._settings.set_local:
                async with connection.transaction():
                    await connection.fetchrow(_SET_LOCAL, tenant or "", self._settings.schema)
                    yield connection
            else:
                if tenant is not None:
                    await connection.work_for(tenant)  # type: ignore[attr-defined]  # the proxy passes it on
                yield connection
            good = True
        except asyncpg.InternalClientError:
            # The server has ended the connection, and the driver has not seen it yet.
            connection.terminate()
            raise
        finally:
            if good and not self._waiting and not self._closing:
                self._idle.append(connection)
            else:
                await pool.release(connection)

    async def _acquire(self, pool: "asyncpg.Pool[asyncpg.Record]") -> Connection:
        # The driver's pool takes two tasks to lend a connection and get it back: three times a point read.
        while self._idle:
            connection = self._idle.pop()
            if _is_open(connection):
                return connection
            await pool.release(connection)
        # A connection that is being made is made to the end: whoever waits for it may go away.
        acquiring = asyncio.ensure_future(pool.acquire(timeout=ACQUIRE_DEADLINE_S))
        self._acquiring.add(acquiring)
        self._waiting += 1
        acquiring.add_done_callback(self._acquired)
        try:
            connection = await asyncio.shield(acquiring)
        except asyncio.CancelledError:
            acquiring.add_done_callback(lambda done: self._give_back(pool, done))
            raise
        if not _is_open(connection):
            await pool.release(connection)
            raise asyncpg.InterfaceError("the server has ended the connection while it was lent")
        return connection

    def _acquired(self, acquiring: "asyncio.Future[Connection]") -> None:
        self._acquiring.discard(acquiring)
        self._waiting -= 1

    def _give_back(
        self, pool: "asyncpg.Pool[asyncpg.Record]", acquired: "asyncio.Future[Connection]"
    ) -> None:
        """Release a connection that nobody waits for any more."""
        if not acquired.cancelled() and acquired.exception() is None:
            releasing = asyncio.ensure_future(pool.release(acquired.result()))
            self._acquiring.add(releasing)
            releasing.add_done_callback(self._acquiring.discard)

    async def _open(self) -> "asyncpg.Pool[asyncpg.Record]":
        async with self._opening:
            if self._pool is None:
                settings, named = self._settings, {"application_name": "mercato"}
                if not settings.set_local:
                    await check_sessions(self._url)
                    named["search_path"] = settings.schema
                self._pool = await asyncpg.create_pool(
                    self._url,
                    min_size=0,
                    max_size=settings.size,
                    timeout=ACQUIRE_DEADLINE_S,
                    command_timeout=STATEMENT_DEADLINE_S,
                    # A pooler forgets what another transaction has prepared.
                    statement_cache_size=0 if settings.set_local else 100,
                    # Nothing that a statement of ours leaves behind has to be reset, and asking to costs
                    # two fifths of a point read.
                    reset=_nothing,
                    init=None if settings.set_local else _bound_steps,
                    connection_class=StoreConnection,
                    server_settings=named,
                )
            return self._pool

    async def close(self) -> None:
        """Close every connection."""
        self._closing = True
        while self._acquiring:
            await asyncio.gather(*self._acquiring, return_exceptions=True)
        if self._pool is not None:
            while self._idle:
                await self._pool.release(self._idle.pop())
            await self._pool.close()
            self._pool = None


def _is_open(connection: Connection) -> bool:
    try:
        return not connection.is_closed()
    except asyncpg.InterfaceError:
        # It was closed, and the driver's pool has taken it back.
        return False


async def check_sessions(url: str) -> None:
    """Raise Misconfigured where what one connection sets is not kept, or is seen by others.

    Plain statements alone, since a pooler may not know prepared ones.
    """
    clients: list[asyncpg.Connection[asyncpg.Record]] = []
    try:
        while len(clients) < _CLIENTS:
            clients += [await asyncpg.connect(url, timeout=ACQUIRE_DEADLINE_S)]
        marks = [uuid7() for _ in clients]
        for client, mark in zip(clients, marks, strict=True):
            await client.execute(f"SET {TENANT_SETTING} = '{mark}'", timeout=ACQUIRE_DEADLINE_S)
        for client, mark in zip(clients, marks, strict=True):
            await client.execute(
                f"DO $$ BEGIN IF current_setting('{TENANT_SETTING}', true) IS DISTINCT FROM '{mark}'"
                " THEN RAISE EXCEPTION 'not kept'; END IF; END $$",
                timeout=ACQUIRE_DEADLINE_S,
            )
    except asyncpg.RaiseError:
        raise Misconfigured(
            "Between Mercato and PostgreSQL there is a pooler that does not keep sessions, so the store that"
            " a connection works for would not be sure: let it pool by session, or set"
            " MERCATO_DATABASE_SET_LOCAL=true."
        ) from None
    finally:
        for client in clients:
            client.terminate()


async def _bound_steps(connection: _Connection) -> None:
    """Have the server end a step whose process stands still or is out of reach, and what it has locked."""
    await connection.execute(f"SET idle_in_transaction_session_timeout = '{_IDLE_STEP_S}s'")


async def _nothing(_: Any) -> None:  # noqa: ANN401  asyncpg's own type of a connection
    """Nothing is reset."""
