"""Connections to PostgreSQL as one role, each of which works for one store at a time."""

import asyncio
import logging
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import asyncpg

from mercato.adapters.sql.database import Misconfigured
from mercato.kernel.counting import Histogram, Measure, Reading, Values
from mercato.kernel.errors import Overloaded
from mercato.kernel.ids import uuid7
from mercato.kernel.tenancy import TenantId

if TYPE_CHECKING:  # they are generic to type checkers alone
    from asyncpg.pool import PoolConnectionProxy

    Connection = PoolConnectionProxy[asyncpg.Record]
    _Connection = asyncpg.Connection[asyncpg.Record]
else:
    Connection, _Connection = object, asyncpg.Connection

log = logging.getLogger(__name__)

DRIVERS = (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError)
"""What leaves it open how a connection is."""
ACQUIRE_DEADLINE_S = 5.0
"""How long a statement waits for a connection."""
MOST_WAITING = 256
"""How many statements do: more would wait in vain, or make all wait for very long."""
STATEMENT_DEADLINE_S = 10.0
_IDLE_STEP_S = 5
"""How long a step may take from one statement to the next, for which it waits for nothing."""
CLOSE_DEADLINE_S = 5.0
"""How long connections that are lent may be kept when all are closed."""
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
    """The connections of one role.

    The driver's own pool makes them. To lend one and get it back takes it two tasks, three times the time of
    a point read, so that is done here: whoever waits is handed what another gives back.
    """

    def __init__(self, url: str, settings: PoolSettings) -> None:
        self._url = url
        self._settings = settings
        self._opening = asyncio.Lock()
        self._pool: asyncpg.Pool[asyncpg.Record] | None = None
        self._held = 0
        """How many are lent, idle or being made."""
        self._idle: list[tuple[TenantId | None, Connection]] = []
        """With the stores that they work for; those used last come last."""
        self._waiters: deque[asyncio.Future[Connection | None]] = deque()
        """Who waits for a connection; None says that there is room for another."""
        self._acquiring: set[asyncio.Future[Any]] = set()
        self._closing = False
        self._waits: Histogram | None = None

    def measures(self, service: str, role: str) -> tuple[Measure, ...]:
        """Return what is told of it; from now on it is measured how long connections are waited for."""
        labels, values = ("service", "role"), (service, role)
        self._waits = Histogram(
            "mercato_pool_wait_seconds",
            "Time that calls waited for a connection to the database: a new one, or another call's.",
            labels=labels,
            values=values,
        )

        def gauge(name: str, text: str, read: Callable[[], float]) -> Measure:
            return Reading("gauge", f"mercato_pool_{name}", text, labels, lambda: {values: read()})

        def connections() -> dict[Values, float]:
            idle = len(self._idle)
            return {(*values, "in_use"): self._held - idle, (*values, "idle"): idle}

        return (
            Reading(
                "gauge",
                "mercato_pool_connections",
                "Connections to the database: lent or being made, and idle.",
                (*labels, "state"),
                connections,
            ),
            gauge("size", "Connections to the database at most.", lambda: self._settings.size),
            gauge("waiting", "Calls that wait for another call's connection.", lambda: len(self._waiters)),
            self._waits,
        )

    @contextmanager
    def _timed(self) -> Iterator[None]:
        began = time.monotonic()
        try:
            yield
        finally:
            if self._waits is not None:
                self._waits.observe(time.monotonic() - began)

    @property
    def is_behind(self) -> bool:
        """Whether more wait for a connection than there are."""
        return len(self._waiters) > self._settings.size

    @asynccontextmanager
    async def lend_in_transaction(self, tenant: TenantId | None) -> AsyncIterator[Connection]:
        """Lend a connection in a transaction that works for `tenant`, and ends with it."""
        connection = await self.acquire(None)
        good = False
        try:
            async with connection.transaction():
                await connection.fetchrow(_SET_LOCAL, tenant or "", self._settings.schema)
                yield connection
            good = True
        except asyncpg.InternalClientError:
            # The server has ended the connection, and the driver has not seen it yet.
            throw_away(connection)
            raise
        finally:
            await self.release(None, connection, good=good)

    async def acquire(self, tenant: TenantId | None) -> Connection:
        """Lend a connection that works for `tenant`. It has to be released. Raises what the driver raises."""
        connection = await self._acquire(tenant)
        if tenant is not None:
            try:
                await connection.work_for(tenant)  # type: ignore[attr-defined]  # the proxy passes it on
            except BaseException:
                await self.release(tenant, connection, good=False)
                raise
        return connection

    async def release(self, tenant: TenantId | None, connection: Connection, *, good: bool) -> None:
        """Get a connection back, which works for `tenant`; one that is not `good` the driver looks at."""
        if good and not self._closing:
            self._pass_on(tenant, connection)
            return
        assert self._pool is not None  # noqa: S101  it has lent the connection
        try:
            await self._pool.release(connection)
        except DRIVERS:
            # The driver has thrown it away. What was wrong with it is what its borrower was told.
            pass
        finally:
            self._make_room()

    async def _acquire(self, tenant: TenantId | None) -> Connection:
        pool = self._pool or await self._open()
        while True:
            connection = self._pick(tenant)
            if connection is None and self._held < self._settings.size:
                with self._timed():
                    return await self._make(pool)
            if connection is None:
                with self._timed():
                    connection = await self._wait()
            if connection is None:
                continue
            if is_open(connection):
                return connection
            await self.release(tenant, connection, good=False)

    def _pick(self, tenant: TenantId | None) -> Connection | None:
        """Take an idle connection, one that works for the store already if there is any."""
        for place in range(len(self._idle) - 1, -1, -1):
            if self._idle[place][0] == tenant:
                return self._idle.pop(place)[1]
        # The one that was not used for longest: others' stores will come again sooner.
        return self._idle.pop(0)[1] if self._idle else None

    async def _wait(self) -> Connection | None:
        if len(self._waiters) >= MOST_WAITING:
            raise Overloaded("Too many requests wait for the database.", reason="database")
        waiter: asyncio.Future[Connection | None] = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        try:
            async with asyncio.timeout(ACQUIRE_DEADLINE_S):
                return await waiter
        except BaseException:
            if waiter.done() and not waiter.cancelled() and waiter.exception() is None:
                # It was handed over to somebody who is going away.
                given = waiter.result()
                self._wake(None) if given is None else self._pass_on(None, given)
            elif waiter in self._waiters:
                self._waiters.remove(waiter)
            raise

    def _pass_on(self, tenant: TenantId | None, connection: Connection) -> None:
        if self._closing:
            # Nobody would take it from among the idle any more, and the driver waits for each.
            throw_away(connection)
        elif not self._wake(connection):
            self._idle.append((tenant, connection))

    def _wake(self, given: Connection | None) -> bool:
        """Give a connection, or the room for one, to who has waited longest; say whether anybody has."""
        while self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.done():
                waiter.set_result(given)
                return True
        return False

    def _make_room(self) -> None:
        self._held -= 1
        self._wake(None)

    async def _make(self, pool: "asyncpg.Pool[asyncpg.Record]") -> Connection:
        """Have the driver make a connection: to the end, since whoever waits for it may go away."""
        self._held += 1
        acquiring = asyncio.ensure_future(pool.acquire(timeout=ACQUIRE_DEADLINE_S))
        self._acquiring.add(acquiring)
        acquiring.add_done_callback(self._acquiring.discard)
        try:
            connection = await asyncio.shield(acquiring)
        except asyncio.CancelledError:
            acquiring.add_done_callback(self._made_for_nobody)
            raise
        except BaseException:
            self._make_room()
            raise
        if not is_open(connection):
            await self.release(None, connection, good=False)
            raise asyncpg.InterfaceError("the server has ended the connection while it was lent")
        return connection

    def _made_for_nobody(self, acquired: "asyncio.Future[Connection]") -> None:
        """Let others have a connection that nobody waits for any more."""
        if acquired.cancelled() or acquired.exception() is not None:
            self._make_room()
        else:
            self._pass_on(None, acquired.result())

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
        """Close every connection: one that is still lent after a while, under its borrower's hands."""
        self._closing = True
        try:
            async with asyncio.timeout(CLOSE_DEADLINE_S):
                await self._close_all()
        except TimeoutError:
            log.warning("connections to the database were cut off", extra={"held": self._held})
            if self._pool is not None:
                self._pool.terminate()

    async def _close_all(self) -> None:
        while self._acquiring:
            await asyncio.gather(*self._acquiring, return_exceptions=True)
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_exception(asyncpg.InterfaceError("the database is being closed"))
        if self._pool is not None:
            while self._idle:
                await self._pool.release(self._idle.pop()[1])
            await self._pool.close()


def is_open(connection: Connection) -> bool:
    """Say whether a connection can be used, as far as is known."""
    try:
        return not connection.is_closed()
    except asyncpg.InterfaceError:
        # It was closed, and the driver's pool has taken it back.
        return False


def throw_away(connection: Connection) -> None:
    """End a connection at once, whatever has become of it."""
    # The driver may have seen just now that it has ended, and has taken it back.
    with suppress(asyncpg.InterfaceError):
        connection.terminate()


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
