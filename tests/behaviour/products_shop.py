"""A products service on a database of its own, with stores, callers and order events to it."""

from collections import defaultdict
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import msgspec

from mercato.adapters.signals.port import NO_SIGNALS, Signals
from mercato.adapters.sql.database import Database
from mercato.contracts.events import Event, Payload, ordering_key
from mercato.contracts.orders import OrderCreated, OrderStatus, OrderStatusChanged, StockState
from mercato.contracts.products import PricedLine, Reservation, WantedLine
from mercato.contracts.stock_books import HoldBook, StockBook
from mercato.contracts.stores import Store
from mercato.kernel.cause import ByEvent
from mercato.kernel.errors import Unauthenticated
from mercato.kernel.ids import OrderId, ProductId, UserId, uuid7
from mercato.kernel.principal import Principal, Role
from mercato.kernel.tenancy import StoreStatus, TenantId, Tier
from mercato.products.wiring import Products, ProductsSettings, build
from mercato.web.http import Request
from mercato.web.shell import Shell
from tests.behaviour.outboxes import OWN
from tests.clock import FakeClock
from tests.shells import open_shell, stores_there

ACME = TenantId("acme")
TOKYO = TenantId("tokyo")


class Stores:
    """Two stores, one of which trades in a currency without minor units."""

    def __init__(self) -> None:
        self.asked = 0

    async def find(self, tenant: TenantId) -> Store | None:
        self.asked += 1
        currency = {ACME: "USD", TOKYO: "JPY"}.get(tenant)
        if currency is None:
            return None
        return Store(tenant, tenant.title(), currency, Tier.UNLIMITED, StoreStatus.ACTIVE)


class Tokens:
    """Tokens that say who they stand for: `admin@acme`."""

    async def authenticate(self, token: str) -> Principal:
        role, _, tenant = token.partition("@")
        if role not in set(Role):
            raise Unauthenticated("no such token")
        user = UserId(f"00000000-0000-7000-8000-{role[:12]:0>12}")
        return Principal(user, f"{role}@example.com", Role(role), TenantId(tenant))


@dataclass
class Answer:
    """What came back."""

    status: int
    headers: dict[str, str]
    body: Any
    raw: bytes = b""
    """Of a download."""

    @property
    def data(self) -> Any:
        assert self.body["success"], self.body
        return self.body["data"]

    @property
    def code(self) -> str:
        return str(self.body["error"]["code"])

    @property
    def fields(self) -> dict[str, str]:
        return {each["field"]: each["message"] for each in self.body["error"]["details"]}


@dataclass
class Shop:
    """The service under test."""

    db: Database
    clock: FakeClock
    stores: Stores
    products: Products
    shell: Shell
    sequences: dict[str, int] = field(default_factory=lambda: defaultdict(int))

    async def request(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        token: str | None = "admin@acme",
        headers: dict[str, str] | None = None,
        below: str = "/api/v1/products",
    ) -> Answer:
        """Send one request to a path below /api/v1/products, or `below` another."""
        path, _, query = path.partition("?")
        sent = {"content-type": "application/json"} | (headers or {})
        if token is not None:
            sent["authorization"] = f"Bearer {token}"
        raw = b""
        if body is not None and not isinstance(body, AsyncGenerator):
            raw = body if isinstance(body, bytes) else msgspec.json.encode(body)

        async def read_body(_: int) -> bytes:
            return raw

        async def stream_body(_: int) -> AsyncGenerator[bytes, None]:
            if isinstance(body, AsyncGenerator):
                async for piece in body:
                    yield piece
                return
            for start in range(0, len(raw), 1_000):
                yield raw[start : start + 1_000]

        response = await self.shell.handle(
            Request(
                method=method,
                path=f"{below}{path}",
                query=query,
                headers=sent,
                client="127.0.0.1",
                secure=False,
                read_body=read_body,
                stream_body=stream_body,
            )
        )
        told = dict(response.headers)
        if response.stream is not None:
            return Answer(response.status, told, None, b"".join([piece async for piece in response.stream]))
        data = msgspec.json.decode(response.body) if response.body else None
        return Answer(response.status, told, data)

    async def download(self, path: str, *, token: str = "admin@acme") -> Answer:
        """Get a file."""
        return await self.request("GET", path, token=token)

    async def add(
        self, sku: str, *, stock: int = 0, price: float = 10, token: str = "admin@acme"
    ) -> ProductId:
        """Add a product and return its id."""
        body = {"sku": sku, "name": sku.title(), "price": price, "stock": stock}
        answer = await self.request("POST", "", body, token=token)
        return ProductId(answer.data["id"])

    async def reserve(
        self,
        lines: Sequence[WantedLine],
        *,
        order: OrderId | None = None,
        tenant: TenantId = ACME,
        until: datetime | None = None,
        currency: str | None = None,
    ) -> Reservation:
        """Reserve as orders does."""
        return await self.products.stock.reserve(
            tenant,
            order or new_order(),
            lines,
            currency=currency,
            until=until or self.clock() + timedelta(minutes=15),
            by="somebody",
            at=self.clock(),
        )

    async def deliver(self, payload: Payload) -> None:
        """Handle an event of orders, the next of its key."""
        key = ordering_key(payload)
        self.sequences[key] += 1
        event, by = as_event(payload, self.sequences[key], self.clock())
        await self.products.parts.handlers[payload.type](event, by)

    async def stock_of(self, product_id: ProductId, *, token: str = "admin@acme") -> tuple[int, int]:
        """Return what is on hand and what is reserved."""
        answer = await self.request("GET", f"/{product_id}/inventory", token=token)
        return answer.data["on_hand"], answer.data["reserved"]

    async def events(self) -> list[tuple[str, Any]]:
        """Return the types and data of all events, in order."""
        rows = await self.db.fetch_all(f"SELECT type, body FROM outbox {OWN}")
        return [(kind, msgspec.json.decode(body)["data"]) for kind, body in rows]

    async def event_types(self) -> list[str]:
        """Return the types of all events but those of products made, in order."""
        return [kind for kind, _ in await self.events() if kind != "product.created"]

    async def check_books(self) -> None:
        """Assert that movements add up to stock, and holds to what is reserved."""
        stock, holds = await self.products.books()
        for book in stock:
            assert (book.on_hand, book.reserved) == (book.moved_on_hand, book.moved_reserved), book
            assert book.reserved == held_of(book, holds), book
            assert book.on_hand >= book.reserved


