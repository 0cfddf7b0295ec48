"""Whether a step has changed anything."""

from collections.abc import Callable, Sequence

from mercato.adapters.sql.database import Dialect, Row, Tx, Value

_READING = ("SELECT", "PRAGMA")


class WatchedTx:
    """A Tx that knows whether what ran on it has changed a row."""

    def __init__(self, tx: Tx) -> None:
        self._tx = tx
        self.dialect: Dialect = tx.dialect
        self.changed = False

    async def execute(self, sql: str, params: Sequence[Value] = ()) -> int:
        """Run one statement and return the number of rows it changed."""
        rows = await self._tx.execute(sql, params)
        self.changed = self.changed or rows > 0
        return rows

    async def put(
        self,
        sql: str,
        params: Sequence[Value] = (),
        *,
        given: str = "",
        rows: int = 1,
        otherwise: Callable[[], Exception] | None = None,
    ) -> None:
        """Run one statement at once, since it has to be known whether it changes anything."""
        changed = await self.execute(f"WITH {given} {sql}" if given else sql, params)
        if changed != rows and otherwise is not None:
            raise otherwise()

    async def fetch_one(self, sql: str, params: Sequence[Value] = ()) -> Row | None:
        """Return the first row, or None."""
        row = await self._tx.fetch_one(sql, params)
        self._note(sql, found=row is not None)
        return row

    async def lock_one(self, sql: str, params: Sequence[Value] = ()) -> Row | None:
        """Return the first row, or None, for this step alone until it ends."""
        return await self._tx.lock_one(sql, params)

    async def lock_name(self, name: str) -> None:
        """Let no other step that names the same go on until this one has ended."""
        await self._tx.lock_name(name)

    async def fetch_all(self, sql: str, params: Sequence[Value] = ()) -> list[Row]:
        """Return all rows."""
        rows = await self._tx.fetch_all(sql, params)
        self._note(sql, found=bool(rows))
        return rows

    def after_commit(self, callback: Callable[[], None]) -> None:
        """Call `callback` once this step is durable."""
        self._tx.after_commit(callback)

    def _note(self, sql: str, *, found: bool) -> None:
        # What returns rows and does not only read has changed those that it returns.
        if found and not sql.lstrip().startswith(_READING):
            self.changed = True
