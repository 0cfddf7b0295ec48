"""A payments service on databases of its own, with orders to pay and callers who pay them."""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from mercato.adapters.sql.database import Database
from mercato.contracts.orders import OrderFacts, OrderStatus, OrderStatusChanged, StockState
from mercato.contracts.payment_books import ChargeBook, ChargeOutcome
from mercato.kernel.cause import ByEvent
from mercato.kernel.errors import Unauthenticated
from mercato.kernel.ids import OrderId, UserId, uuid7
from mercato.kernel.principal import Principal, Role
from mercato.kernel.tenancy import TenantId
from mercato.payments.providers.sandbox import Book, book_at
from mercato.payments.wiring import PaymentsService, PaymentsSettings, build
from mercato.web.access_log import AccessLog
from mercato.web.asgi import AsgiApp
from tests.asgi_client import Answer, Client
from tests.behaviour.outboxes import OWN
from tests.clock import FakeClock
from tests.conftest import OpenDatabase
from tests.events import event_of
from tests.shells import open_shell, stores_there

ACME, OTHER = TenantId("acme"), TenantId("other")
ANN, BOB = UserId(uuid7()), UserId(uuid7())

PEOPLE = {
    "ann": Principal(ANN, "ann@example.com", Role.CUSTOMER, ACME),
    "bob": Principal(BOB, "bob@example.com", Role.CUSTOMER, ACME),
    "admin": Principal(UserId(uuid7()), "admin@example.com", Role.ADMIN, ACME),
    "rival": Principal(UserId(uuid7()), "rival@example.com", Role.ADMIN, OTHER),
    "twin": Principal(ANN, "ann@example.com", Role.CUSTOMER, OTHER),
}
"""By their tokens. `twin` has Ann's user id in another store."""

QUICK = PaymentsSettings(provider_timeout_s=1.0, sandbox_slow_s=0.01)


class Tokens:
    async def authenticate(self, token: str) -> Principal:
        if token not in PEOPLE:
            raise Unauthenticated("The token is not valid.")
        return PEOPLE[token]


@dataclass
class Orders:
    """Orders as payments sees them."""

    known: dict[tuple[TenantId, OrderId], OrderFacts] = field(default_factory=dict)

    async def facts(self, tenant: TenantId, order_ids: Sequence[OrderId]) -> dict[OrderId, OrderFacts]:
        return {each: self.known[tenant, each] for each in order_ids if (tenant, each) in self.known}

    def place(
        self,
        *,
        total: int = 2_000,
        user: UserId = ANN,
        status: OrderStatus = OrderStatus.PENDING,
        stock: StockState = StockState.RESERVED,
    ) -> OrderId:
        order_id = OrderId(uuid7())
        self.known[ACME, order_id] = OrderFacts(order_id, user, status, stock, total, "USD")
        return order_id

    def cancel(self, order_id: OrderId) -> None:
        self.known[ACME, order_id] = msgspec.structs.replace(
            self.known[ACME, order_id], status=OrderStatus.CANCELLED
        )


@dataclass
class Till:
    """The service, over HTTP and by its events."""

    db: Database
    service: PaymentsService
    orders: Orders
    clock: FakeClock
    send: Client
    log: list[bytes]

    async def call(
        self,
        who: str,
        method: str,
        path: str = "",
        body: object = None,
        *,
        key: str | None = None,
        match: str | None = None,
    ) -> Answer:
        given = {"Authorization": f"Bearer {who}", "Idempotency-Key": key, "If-Match": match}
        headers = {name: value for name, value in given.items() if value is not None}
        return await self.send(method, f"/api/v1/payments{path}", body, headers=headers)

    async def create(
        self, order_id: OrderId, *, who: str = "ann", key: str | None = None, **fields: object
    ) -> Answer:
        body = {"order_id": order_id, "method": "card"} | fields
        return await self.call(who, "POST", body=body, key=key)

    async def open(self, *, token: str | None = None, total: int = 2_000, method: str = "card") -> str:
        """Return the id of a new payment of Ann's, for an order of its own."""
        made = await self.create(self.orders.place(total=total), token=token, method=method)
        assert made.status == 201, made.body
        return str(made.json["data"]["id"])

    async def process(self, payment_id: str, *, who: str = "ann", key: str | None = None) -> Answer:
        return await self.call(who, "POST", f"/{payment_id}/process", key=key)

    async def paid(self, *, total: int = 2_000, method: str = "card") -> str:
        """Return the id of a payment that was made."""
        payment_id = await self.open(total=total, method=method)
        done = await self.process(payment_id, who="admin")
        assert done.json["data"]["status"] == "success"
        return payment_id

    async def refund(
        self, payment_id: str, amount: float | None = None, *, who: str = "admin", key: str | None = None
    ) -> Answer:
        body = {} if amount is None else {"amount": amount}
        return await self.call(who, "POST", f"/{payment_id}/refund", body, key=key)

    async def show(self, payment_id: str) -> Mapping[str, Any]:
        return dict((await self.call("admin", "GET", f"/{payment_id}")).json["data"])

    async def cancel_order(self, order_id: OrderId, *, sequence: int = 1) -> None:
        """Deliver the event that the order was cancelled."""
        payload = OrderStatusChanged(
            tenant_id=ACME,
            order_id=order_id,
            user_id=ANN,
            status=OrderStatus.CANCELLED,
            total_amount=2_000,
            currency="USD",
            previous=OrderStatus.PENDING,
            by="customer",
        )
        event = event_of(payload, sequence, self.clock)
        by = ByEvent(event.id, event.partitionkey, sequence, "event")
        await self.service.parts.handlers[event.type](event, by)

    async def reconcile(self, **passing: float) -> None:
        """Let time pass and settle what is due then."""
        self.clock.forward(**passing)
        await self.service.reconciler.sweep()
        await self.service.reconciler.idle()

    async def charges(self) -> list[ChargeBook]:
        """Return what the sandbox has charged."""
        return [each for each in await self.service.sandbox.book() if each.outcome is ChargeOutcome.CHARGED]

    async def events(self) -> list[str]:
        rows = await self.db.fetch_all(f"SELECT type FROM outbox {OWN}")
        return [row[0] for row in rows]


@asynccontextmanager
async def open_till(
    open_database: OpenDatabase,
    folder: Path,
    *,
    orders: Orders | None = None,
    clock: FakeClock | None = None,
    settings: PaymentsSettings = QUICK,
    book_of: Callable[[Database], Book] | None = None,
) -> AsyncIterator[Till]:
    """Open the service on the databases in `folder`; opening it again opens the same ones.

    The sandbox's book is there too, or that of the database.
    """
    orders, clock = orders or Orders(), clock or FakeClock()
    db = await open_database("payments")
    book = book_at(folder / "sandbox.db") if book_of is None else book_of(db)
    service = build(db, clock=clock, orders=orders, sandbox_book=book, settings=settings)
    log: list[bytes] = []
    shell = open_shell(
        service.parts.routes.endpoints,
        authenticator=Tokens(),
        find_store=stores_there(ACME, OTHER),
        clock=clock,
        access_log=AccessLog(log.append),
        deadline_s=20.0,
    )
    try:
        yield Till(db, service, orders, clock, Client(AsgiApp(shell)), log)
    finally:
        await service.close()
