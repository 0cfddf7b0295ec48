"""`python -m bench.graphql_engine`: the orders query on the GraphQL engine, without a server and a database.

Ten orders with user and payment, from dictionaries in memory: by the engine, by a handler written by hand for
just this query, and by graphql-core's executor, whose document is parsed beforehand and whose loads are
batched. All give the same bytes. A round takes them in turn; of each the median round counts.
"""

import argparse
import asyncio
import statistics
import time
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from operator import attrgetter
from typing import Any

import msgspec
from graphql import GraphQLResolveInfo, build_schema, execute, parse

from bench.figures import Figure, Target, machine, table
from mercato.gateway.graphql.answer import encode
from mercato.gateway.graphql.bindings import Args, Attribute, Bound, Load, Resolve
from mercato.gateway.graphql.engine import Engine, Operation

SDL = """
type Query { orders(limit: Int = 20, offset: Int = 0): OrderPage! }
type OrderPage { data: [Order!]! pageInfo: PageInfo! }
type PageInfo { total: Int limit: Int! offset: Int! hasMore: Boolean! endCursor: String }
type Order { id: ID! status: OrderStatus! totalAmount: Float! userId: ID! user: User payment: Payment }
enum OrderStatus { pending confirmed processing shipped delivered cancelled }
type User { id: ID! email: String! firstName: String! lastName: String! fullName: String! }
type Payment { id: ID! status: String! amount: Float! }
"""
QUERY = """query { orders(limit: 10) { data { id status totalAmount user { id email fullName }
  payment { id status amount } } pageInfo { total hasMore } } }"""
VARYING = """query Orders($limit: Int!) { orders(limit: $limit) { data { id status totalAmount
  user { id email fullName } payment { id status amount } } pageInfo { total hasMore } } }"""


class User(msgspec.Struct, frozen=True):
    id: str
    email: str
    first_name: str
    last_name: str
    full_name: str


class Payment(msgspec.Struct, frozen=True):
    id: str
    order_id: str
    status: str
    amount: Decimal


class Order(msgspec.Struct, frozen=True):
    id: str
    user_id: str
    status: str
    total_amount: Decimal
    created_at: datetime


class PageInfo(msgspec.Struct, frozen=True):
    total: int | None
    limit: int
    offset: int
    has_more: bool
    end_cursor: str | None


class Page(msgspec.Struct, frozen=True):
    data: Sequence[Order]
    page_info: PageInfo


class Request(msgspec.Struct, frozen=True):
    request_id: str


NOW = datetime(2026, 1, 1, tzinfo=UTC)
USERS = {f"u{n}": User(f"u{n}", f"user{n}@example.com", "Ada", f"No {n}", f"Ada No {n}") for n in range(7)}
ORDERS = [Order(f"o{n}", f"u{n % 7}", "confirmed", Decimal(f"{n}9.95"), NOW) for n in range(1000)]
PAYMENTS = {order.id: Payment(f"p{order.id}", order.id, "success", order.total_amount) for order in ORDERS}
REQUEST = Request("bench")


async def read_orders(limit: int, offset: int) -> Page:
    found = ORDERS[offset : offset + limit]
    return Page(found, PageInfo(len(ORDERS), limit, offset, offset + limit < len(ORDERS), None))


async def read_users(ids: Sequence[str]) -> list[User | None]:
    return [USERS.get(each) for each in ids]


async def read_payments(order_ids: Sequence[str]) -> list[Payment | None]:
    return [PAYMENTS.get(each) for each in order_ids]


async def by_hand() -> bytes:
    """Do what somebody would write who has just this query to answer."""
    page = await read_orders(10, 0)
    users, payments = await asyncio.gather(
        read_users([order.user_id for order in page.data]), read_payments([order.id for order in page.data])
    )
    data = [
        {
            "id": order.id,
            "status": order.status,
            "totalAmount": float(order.total_amount),
            "user": None
            if user is None
            else {"id": user.id, "email": user.email, "fullName": user.full_name},
            "payment": None
            if payment is None
            else {"id": payment.id, "status": payment.status, "amount": float(payment.amount)},
        }
        for order, user, payment in zip(page.data, users, payments, strict=True)
    ]
    info = {"total": page.page_info.total, "hasMore": page.page_info.has_more}
    return encode({"data": {"orders": {"data": data, "pageInfo": info}}, "extensions": {"cost": 21}})


async def _orders(_: Request, args: Args) -> Page:
    return await read_orders(args["limit"], args["offset"])


async def _users(_: Request, orders: Sequence[Order], __: Args) -> list[User | None]:
    return await read_users([order.user_id for order in orders])


async def _payments(_: Request, orders: Sequence[Order], __: Args) -> list[Payment | None]:
    return await read_payments([order.id for order in orders])


