"""An orders service on a database of its own, with a stock to order from and events to it."""

import asyncio
import random
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import msgspec

from mercato.adapters.sql.database import Database
from mercato.adapters.sql.inbox import SqlInbox
from mercato.contracts.events import Event, Payload, ordering_key
from mercato.contracts.orders import OrderStatus
from mercato.contracts.payments import (
    PaymentCreated,
    PaymentEvent,
    PaymentFailed,
    PaymentMethod,
    PaymentRefunded,
    PaymentStatus,
    PaymentSucceeded,
)
from mercato.contracts.products import (
    OutOfStock,
    PriceChanged,
    ProductCreated,
    Reservation,
    StockRejected,
    StockReserved,
    WantedLine,
)
from mercato.kernel import money
from mercato.kernel.errors import FieldError, Unavailable, ValidationFailed
from mercato.kernel.ids import OrderId, PaymentId, ProductId, UserId, uuid7
from mercato.kernel.principal import Principal, Role
from mercato.kernel.tenancy import DEFAULT_TENANT, TenantId
from mercato.messaging.inbox import Inbox
from mercato.orders.domain import Order
from mercato.orders.ports import CatalogueItem
from mercato.orders.wiring import OrdersService, OrdersSettings, build
from tests.asgi_client import Answer, Client
from tests.behaviour.outboxes import OWN
from tests.clock import FakeClock
from tests.shop import PEOPLE, bearer, open_shop

HOLD_S = 900.0
ANN, ADAM = PEOPLE["ann"], PEOPLE["adam"]
BOB = Principal(UserId(uuid7()), "bob@example.com", Role.CUSTOMER, DEFAULT_TENANT)
CURRENCY = "USD"


@dataclass
class Shelf:
    """One product and how many of it nobody has reserved."""

    item: CatalogueItem
    available: int


@dataclass
class ShelvedStock:
    """A Stock over shelves in memory. It can be away, and answer too late."""

    shelves: dict[tuple[TenantId, str], Shelf] = field(default_factory=dict)
    """By store and SKU."""
    held: dict[tuple[TenantId, OrderId], Reservation] = field(default_factory=dict)
    away: bool = False
    answers_late: bool = False
    """It holds the stock, and whoever asked hears nothing of it."""
    asked: int = 0

    def put(self, sku: str, *, available: int = 100, price: int = 1_000) -> CatalogueItem:
        """Put a product on a shelf of the default store."""
        item = CatalogueItem(ProductId(uuid7()), sku, sku.title(), price, CURRENCY)
        self.shelves[DEFAULT_TENANT, sku] = Shelf(item, available)
        return item

    async def reserve(
        self,
        tenant: TenantId,
        order_id: OrderId,
        lines: Sequence[WantedLine],
        *,
        currency: str | None,
        until: datetime,
        by: str,  # noqa: ARG002  the contract's own parameter
        at: datetime,  # noqa: ARG002  the contract's own parameter
    ) -> Reservation:
        """Hold stock for an order, once; see contracts.products.Stock."""
        self.asked += 1
        if self.away:
            raise Unavailable("The products service is away.")
        held = self.held.get((tenant, order_id))
        if held is None:
            held = self._hold(tenant, order_id, lines, currency=currency, until=until)
        if self.answers_late:
            await asyncio.Event().wait()
        return held

    def _hold(
        self,
        tenant: TenantId,
        order_id: OrderId,
        lines: Sequence[WantedLine],
        *,
        currency: str | None,
        until: datetime,
    ) -> Reservation:
        if currency not in {None, CURRENCY}:
            raise ValidationFailed.field("currency", f"must be the store's currency, {CURRENCY}")
        wanted: dict[str, int] = defaultdict(int)
        for index, line in enumerate(lines):
            shelf = self._shelf(tenant, line.product)
            if shelf is None:
                raise ValidationFailed.field(f"items[{index}].product_id", "is not in the catalogue")
            _check_price(line, shelf.item, index)
            wanted[shelf.item.sku] += line.quantity
        shelves = {sku: self.shelves[tenant, sku] for sku in wanted}
        if short := [
            FieldError(sku, f"only {shelf.available} left")
            for sku, shelf in shelves.items()
            if shelf.available < wanted[sku]
        ]:
            raise OutOfStock("There is not enough in stock.", short)
        for sku, shelf in shelves.items():
            shelf.available -= wanted[sku]
        priced = tuple(shelf.item.line(wanted[sku]) for sku, shelf in shelves.items())
        reservation = Reservation(order_id, CURRENCY, priced, until)
        self.held[tenant, order_id] = reservation
        return reservation

    def _shelf(self, tenant: TenantId, product: str) -> Shelf | None:
        return next(
            (
                shelf
                for (store, sku), shelf in self.shelves.items()
                if store == tenant and product in {sku, shelf.item.product_id}
            ),
            None,
        )


def _check_price(line: WantedLine, item: CatalogueItem, index: int) -> None:
    price = money.to_decimal(item.price, CURRENCY)
    if line.expected_price not in {None, price}:
        raise PriceChanged("Changed.", [FieldError(f"items[{index}].unit_price", f"is now {price}")])


