"""One step on PostgreSQL, in as few round trips as it allows.

A transaction begins with the first statement whose outcome the step waits for. Statements that are only
put wait, and are sent together: as one statement that holds all of them, which where the step has none
but these is a transaction by itself.
"""

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import NamedTuple

import asyncpg

from mercato.adapters.sql.database import CheckViolation, Dialect, Row, UniqueViolation, Value
from mercato.adapters.sql.postgres_pool import Connection, throw_away
from mercato.kernel.errors import ValidationFailed

REFUSED = (
    asyncpg.UniqueViolationError,
    asyncpg.CheckViolationError,
    asyncpg.CharacterNotInRepertoireError,
)
_BEGIN_IMPATIENTLY = "BEGIN; SET LOCAL lock_timeout = '50ms'"
_TOGETHER = 8
"""Statements that are made one. More, as a group of steps puts, are sent each kind at once."""


class PutRefused(Exception):
    """Of the statements that were sent together one did not go well; none is known to have been it."""


class _Put(NamedTuple):
    """A statement that waits."""

    sql: str
    given: str
    params: Sequence[Value]
    rows: int | None

    @property
    def whole(self) -> str:
        """The statement by itself."""
        return f"WITH {self.given} {self.sql}" if self.given else self.sql


class PostgresTx:
    """The Tx of one step, on its connection."""

    __slots__ = ("_begin", "_begun", "_connection", "_is_own", "_one_by_one", "_waiting", "callbacks")
    dialect: Dialect = "postgres"

    def __init__(
        self, connection: Connection, *, begun: bool = False, patient: bool = True, one_by_one: bool = False
    ) -> None:
        """`begun` says that a transaction is begun and ended by others.

        With `one_by_one` nothing waits, so that what is not well is known. Otherwise PutRefused is raised.
        """
        self._connection = connection
        self._begin = "BEGIN" if patient else _BEGIN_IMPATIENTLY
        self._is_own = not begun
        self._begun = begun
        self._one_by_one = one_by_one
        self._waiting: list[_Put] = []
        self.callbacks: list[Callable[[], None]] = []

    async def execute(self, sql: str, params: Sequence[Value] = ()) -> int:
        """Run one statement and return the number of rows it changed."""
        await self._get_ready()
        try:
            return count(await self._connection.execute(numbered(sql), *params))
        except REFUSED as error:
            raise refusal(error) from error

    async def put(
        self,
        sql: str,
        params: Sequence[Value] = (),
        *,
        given: str = "",
        rows: int = 1,
        otherwise: Callable[[], Exception] | None = None,
    ) -> None:
        """Have a statement run with others, when the step waits for one or ends."""
        put = _Put(sql, given, params, None if otherwise is None else rows)
        if not self._one_by_one:
            self._waiting.append(put)
        elif await self.execute(put.whole, params) != rows and otherwise is not None:
            raise otherwise()

    async def fetch_one(self, sql: str, params: Sequence[Value] = ()) -> Row | None:
        """Return the first row, or None."""
        await self._get_ready()
        try:
            row = await self._connection.fetchrow(numbered(sql), *params)
        except REFUSED as error:
            raise refusal(error) from error
        return None if row is None else tuple(row)

    async def lock_one(self, sql: str, params: Sequence[Value] = ()) -> Row | None:
        """Return the first row, or None, and hold it until the step ends."""
        return await self.fetch_one(f"{sql} FOR UPDATE", params)

    async def lock_name(self, name: str) -> None:
        """Hold an advisory lock until the step ends."""
        await self._get_ready()
        await self._connection.execute("SELECT pg_advisory_xact_lock(hashtextextended($1, 0))", name)

    async def fetch_all(self, sql: str, params: Sequence[Value] = ()) -> list[Row]:
        """Return all rows."""
        await self._get_ready()
        return [tuple(row) for row in await self._connection.fetch(numbered(sql), *params)]

    def after_commit(self, callback: Callable[[], None]) -> None:
        """Call `callback` once the step is durable."""
        self.callbacks.append(callback)

    async def commit(self) -> None:
        """Send what waits, and make it durable. Raises PutRefused."""
        if self._waiting:
            if len(self._waiting) <= _TOGETHER and self._begin == "BEGIN":
                await self._send()
            else:
                await self._get_ready()
        if self._begun and self._is_own:
            await self._connection.execute("COMMIT")

    async def roll_back(self) -> None:
        """Undo the step. A connection on which that fails is thrown away."""
        self._waiting.clear()
        if not self._begun or not self._is_own or self._connection.is_closed():
            return
        try:
            await self._connection.execute("ROLLBACK")
        except BaseException:
            throw_away(self._connection)
            raise

    async def _get_ready(self) -> None:
        """Begin, and send what waits: what comes may depend on it."""
        if not self._begun:
            await self._connection.execute(self._begin)
            self._begun = True
        if self._waiting:
            await self._send()

    async def _send(self) -> None:
        waiting, self._waiting = self._waiting, []
        try:
            if len(waiting) > _TOGETHER:
                await self._send_by_kind(waiting)
            else:
                await self._send_as_one(waiting)
        except (*REFUSED, asyncpg.DivisionByZeroError) as error:
            raise PutRefused from error

    async def _send_as_one(self, waiting: list[_Put]) -> None:
        parts = tuple((put.sql, put.given, put.rows is not None) for put in waiting)
        params: list[Value] = []
        for put in waiting:
            params += put.params
        params += [put.rows for put in waiting if put.rows is not None]
        await self._connection.fetchrow(_as_one(parts), *params)

    async def _send_by_kind(self, waiting: list[_Put]) -> None:
        kinds: dict[str, list[_Put]] = {}
        for put in waiting:
            kinds.setdefault(put.whole, []).append(put)
        for whole, puts in kinds.items():
            sql, params = numbered(whole), [put.params for put in puts]
            if any(put.rows is not None for put in puts):
                changed = len(await self._connection.fetchmany(f"{sql} RETURNING 1", params))
                if changed != sum(put.rows or 0 for put in puts):
                    raise PutRefused
            else:
                await self._connection.executemany(sql, params)


def count(told: str) -> int:
    """Return how many rows a statement has changed, by what the server says of it."""
    # "INSERT 0 1", "UPDATE 1": the number comes last, where there is one.
    number = told.rpartition(" ")[2]
    return int(number) if number.isdigit() else 0


def refusal(error: asyncpg.PostgresError) -> Exception:
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


@lru_cache(maxsize=1024)
def _as_one(parts: tuple[tuple[str, str, bool], ...]) -> str:
    """Return one statement that runs these, and fails if one changes not as many rows as it must.

    They run in the order in which it asks for their counts, so that locks are taken in the step's order.
    """
    tables, counts = list[str](), list[str]()
    for number, (sql, given, is_checked) in enumerate(parts):
        tables += [given] if given else []
        tables.append(f"put{number} AS ({sql} RETURNING 1)")
        count = f"(SELECT count(*) FROM put{number})"
        counts.append(f"1 / (CASE WHEN {count} = ? THEN 1 ELSE 0 END)" if is_checked else count)
    return numbered(f"WITH {', '.join(tables)} SELECT {', '.join(counts)}")
