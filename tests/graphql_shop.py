"""A small shop for GraphQL: orders with users and payments in memory, and a note of every call."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from operator import attrgetter
from typing import Any

import msgspec

from mercato.gateway.graphql.answer import Result
from mercato.gateway.graphql.bindings import Args, Attribute, Bound, Events, Load, Resolve, Scalar
from mercato.gateway.graphql.engine import Engine, Operation
from mercato.gateway.graphql.limits import Limits
from mercato.kernel.errors import NotFound, ValidationFailed

SDL = '''
"""What can be asked for."""
type Query {
  orders(limit: Int = 20, like: Like): OrderPage!
  order(id: ID!): Order
  myOrders: [Order!]
  products(ids: [ID!]): [Product!]!
  product(id: ID!): Product
}
type Mutation {
  login(email: String!): String!
  cancel(id: ID!, why: String): Order
  pay(input: PayInput!): Payment!
}
type Subscription { changed(id: ID!): Order! }
type OrderPage { data: [Order!]! total: Int! }
type Order {
  id: ID!  status: Status!  totalAmount: Float!  createdAt: DateTime!  notes: String
  lines: [Line!]!  user: User  payment: Payment
}
type Line { sku: String! quantity: Int! product: Product }
type User { id: ID! email: String! orders(limit: Int = 50): [Order!]! }
type Payment { id: ID! amount: Float! order: Order user: User }
type Product { id: ID! name: String! stock: Int }
enum Status { PENDING PAID }
input PayInput { orderId: ID!, method: String = "card" }
input Like { both: Like, any: [Like!], status: Status = PAID }
scalar DateTime
'''
NOW = datetime(2026, 11, 1, 12, 30, tzinfo=UTC)


class Line(msgspec.Struct, frozen=True):
    sku: str
    quantity: int


class Order(msgspec.Struct, frozen=True):
    id: str
    user_id: str
    status: str = "paid"
    total_amount: Decimal = Decimal("19.99")
    created_at: datetime = NOW
    notes: str | None = None
    lines: tuple[Line, ...] = (Line("A", 1), Line("B", 2))


class User(msgspec.Struct, frozen=True):
    id: str
    email: str


class Payment(msgspec.Struct, frozen=True):
    id: str
    order_id: str
    user_id: str
    amount: Decimal = Decimal("19.99")


class Product(msgspec.Struct, frozen=True):
    id: str
    name: str
    stock: int


class OrderPage(msgspec.Struct, frozen=True):
    data: Sequence[Order]
    total: int


def read_time(value: Any) -> datetime:
    if not isinstance(value, str):
        raise ValueError("a time is a text")  # noqa: TRY004  it is what a scalar's reader is to raise
    return datetime.fromisoformat(value)


@dataclass
class Shop:
    """The shop, as a request sees it. What is in `broken` raises or is given instead of a value."""

    request_id: str = "request-1"
    calls: list[tuple[str, int]] = field(default_factory=list)
    args: list[Args] = field(default_factory=list)
    broken: dict[str, Exception] = field(default_factory=dict)
    events: asyncio.Queue[Order | Exception | None] = field(default_factory=asyncio.Queue)
    closed: int = 0
    orders: int = 10

    def called(self, name: str, count: int, args: Args) -> None:
        self.calls.append((name, count))
        self.args.append(args)
        if name in self.broken:
            raise self.broken[name]

    def order(self, order_id: str) -> Order:
        return Order(order_id, f"u{int(order_id.strip('o')) % 3}")


def _resolve(name: str, give: Callable[[Shop, Args], Any]) -> Callable[[Shop, Args], Any]:
    async def resolve(shop: Shop, args: Args) -> Any:
        shop.called(name, 1, args)
        return give(shop, args)

    return resolve


def _load(name: str, give: Callable[[Shop, Any, Args], Any]) -> Callable[[Shop, Sequence[Any], Args], Any]:
    async def load(shop: Shop, parents: Sequence[Any], args: Args) -> list[Any]:
        shop.called(name, len(parents), args)
        return [give(shop, parent, args) for parent in parents]

    return load


async def _changed(shop: Shop, args: Args) -> AsyncGenerator[Order, None]:
    shop.called("changed", 1, args)
    try:
        while (order := await shop.events.get()) is not None:
            if isinstance(order, Exception):
                raise order
            yield order
    finally:
        shop.closed += 1


def _page(shop: Shop, args: Args) -> OrderPage:
    return OrderPage(
        [shop.order(f"o{number}") for number in range(min(args["limit"], shop.orders))], shop.orders
    )


def _payment(_: Shop, order: Order, __: Args) -> Payment | Exception | None:
    if order.id == "o1":
        return None
    return (
        NotFound("There is no such payment.")
        if order.id == "o2"
        else Payment(f"p{order.id}", order.id, order.user_id)
    )


def _cancelled(shop: Shop, args: Args) -> Order:
    if args["id"] == "o9":
        raise ValidationFailed.field("id", "must be another")
    return shop.order(args["id"])


users = Load(
    _load("users", lambda _, each, __: User(each.user_id, f"{each.user_id}@example.com")),
    attrgetter("user_id"),
)
FIELDS: dict[str, dict[str, Any]] = {
    "Query": {
        "orders": Resolve(_resolve("orders", _page), many="limit"),
        "order": Resolve(_resolve("order", lambda shop, args: shop.order(args["id"]))),
        "myOrders": Resolve(
            _resolve("my_orders", lambda shop, _: [shop.order("o3"), shop.order("o4")]), many=50
        ),
        "products": Resolve(
            _resolve("products", lambda _, args: [Product(i, i, 3) for i in args["ids"]]),
            many="ids",
            public=True,
        ),
        "product": Resolve(_resolve("product", lambda _, args: Product(args["id"], "Lamp", 3)), public=True),
    },
    "Mutation": {
        "login": Resolve(_resolve("login", lambda _, args: f"token of {args['email']}")),
        "cancel": Resolve(_resolve("cancel", _cancelled)),
        "pay": Resolve(_resolve("pay", lambda _, args: Payment("p", args["input"]["order_id"], "u1"))),
    },
    "Subscription": {"changed": Events(_changed)},
    "OrderPage": {"data": Attribute(many=1)},
    "Order": {"user": users, "payment": Load(_load("payments", _payment))},
    "Line": {
        "product": Load(
            _load("line products", lambda _, line, __: Product(line.sku, line.sku, 3)),
            attrgetter("sku"),
            public=True,
        )
    },
    "User": {
        "orders": Load(
            _load("orders of users", lambda shop, _, args: [shop.order("o5")] * args["limit"]), many="limit"
        )
    },
    "Payment": {
        "user": users,
        "order": Load(_load("orders of payments", lambda shop, each, _: shop.order(each.order_id))),
    },
    "Product": {"stock": Attribute(public=False)},
}
SCALARS = {"DateTime": Scalar(str, read_time, plain=datetime)}
ENUMS = {"Status": {"PENDING": "pending", "PAID": "paid"}}


def bound(fields: dict[str, dict[str, Any]] | None = None) -> Bound:
    return Bound(SDL, fields or FIELDS, SCALARS, ENUMS)


def open_engine(limits: Limits | None = None, **options: Any) -> Engine:
    return Engine(bound(), limits, **options)


async def answers(
    engine: Engine, shop: Shop, query: str, variables: dict[str, Any] | None = None, name: str | None = None
) -> list[Result]:
    """Return what is answered at first, and once the document is compiled."""
    operation = Operation(query, variables or {}, name)
    return [await engine.execute(operation, shop) for _ in range(2)]


async def ask(
    engine: Engine, query: str, variables: dict[str, Any] | None = None, *, shop: Shop | None = None
) -> Result:
    return await engine.execute(Operation(query, variables or {}), shop or Shop())


def codes(result: Result) -> list[str]:
    return [problem.extensions.code for problem in result.errors]