@dataclass
class Desk:
    """The service, over HTTP and by its events."""

    db: Database
    clock: FakeClock
    stock: ShelvedStock
    service: OrdersService
    inbox: Inbox
    send: Client
    sequences: dict[str, int] = field(default_factory=lambda: defaultdict(int))

    async def call(
        self,
        method: str,
        path: str = "",
        body: object = None,
        *,
        who: str = "ann",
        key: str | None = None,
        match: str | None = None,
    ) -> Answer:
        """Send one request to a path below /api/v1/orders; `match` is its If-Match."""
        given = {"Idempotency-Key": key, "If-Match": match}
        headers = bearer(who) | {name: value for name, value in given.items() if value is not None}
        return await self.send(method, f"/api/v1/orders{path}", body, headers=headers)

    async def place(
        self, *products: str, who: str = "ann", key: str | None = None, **fields: object
    ) -> Answer:
        """Order one of each of the products."""
        items = [{"product_id": product, "quantity": 1} for product in products]
        return await self.call(
            "POST", body={"items": items, "shipping_address": "Here"} | fields, who=who, key=key
        )

    async def placed(self, product: str = "LAMP") -> OrderId:
        """Place an order of Ann's and return its id."""
        answer = await self.place(product)
        assert answer.status == 201, answer.body
        return OrderId(answer.json["data"]["id"])

    async def order(self, order_id: OrderId, tenant: TenantId = DEFAULT_TENANT) -> Order:
        found = await self.service.store.find(tenant, order_id)
        assert found is not None
        return found

    async def orders(self) -> int:
        rows = await self.db.fetch_all("SELECT count(*) FROM orders")
        return int(rows[0][0])

    async def events(self) -> list[tuple[str, Any]]:
        """Return the types and data of all events sent, in order."""
        rows = await self.db.fetch_all(f"SELECT type, body FROM outbox {OWN}")
        return [(kind, msgspec.json.decode(body)["data"]) for kind, body in rows]

    def sent(self, *payloads: Payload) -> list[bytes]:
        """Return events as they travel, the next of their keys."""
        return [self._encoded(payload) for payload in payloads]

    def _encoded(self, payload: Payload) -> bytes:
        key = ordering_key(payload)
        self.sequences[key] += 1
        event = Event(
            id=uuid7(),
            source="/mercato/elsewhere",
            type=payload.type,
            subject=payload.subject,
            time=self.clock(),
            tenantid=payload.tenant_id,
            partitionkey=key,
            sequence=f"{self.sequences[key]:020}",
            data=msgspec.Raw(msgspec.json.encode(payload)),
        )
        return msgspec.json.encode(event)

    async def hear(self, *payloads: Payload) -> None:
        """Receive events, each once and in order."""
        await self.inbox.receive(self.sent(*payloads))

    async def hear_in_disorder(self, *payloads: Payload, seed: int) -> None:
        """Receive events three times each, shuffled, in deliveries of three at once.

        What met a gap that was filled beside it is taken up by the sweep.
        """
        bodies = self.sent(*payloads) * 3
        random.Random(seed).shuffle(bodies)
        await asyncio.gather(
            *(self.inbox.receive(bodies[first : first + 3]) for first in range(0, len(bodies), 3))
        )
        self.clock.forward(seconds=10)
        await self.inbox.sweep()

    async def parked(self) -> int:
        rows = await self.db.fetch_all("SELECT count(*) FROM inbox_parked")
        return int(rows[0][0])


def open_desk(
    db: Database,
    *,
    stock: ShelvedStock | None = None,
    clock: FakeClock | None = None,
    deadline_s: float = 5.0,
) -> Desk:
    """Wire the service on its database; doing it again is what a restart does."""
    clock, stock = clock or FakeClock(), stock or ShelvedStock()
    service = build(
        db, clock=clock, stock=stock, settings=OrdersSettings(hold_s=HOLD_S, stock_deadline_s=deadline_s)
    )

    async def resend(source: str, key: str, after: int, before: int) -> int:
        return before - after - 1

    inbox = Inbox("orders", SqlInbox(service.parts.steps), service.parts.handlers, resend=resend, clock=clock)
    return Desk(db, clock, stock, service, inbox, Client(open_shop(service.parts.routes, clock=clock).app))


def product_created(item: CatalogueItem, *, tenant: TenantId = DEFAULT_TENANT) -> ProductCreated:
    """Return the event that makes a product known."""
    return ProductCreated(
        tenant_id=tenant,
        product_id=item.product_id,
        sku=item.sku,
        name=item.name,
        price=item.price,
        currency=item.currency,
    )


def reserved(order_id: OrderId, until: datetime, *, tenant: TenantId = DEFAULT_TENANT) -> StockReserved:
    """Return the event that an order's stock is held."""
    return StockReserved(tenant_id=tenant, order_id=order_id, expires_at=until)


def rejected(order_id: OrderId, reason: str = "none left") -> StockRejected:
    """Return the event that an order's stock cannot be held."""
    return StockRejected(tenant_id=DEFAULT_TENANT, order_id=order_id, reason=reason)


_PAYMENT_EVENTS: dict[PaymentStatus, type[PaymentEvent]] = {
    PaymentStatus.PENDING: PaymentCreated,
    PaymentStatus.SUCCESS: PaymentSucceeded,
    PaymentStatus.FAILED: PaymentFailed,
    PaymentStatus.PARTIALLY_REFUNDED: PaymentRefunded,
    PaymentStatus.REFUNDED: PaymentRefunded,
}


def payment(
    order_id: OrderId, status: PaymentStatus, at: datetime, *, tenant: TenantId = DEFAULT_TENANT
) -> PaymentEvent:
    """Return the event that an order's payment has come to `status`."""
    return _PAYMENT_EVENTS[status](
        tenant_id=tenant,
        payment_id=PaymentId(uuid7()),
        order_id=order_id,
        user_id=ANN.user_id,
        status=status,
        method=PaymentMethod.CARD,
        amount=1_000,
        refunded_amount=0,
        currency=CURRENCY,
        at=at,
        failure_reason="card declined" if status is PaymentStatus.FAILED else None,
    )


def statuses(order: Order) -> list[OrderStatus]:
    """Return the statuses an order has been through."""
    through: list[OrderStatus] = []
    for entry in order.timeline:
        if not through or through[-1] is not entry.status:
            through.append(entry.status)
    return through
