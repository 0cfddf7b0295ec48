"""Spans of what a database does: one for a read, one for a transaction with all that ran in it.

They tell a statement's first word and its table (OpenTelemetry's `db.query.summary`), never the statement
and never a value.
"""

import re
from collections.abc import Callable, Sequence

from mercato.adapters.sql.database import Dialect, Row, Step, T, Tx, Value
from mercato.kernel.tracing import Span, SpanKind, span

MOST_SUMMARY = 255
"""Characters, as OpenTelemetry's conventions allow."""
_SYSTEM: dict[Dialect, str] = {"sqlite": "sqlite", "postgres": "postgresql"}
_written = re.compile(
    r"\b(?:(INSERT)\s+INTO|(DELETE)\s+FROM|(?<!FOR )(?<!DO )(UPDATE))\s+(?!SET\b)(\w+)"
).findall
_read = re.compile(r"\bFROM\s+(\w+)").search
_word = re.compile(r"\w+").search


def summary(sql: str) -> str:
    """Return what a statement does, and to which tables: `SELECT orders`, `UPDATE stock INSERT movements`."""
    written = _written(sql)
    if written:
        return " ".join(f"{insert or delete or update} {table}" for insert, delete, update, table in written)
    table, word = _read(sql), _word(sql)
    if table is not None:
        return f"SELECT {table[1]}"
    return "OTHER" if word is None else word[0].upper()


def reading(dialect: Dialect, namespace: str, sql: str) -> Span:
    """Begin the span of one statement, for a `with`."""
    query = span("", SpanKind.CLIENT)
    if query.recorded:
        told = summary(sql)
        query.rename(told)
        query.set("db.query.summary", told)
        query.set("db.system.name", _SYSTEM[dialect])
        query.set("db.namespace", namespace)
    return query


def transaction(dialect: Dialect, namespace: str) -> Span:
    """Begin the span of one transaction, for a `with`."""
    begun = span("TRANSACTION", SpanKind.CLIENT)
    if begun.recorded:
        begun.rename(f"TRANSACTION {namespace.partition('.')[0]}")
        begun.set("db.system.name", _SYSTEM[dialect])
        begun.set("db.namespace", namespace)
    return begun


def observed(step: Step[T], begun: Span) -> Step[T]:
    """Return the step, which tells its transaction's span what runs in it, if that is recorded."""
    return (lambda tx: step(_Observed(tx, begun))) if begun.recorded else step


class _Observed:
    """A Tx whose statements are told."""

    def __init__(self, tx: Tx, begun: Span) -> None:
        self._tx = tx
        self._span = begun
        self._ran: list[str] = []
        self.dialect: Dialect = tx.dialect

    async def execute(self, sql: str, params: Sequence[Value] = ()) -> int:
        """Run one statement and return the number of rows it changed."""
        self._note(sql)
        return await self._tx.execute(sql, params)

    async def put(
        self,
        sql: str,
        params: Sequence[Value] = (),
        *,
        given: str = "",
        rows: int = 1,
        otherwise: Callable[[], Exception] | None = None,
    ) -> None:
        """Have a statement run, at the latest at the end of the step."""
        self._note(sql)
        await self._tx.put(sql, params, given=given, rows=rows, otherwise=otherwise)

    async def fetch_one(self, sql: str, params: Sequence[Value] = ()) -> Row | None:
        """Return the first row, or None."""
        self._note(sql)
        return await self._tx.fetch_one(sql, params)

    async def lock_one(self, sql: str, params: Sequence[Value] = ()) -> Row | None:
        """Return the first row, or None, for this step alone until it ends."""
        self._note(sql)
        return await self._tx.lock_one(sql, params)

    async def lock_name(self, name: str) -> None:
        """Let no other step that names the same go on until this one has ended."""
        await self._tx.lock_name(name)

    async def fetch_all(self, sql: str, params: Sequence[Value] = ()) -> list[Row]:
        """Return all rows."""
        self._note(sql)
        return await self._tx.fetch_all(sql, params)

    def after_commit(self, callback: Callable[[], None]) -> None:
        """Call `callback` once this step is durable."""
        self._tx.after_commit(callback)

    def _note(self, sql: str) -> None:
        # A step may run again: it is the last run that counts.
        self._ran.append(summary(sql))
        self._span.set("db.operation.batch.size", len(self._ran))
        self._span.set("db.query.summary", "; ".join(self._ran)[:MOST_SUMMARY])