def held_of(book: StockBook, holds: Sequence[HoldBook]) -> int:
    """Return how many of a product are held in all holds together."""
    return sum(
        quantity
        for hold in holds
        if hold.tenant_id == book.tenant_id and hold.state == "held"
        for product_id, quantity in hold.lines
        if product_id == book.product_id
    )


def open_shop(
    db: Database, settings: ProductsSettings | None = None, *, signals: Signals = NO_SIGNALS
) -> Shop:
    """Wire the service on its database; `signals` reach its replicas."""
    clock, stores = FakeClock(), Stores()
    products = build(db, clock=clock, stores=stores, settings=settings or ProductsSettings(), signals=signals)

    shell = open_shell(
        products.parts.routes.endpoints,
        authenticator=Tokens(),
        find_store=stores_there(ACME, TOKYO),
        clock=clock,
    )
    return Shop(db, clock, stores, products, shell)


def new_order() -> OrderId:
    """Return a new order's id."""
    return OrderId(uuid7())


def as_event(payload: Payload, sequence: int, at: datetime) -> tuple[Event, ByEvent]:
    """Return a payload as it comes out of an inbox."""
    key = ordering_key(payload)
    event = Event(
        id=uuid7(),
        source="/mercato/orders",
        type=payload.type,
        subject=payload.subject,
        time=at,
        tenantid=payload.tenant_id,
        partitionkey=key,
        sequence=f"{sequence:020}",
        data=msgspec.Raw(msgspec.json.encode(payload)),
    )
    return event, ByEvent(event.id, key, sequence, f"event:{payload.type}")


def created(
    order: OrderId, lines: Sequence[tuple[ProductId, int]], *, stock: StockState, at: datetime
) -> OrderCreated:
    """Return the event of an order placed at a price of 7.00 each."""
    return OrderCreated(
        tenant_id=ACME,
        order_id=order,
        user_id=UserId(uuid7()),
        status=OrderStatus.PENDING,
        total_amount=700,
        currency="USD",
        name=None,
        stock=stock,
        hold_until=at + timedelta(minutes=15),
        lines=tuple(PricedLine(product, "SKU", "Name", quantity, 700) for product, quantity in lines),
    )


def changed(order: OrderId, status: OrderStatus, *, tenant: TenantId = ACME) -> OrderStatusChanged:
    """Return the event of an order that moved on."""
    return OrderStatusChanged(
        tenant_id=tenant,
        order_id=order,
        user_id=UserId(uuid7()),
        status=status,
        total_amount=700,
        currency="USD",
        previous=OrderStatus.PENDING,
        by="somebody",
        reason="changed my mind",
    )
