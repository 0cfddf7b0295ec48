"""What a service's stores need of a relational database.

SQL is hand-written, with `?` for parameters in every dialect. Moments are integer
microseconds, amounts integer minor units, booleans 0 and 1, documents JSON text.
"""

from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Literal, Protocol, TypeVar

from mercato.kernel.counting import Measure
from mercato.kernel.errors import Unavailable

Value = str | int | bytes | list[str] | list[int] | list[bytes] | None
"""A parameter of a statement. Lists are PostgreSQL's alone."""
Row = tuple[Any, ...]
T = TypeVar("T")

Dialect = Literal["sqlite", "postgres"]
"""The engine, for the few statements that differ: full-text search, and reading a schema."""


class StorageUnavailable(Unavailable):
    """The database cannot be used now. Nothing the step did has been acknowledged."""


class Misconfigured(Exception):
    """The database must not be used as it is set up; the message is a sentence for whoever runs it."""


class InTheWay(Exception):
    """Other steps hold what this one needs, and it was not to wait for them. It is rolled back."""


class UniqueViolation(Exception):
    """A unique constraint refused a row. Raised out of the step, which is rolled back."""


class CheckViolation(Exception):
    """A CHECK constraint, the last fence, refused a row. The step is rolled back."""


class Tx(Protocol):
    """One atomic step's view of the database."""

    @property
    def dialect(self) -> Dialect:
        """Which engine it is."""
        ...

    async def execute(self, sql: str, params: Sequence[Value] = ()) -> int:
        """Run one statement and return the number of rows it changed."""
        ...

    async def put(
        self,
        sql: str,
        params: Sequence[Value] = (),
        *,
        given: str = "",
        rows: int = 1,
        otherwise: Callable[[], Exception] | None = None,
    ) -> None:
        """Have a statement run, at the latest at the end of the step, with others that are put.

        It is for what nothing in the step waits for, and costs no round trip of its own. Of statements that
        are put one after the other, none may change or read what another changes. If it changes not as many
        `rows` and `otherwise` is given, the step fails with what that makes; what its constraints refuse
        is raised by a later call, or out of the step. `given` are tables that `sql` is to know, each made by
        a statement that may itself change rows, as PostgreSQL alone allows.
        """
        ...

    async def fetch_one(self, sql: str, params: Sequence[Value] = ()) -> Row | None:
        """Return the first row, or None."""
        ...

    async def lock_one(self, sql: str, params: Sequence[Value] = ()) -> Row | None:
        """Return the first row, or None; no other step can change it until this one has ended.

        What is decided on a row that was read in any other way may be decided on an old one.
        """
        ...

    async def lock_name(self, name: str) -> None:
        """Let no other step that names the same go on until this one has ended.

        It is for what has no row that could be locked. Two names may now and then be taken for one.
        """
        ...

    async def fetch_all(self, sql: str, params: Sequence[Value] = ()) -> list[Row]:
        """Return all rows. The statement bounds their number."""
        ...

    def after_commit(self, callback: Callable[[], None]) -> None:
        """Call `callback` once this step is durable; never if it is not."""
        ...


Step = Callable[[Tx], Coroutine[Any, Any, T]]
"""A closure over one transaction. It may run again, and awaits nothing but its `tx`."""


class Transacting(Protocol):
    """What runs steps."""

    @property
    def dialect(self) -> Dialect:
        """Which engine it is."""
        ...

    async def transact(self, step: Step[T], *, patient: bool = True) -> T:
        """Run `step` in one transaction, durable when this returns.

        A caller that is cancelled does not cancel the step. Raises what the step raises, and
        StorageUnavailable. One that is not `patient` may raise InTheWay, rather than wait for other
        steps for longer than a moment.
        """
        ...


class Database(Transacting, Protocol):
    """One service's database."""

    @property
    def is_behind(self) -> bool:
        """Whether more waits for it than it can take next."""
        ...

    async def write(self, sql: str, params: Sequence[Value] = ()) -> int:
        """Run a step of one statement; return the number of rows it changed. See `transact`."""
        ...

    async def fetch_one(self, sql: str, params: Sequence[Value] = ()) -> Row | None:
        """Return the first committed row: a point read, by index."""
        ...

    async def fetch_all(self, sql: str, params: Sequence[Value] = ()) -> list[Row]:
        """Return committed rows: a short read, by index, bounded by the statement."""
        ...

    async def search(self, sql: str, params: Sequence[Value] = ()) -> list[Row]:
        """Return committed rows of a read that may take milliseconds, apart from the loop."""
        ...

    def measures(self, service: str) -> tuple[Measure, ...]:
        """Return what is told of its connections, as the service's."""
        ...

    async def close(self) -> None:
        """Finish the steps under way, refuse new ones, and close."""
        ...
