"""Whoever reads: every sort of caller, near and far, and what each may see of two customers' things."""

from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

import msgspec

from mercato.adapters.sql.database import Database, Row, Value
from mercato.clients.internal import Internal
from mercato.clients.neighbour import Neighbour
from mercato.kernel.acting import acting_for
from mercato.kernel.ids import UserId, uuid7
from mercato.kernel.paging import Window
from mercato.kernel.principal import ANY_STORE, SCOPES, Principal, Role
from mercato.kernel.tenancy import TenantId
from tests.reach import over_http

T = TypeVar("T")

HERE, THERE = TenantId("default"), TenantId("other")
ANN = Principal(UserId(uuid7()), "ann@example.com", Role.CUSTOMER, HERE)
BOB = Principal(UserId(uuid7()), "bob@example.com", Role.CUSTOMER, HERE)
TWIN = Principal(ANN.user_id, "ann@example.com", Role.CUSTOMER, THERE)
"""Somebody of another store who has Ann's id there."""
ADMIN = Principal(UserId(uuid7()), "admin@example.com", Role.ADMIN, HERE)
RIVAL = Principal(UserId(uuid7()), "rival@example.com", Role.ADMIN, THERE)
OPERATOR = Principal(UserId(uuid7()), "olga@example.com", Role.OPERATOR, HERE)

Way = Literal["called directly", "over HTTP"]
WAYS: tuple[Way, ...] = ("called directly", "over HTTP")
Sees = Literal["own", "all", "nothing", "forbidden"]


@dataclass(frozen=True)
class Caller:
    """Somebody, and what they may see of what Ann and Bob have in this store."""

    name: str
    who: Principal
    sees: Sees

    def of(self, anns: T, bobs: T) -> set[T]:
        """Return which of the two the caller sees."""
        return {"own": {anns}, "all": {anns, bobs}}.get(self.sees, set())


def machine(*scopes: str, tenant: TenantId = HERE) -> Principal:
    return Principal(UserId(uuid7()), "", Role.SERVICE, tenant, frozenset(scopes))


def callers(scope: str) -> tuple[list[Caller], list[Caller]]:
    """Return every sort of caller that may read, and that may not; `scope` is what a machine needs."""
    every = [
        Caller("the customer", ANN, "own"),
        Caller("a customer of another store with the same id", TWIN, "nothing"),
        Caller("an admin", ADMIN, "all"),
        Caller("another store's admin", RIVAL, "nothing"),
        Caller("an operator in this store", OPERATOR, "all"),
        Caller("an operator in another store", msgspec.structs.replace(OPERATOR, tenant=THERE), "nothing"),
        Caller("a machine with the scope", machine(scope), "all"),
        Caller("a machine with the scope in another store", machine(scope, tenant=THERE), "nothing"),
        Caller("a machine of any store with the scope", machine(scope, ANY_STORE), "all"),
        Caller("a machine with every other scope", machine(*(SCOPES - {scope})), "forbidden"),
        Caller("a machine without scopes", machine(), "forbidden"),
    ]
    allowed = [caller for caller in every if caller.sees != "forbidden"]
    return allowed, [caller for caller in every if caller not in allowed]


async def reached(
    way: Way,
    reader: T,
    service: str,
    serve: Callable[[Internal, T], None],
    client: Callable[[Neighbour], T],
    stack: AsyncExitStack,
) -> T:
    """Return a reader as it is called in one process, or as it is called over HTTP."""
    if way == "called directly":
        return reader
    internal = Internal()
    serve(internal, reader)
    return client(await stack.enter_async_context(over_http(internal, service)))


class Counting:
    """A Database that takes note of what is read, and for which store the task works then."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self.dialect = db.dialect
        self.statements: list[str] = []
        self.stores: set[TenantId | None] = set()

    def _note(self, sql: str) -> None:
        self.statements.append(sql)
        self.stores.add(acting_for())

    async def fetch_all(self, sql: str, params: Sequence[Value] = ()) -> list[Row]:
        self._note(sql)
        return await self._db.fetch_all(sql, params)

    async def fetch_one(self, sql: str, params: Sequence[Value] = ()) -> Row | None:
        self._note(sql)
        return await self._db.fetch_one(sql, params)

    async def search(self, sql: str, params: Sequence[Value] = ()) -> list[Row]:
        self._note(sql)
        return await self._db.search(sql, params)


def window(limit: int = 20, offset: int = 0, after: str | None = None, *, counted: bool = True) -> Window:
    return Window(limit, offset, after, counted)


def shown_otherwise(read: msgspec.Struct, shown: bytes) -> set[str]:
    """Return which fields of what was read REST shows by the same name, but not by the same value."""
    fields: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(read))
    view = msgspec.json.decode(shown)
    return {name for name, value in view.items() if name in fields and fields[name] != value}


MANY_IDS = [uuid7() for _ in range(1_001)]
NO_IDS = ["", "0", "\0", "a,b", '"]', "%", "x" * 3_000, ANN.user_id.upper()]
"""What cannot be an id."""