ENGINE = Engine(
    Bound(
        SDL,
        {
            "Query": {"orders": Resolve(_orders, many="limit")},
            "OrderPage": {"data": Attribute(many=1)},
            "Order": {"user": Load(_users, key=attrgetter("user_id")), "payment": Load(_payments)},
        },
    )
)


async def by_engine() -> bytes:
    return encode(await ENGINE.execute(Operation(QUERY), REQUEST))


async def by_engine_with_variables() -> bytes:
    return encode(await ENGINE.execute(Operation(VARYING, {"limit": 10}), REQUEST))


class Loader:
    """Gathers what is asked for in one turn of the loop and reads it at once."""

    def __init__(self, read: Callable[[list[str]], Awaitable[list[Any]]]) -> None:
        self._read = read
        self._waiting: dict[str, asyncio.Future[Any]] = {}
        self._task: asyncio.Task[None] | None = None

    def load(self, key: str) -> asyncio.Future[Any]:
        if not self._waiting:
            self._task = asyncio.create_task(self._dispatch())
        if key not in self._waiting:
            self._waiting[key] = asyncio.get_running_loop().create_future()
        return self._waiting[key]

    async def _dispatch(self) -> None:
        waiting, self._waiting = self._waiting, {}
        for future, value in zip(waiting.values(), await self._read(list(waiting)), strict=True):
            future.set_result(value)


REFERENCE = build_schema(SDL)
DOCUMENT = parse(QUERY)


def _resolvers() -> None:
    def attribute(name: str) -> Callable[..., Any]:
        get = attrgetter(name)
        return lambda parent, _info: get(parent)

    async def orders(_: None, __: GraphQLResolveInfo[Any], limit: int, offset: int) -> Page:
        return await read_orders(limit, offset)

    names = {"pageInfo": "page_info", "totalAmount": "total_amount", "fullName": "full_name"}
    names |= {"hasMore": "has_more", "firstName": "first_name", "lastName": "last_name", "userId": "user_id"}
    names |= {"endCursor": "end_cursor"}
    for of in ("OrderPage", "PageInfo", "Order", "User", "Payment"):
        for name, field in REFERENCE.type_map[of].fields.items():  # type: ignore[attr-defined]  # they are objects
            field.resolve = attribute(names.get(name, name))
    order = REFERENCE.type_map["Order"].fields  # type: ignore[attr-defined]  # it is an object
    order["user"].resolve = lambda parent, info: info.context["users"].load(parent.user_id)
    order["payment"].resolve = lambda parent, info: info.context["payments"].load(parent.id)
    assert REFERENCE.query_type is not None
    REFERENCE.query_type.fields["orders"].resolve = orders


async def by_graphql_core() -> bytes:
    loaders = {"users": Loader(read_users), "payments": Loader(read_payments)}
    result = execute(REFERENCE, DOCUMENT, context_value=loaders)
    assert isinstance(result, Awaitable)
    return encode({"data": (await result).data, "extensions": {"cost": 21}})


async def _measure(rounds: int, seconds: float) -> dict[str, float]:
    """Return microseconds of each way, the median of its rounds."""
    _resolvers()
    ways = {
        "hand": by_hand,
        "engine": by_engine,
        "variables": by_engine_with_variables,
        "core": by_graphql_core,
    }
    for way in ways.values():
        await way()  # The engine compiles what comes a second time.
        assert await way() == await by_hand()
    taken: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, way in ways.items():
            done, started = 0, time.process_time()
            while (passed := time.process_time() - started) < seconds:
                for _ in range(20):
                    await way()
                done += 20
            taken[name].append(1e6 * passed / done)
    return {name: statistics.median(times) for name, times in taken.items()}


def measure(rounds: int, seconds: float) -> list[Figure]:
    """Measure the ways against each other."""
    took = asyncio.run(_measure(rounds, seconds))
    hand, core = 1e6 / took["hand"], 1e6 / took["core"]

    def figure(name: str, way: str, ceiling: float, target: float, note: str) -> Figure:
        goal = Target(target, at_least=True, ratio=True)
        told = f"{note}; {took[way]:.0f} µs of CPU each"
        return Figure(name, 1e6 / took[way], "/s", goal, ceiling, told)

    return [
        figure("GraphQL engine, to a handler", "engine", hand, 0.5, "orders query in memory"),
        figure("GraphQL engine, to graphql-core", "engine", core, 4, "the same"),
        figure("the same with a variable, to a handler", "variables", hand, 0.5, "the same, with a limit"),
        figure("the same with a variable, to graphql-core", "variables", core, 4, "the same, with a limit"),
    ]


def main() -> None:
    """Measure, and print what was found."""
    parser = argparse.ArgumentParser(prog="python -m bench.graphql_engine", description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=0.5, help="CPU time of each way and round")
    chosen = parser.parse_args()
    print(machine())
    print()
    print(table(measure(chosen.rounds, chosen.seconds)))


if __name__ == "__main__":
    main()
