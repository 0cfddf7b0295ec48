"""A small shop behind the GraphQL endpoint: the real endpoint and engine, over a schema of its own."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, field
from typing import Any

from prometheus_client import CollectorRegistry

from mercato.gateway.graphql.bindings import Args, Bound, Events, Load, Resolve
from mercato.gateway.graphql_http.operations import Operations, Told
from mercato.kernel.errors import Unauthenticated, Unavailable
from mercato.runtime import graphql
from mercato.runtime.settings import Settings
from mercato.web.asgi import AsgiApp
from mercato.web.call import Call
from mercato.web.endpoint import Endpoint
from mercato.web.http import Chunks, Response
from tests.asgi_client import Client
from tests.clock import FakeClock
from tests.shells import open_shell, stores_there
from tests.shop import TokenBook

SDL = '''
"""What a client can ask for. Without a token that is the catalogue alone."""
type Query {
  """Who is signed in; null for nobody."""
  me: User
  """The catalogue."""
  products(search: String, limit: Int = 20): ProductList
  """Orders, newest first."""
  orders(limit: Int = 20): OrderList
  """What waits for as long as it takes."""
  slow: String
}
type Mutation {
  """Make an account as a customer of the store, and sign in."""
  register(input: RegisterInput!): Session
  """Sign in."""
  login(input: LoginInput!): Session
  """Replace a refresh token, which can be used once, by fresh tokens."""
  refreshToken(refreshToken: String!): Session
  """End the session of a refresh token."""
  logout(refreshToken: String!): Boolean
  """Place an order."""
  createOrder(input: CreateOrderInput!): Order
}
type Subscription {
  """An order that was placed or has moved on."""
  orderStatusChanged(orderId: ID): Order
}
input RegisterInput { email: String! password: String! firstName: String! lastName: String! }
input LoginInput { email: String! password: String! }
input CreateOrderInput { shippingAddress: String! notes: String items: [OrderItemInput!]! }
input OrderItemInput { productId: ID! productName: String quantity: Int! unitPrice: Float }
type Session { token: String! refreshToken: String! expiresIn: Int! user: User! }
type User {
  id: ID! tenantId: ID! email: String! firstName: String! lastName: String!
  """First and last name."""
  fullName: String!
  role: String!
  orders(limit: Int = 50): [Order!]
}
type ProductList { data: [Product!]! pageInfo: PageInfo! }
type Product { id: ID! sku: String! name: String! price: Float! }
type PageInfo { total: Int hasMore: Boolean! }
type OrderList { data: [Order!]! pageInfo: PageInfo! }
type Order {
  id: ID!
  """Where it stands."""
  status: String!
  totalAmount: Float! user: User payment: Payment items: [OrderItem!]!
}
type OrderItem { productName: String! quantity: Int! unitPrice: Float! }
type Payment { id: ID! status: String! amount: Float! }
'''
PASSWORD = "a-good-password"
ROLES = {"ann": "customer", "adam": "admin", "olga": "operator"}
"""By the names that tokens are, and that emails begin with."""


@dataclass(frozen=True)
class Product:
    id: str
    sku: str
    name: str
    price: float


@dataclass(frozen=True)
class Page:
    total: int
    has_more: bool = False


@dataclass(frozen=True)
class Listed:
    data: list[Any]

    @property
    def page_info(self) -> Page:
        return Page(len(self.data))


@dataclass(frozen=True)
class Item:
    product_name: str = "Brass desk lamp"
    quantity: int = 1
    unit_price: float = 87.0


@dataclass(frozen=True)
class Order:
    id: str = "0197-order"
    status: str = "pending"
    total_amount: float = 87.0
    items: tuple[Item, ...] = (Item(),)


@dataclass(frozen=True)
class User:
    name: str
    tenant_id: str
    last_name: str = "Doe"

    @property
    def id(self) -> str:
        return f"user-{self.name}"

    @property
    def email(self) -> str:
        return f"{self.name}@example.com"

    @property
    def first_name(self) -> str:
        return self.name.capitalize()

    @property
    def full_name(self) -> str:
        return f"{self.first_name} {self.last_name}"

    @property
    def role(self) -> str:
        return ROLES.get(self.name, "customer")


@dataclass(frozen=True)
class Session:
    token: str
    refresh_token: str
    expires_in: int
    user: User


@dataclass
class GraphqlShop:
    """What is in the shop, and what was asked of it."""

    settings: Settings = field(default_factory=Settings)
    registry: CollectorRegistry = field(default_factory=CollectorRegistry)
    expires_in: int = 900
    asked: list[str] = field(default_factory=list)
    """The root fields that were executed, in order."""
    stores: list[str] = field(default_factory=list)
    """The store that each was executed in."""
    let_go: asyncio.Event = field(default_factory=asyncio.Event)
    """Lets `slow` answer; a search for `go` sets it."""
    sessions: dict[str, str] = field(default_factory=dict)
    """Who a refresh token is for."""

    def bound(self) -> Bound:
        return Bound(
            SDL,
            {
                "Query": {
                    "me": Resolve(self._me),
                    "products": Resolve(self._products, many="limit", public=True),
                    "orders": Resolve(self._orders, many="limit"),
                    "slow": Resolve(self._slow),
                },
                "Mutation": {
                    "register": Resolve(self._login),
                    "login": Resolve(self._login),
                    "refreshToken": Resolve(self._refresh),
                    "logout": Resolve(self._logout),
                    "createOrder": Resolve(self._create_order),
                },
                "Subscription": {"orderStatusChanged": Events(self._order_status)},
                "User": {"orders": Load(_orders_of, many="limit")},
                "Order": {"user": Load(_users_of), "payment": Load(_payments_of)},
            },
        )

    def _note(self, call: Call, name: str) -> None:
        self.asked.append(name)
        self.stores.append(call.tenant)

    async def _me(self, call: Call, _: Args) -> User | None:
        self._note(call, "me")
        return None if call.caller is None else _user(call)

    async def _products(self, call: Call, args: Args) -> Listed:
        self._note(call, "products")
        if args.get("search") == "away":
            raise Unavailable("Products is away.")
        if args.get("search") == "go":
            self.let_go.set()
        return Listed([Product("1", "prod-1", "Brass desk lamp", 87.0)][: args["limit"]])

    async def _orders(self, call: Call, args: Args) -> Listed:
        self._note(call, "orders")
        _user(call)
        return Listed([Order()][: args["limit"]])

    async def _slow(self, call: Call, _: Args) -> str:
        self._note(call, "slow")
        await self.let_go.wait()
        return "done"

    async def _login(self, call: Call, args: Args) -> Session:
        self._note(call, "login")
        if "first_name" not in args["input"] and args["input"]["password"] != PASSWORD:
            raise Unauthenticated("The email or the password is wrong.")
        return self._session(args["input"]["email"].partition("@")[0], call)

    async def _refresh(self, call: Call, args: Args) -> Session:
        self._note(call, "refreshToken")
        if args["refresh_token"] not in self.sessions:
            raise Unauthenticated("The session has ended.")
        return self._session(self.sessions.pop(args["refresh_token"]), call)

    async def _logout(self, call: Call, args: Args) -> bool:
        self._note(call, "logout")
        self.sessions.pop(args["refresh_token"], None)
        return True

    async def _create_order(self, call: Call, args: Args) -> Order:
        self._note(call, "createOrder")
        _user(call)
        return Order(items=tuple(Item(quantity=each["quantity"]) for each in args["input"]["items"]))

    async def _order_status(self, call: Call, _: Args) -> AsyncGenerator[Order, None]:
        self._note(call, "orderStatusChanged")
        _user(call)
        yield Order(status="pending")
        yield Order(status="confirmed")

    def _session(self, name: str, call: Call) -> Session:
        refresh = f"refresh-{name}-{len(self.asked)}"
        self.sessions[refresh] = name
        return Session(name, refresh, self.expires_in, User(name, call.tenant))


def _user(call: Call) -> User:
    return User(call.principal.email.partition("@")[0], call.tenant)


async def _orders_of(_: Call, users: Sequence[User], __: Args) -> list[list[Order]]:
    return [[Order()] for _ in users]


async def _users_of(call: Call, orders: Sequence[Order], _: Args) -> list[User]:
    return [_user(call) for _ in orders]


async def _payments_of(_: Call, orders: Sequence[Order], __: Args) -> list[None]:
    return [None for _ in orders]


class PlainStreams:
    """Event streams that are as long as the operation."""

    def answer(self, _: Call, results: AsyncGenerator[Told, None]) -> Response:
        return Response(200, content_type="text/event-stream", stream=_events(results))


async def _events(results: AsyncGenerator[Told, None]) -> Chunks:
    async for result in results:
        yield b"event: next\ndata: " + result.body + b"\n\n"
    yield b"event: complete\ndata:\n\n"


def operations(shop: GraphqlShop) -> Operations:
    return graphql.operations(shop.settings, shop.bound, lambda call: call, shop.registry)


def endpoints(shop: GraphqlShop, *, streams: bool = True) -> list[Endpoint]:
    return graphql.endpoints(shop.settings, operations(shop), PlainStreams() if streams else None)


def open_graphql(shop: GraphqlShop, *, streams: bool = True, **changed: Any) -> Client:
    """Return a client of the shop's endpoint, in the stores `default` and `acme`."""
    shell = open_shell(
        endpoints(shop, streams=streams),
        authenticator=TokenBook(),
        find_store=stores_there("default", "other", "acme"),
        clock=FakeClock(),
        **changed,
    )
    return Client(AsgiApp(shell))
