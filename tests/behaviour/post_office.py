"""A notifications service on a database of its own, with people to write to and callers who look on."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import msgspec

from mercato.adapters.sql.database import Database
from mercato.adapters.sql.inbox import SqlInbox
from mercato.contracts.events import Payload
from mercato.contracts.orders import OrderCreated, OrderStatus, OrderStatusChanged, StockState
from mercato.contracts.payments import (
    PaymentEvent,
    PaymentFailed,
    PaymentMethod,
    PaymentRefunded,
    PaymentStatus,
    PaymentSucceeded,
)
from mercato.contracts.products import PricedLine
from mercato.contracts.stores import Store
from mercato.contracts.users import LinkAction, LinkRequested, Recipient, UserCreated
from mercato.kernel.errors import Unauthenticated, Unavailable
from mercato.kernel.ids import OrderId, PaymentId, ProductId, UserId, uuid7
from mercato.kernel.principal import SCOPES, Principal, Role
from mercato.kernel.tenancy import StoreStatus, TenantId, Tier
from mercato.messaging.inbox import Inbox
from mercato.notifications.ports import Deposit, Mail, Sender
from mercato.notifications.service.delivery import Delivery
from mercato.notifications.templates import JinjaTemplates
from mercato.notifications.wiring import NotificationsService, NotificationsSettings, _terms, build
from mercato.notifications.workers import Dispatch
from mercato.web.asgi import AsgiApp
from tests.asgi_client import Answer, Client
from tests.clock import FakeClock
from tests.conftest import OpenDatabase
from tests.events import Teller
from tests.shells import open_shell, stores_there
from tests.waiting import until

ACME, OTHER, HOME = TenantId("acme"), TenantId("other"), TenantId("default")
ANN, OLGA = UserId(uuid7()), UserId(uuid7())
ORDER = OrderId(uuid7())

CALLERS = {
    "ann": Principal(ANN, "ann@example.com", Role.CUSTOMER, ACME),
    "admin": Principal(UserId(uuid7()), "admin@example.com", Role.ADMIN, ACME),
    "rival": Principal(UserId(uuid7()), "rival@example.com", Role.ADMIN, OTHER),
    "homeadmin": Principal(UserId(uuid7()), "admin@example.com", Role.ADMIN, HOME),
    "robot": Principal(UserId(uuid7()), "", Role.SERVICE, ACME, SCOPES),
    "reader": Principal(UserId(uuid7()), "", Role.SERVICE, ACME, frozenset({"notifications:read"})),
    "homerobot": Principal(UserId(uuid7()), "", Role.SERVICE, HOME, SCOPES),
    "olga": Principal(OLGA, "olga@example.com", Role.OPERATOR, HOME),
}
"""By their tokens."""

SETTINGS = NotificationsSettings(mail_from="no-reply@mail.example")


class Tokens:
    async def authenticate(self, token: str) -> Principal:
        if token not in CALLERS:
            raise Unauthenticated("The token is not valid.")
        return CALLERS[token]


def person(user_id: UserId = ANN, **changed: Any) -> Recipient:
    known = Recipient(user_id, "ann@example.com", "Ann", "Lee", Role.CUSTOMER, is_active=True)
    return msgspec.structs.replace(known, **changed)


@dataclass
class People:
    """Users as notifications sees them: each link is another one."""

    known: dict[tuple[TenantId, UserId], Recipient] = field(default_factory=dict)
    is_away: bool = False
    no_links: bool = False
    url: str = "https://shop.example/account/{action}?token={}"
    links: list[str] = field(default_factory=list)

    def add(self, tenant: TenantId, recipient: Recipient) -> UserId:
        self.known[tenant, recipient.user_id] = recipient
        return recipient.user_id

    async def recipient(self, tenant: TenantId, user_id: UserId) -> Recipient | None:
        self._check()
        return self.known.get((tenant, user_id))

    async def link(self, tenant: TenantId, user_id: UserId, action: LinkAction) -> str | None:
        self._check()
        if self.no_links or (tenant, user_id) not in self.known:
            return None
        token = f"canary-{len(self.links)}-token"
        self.links.append(self.url.replace("{action}", action).replace("{}", token))
        return self.links[-1]

    def _check(self) -> None:
        if self.is_away:
            raise Unavailable("The users service is away.")


@dataclass
class Stores:
    """Stores as notifications sees them."""

    known: dict[TenantId, Store]

    async def find(self, tenant: TenantId) -> Store | None:
        return self.known.get(tenant)


def store(tenant: TenantId, name: str, currency: str = "EUR") -> Store:
    return Store(tenant, name, currency, Tier.UNLIMITED, StoreStatus.ACTIVE)


@dataclass
class PostOffice:
    """The service, over HTTP and by its events."""

    db: Database
    service: NotificationsService
    people: People
    stores: Stores
    clock: FakeClock
    send: Client
    inbox: Inbox
    teller: Teller

    async def call(
        self,
        who: str,
        method: str = "GET",
        path: str = "",
        body: object = None,
        *,
        key: str | None = None,
        root: str = "/api/v1/notifications",
        named: str | None = None,
    ) -> Answer:
        given = {"Authorization": f"Bearer {who}", "Idempotency-Key": key, "X-Tenant-Id": named}
        headers = {name: value for name, value in given.items() if value is not None}
        return await self.send(method, root + path, body, headers=headers)

    async def tell(self, *payloads: Payload) -> None:
        """Deliver events as the bus does."""
        await self.inbox.receive([self.teller.encoded(payload) for payload in payloads])

    async def deliver(self, **passing: float) -> None:
        """Let time pass, and send what is due then."""
        self.clock.forward(**passing)
        await self.service.dispatch.sweep()
        await self.service.dispatch.idle()

    async def listed(self, who: str = "admin", query: str = "") -> list[dict[str, Any]]:
        answer = await self.call(who, path=query)
        assert answer.status == 200, answer.body
        return list(answer.json["data"])

    async def only(self) -> dict[str, Any]:
        (found,) = await self.listed()
        return found

    async def until(self, is_so: Callable[[dict[str, Any]], bool]) -> None:
        """Wait until it is so of the only notification."""

        async def holds() -> bool:
            return is_so(await self.only())

        await until(holds)

    async def mails(self, who: str = "admin") -> list[dict[str, Any]]:
        """Return the mails in the local mailbox, oldest first."""
        found = (await self.call(who, root="/api/v1/mailbox", path="?limit=100")).json["data"]
        paths = [f"/{each['id']}" for each in reversed(found)]
        return [(await self.call(who, root="/api/v1/mailbox", path=path)).json["data"] for path in paths]

    def another(self, sender: Sender, settings: NotificationsSettings = SETTINGS) -> Dispatch:
        """Return another worker on the same database, as another replica has."""
        delivery = Delivery(
            self.service.store,
            self.people,
            self.stores,
            JinjaTemplates(),
            sender,
            _terms(settings),
            clock=self.clock,
            chance=lambda: 0.5,
        )
        return Dispatch(delivery, most=settings.most)

    async def rows(self, table: str) -> str:
        """Return all that a table holds, as text."""
        return repr(await self.db.fetch_all(f"SELECT * FROM {table}"))


@asynccontextmanager
async def open_office(
    open_database: OpenDatabase, settings: NotificationsSettings = SETTINGS, clock: FakeClock | None = None
) -> AsyncIterator[PostOffice]:
    """Open the service; opening it again opens the same database."""
    clock, people = clock or FakeClock(), People()
    people.add(ACME, person())
    people.add(HOME, person(OLGA, email="olga@example.com", first_name="Olga", role=Role.OPERATOR))
    people.add(HOME, person())
    stores = Stores({ACME: store(ACME, "Acme Tea"), OTHER: store(OTHER, "Other"), HOME: store(HOME, "Home")})
    db = await open_database("notifications")
    service = build(db, clock=clock, people=people, stores=stores, settings=settings)
    shell = open_shell(
        service.parts.routes.endpoints,
        authenticator=Tokens(),
        find_store=stores_there(ACME, OTHER, HOME),
        clock=clock,
    )
    inbox = Inbox(
        "notifications", SqlInbox(service.parts.steps), service.parts.handlers, resend=_no_resend, clock=clock
    )
    try:
        yield PostOffice(db, service, people, stores, clock, Client(AsgiApp(shell)), inbox, Teller(clock))
    finally:
        await service.close()


async def _no_resend(source: str, key: str, after: int, before: int) -> int:
    return 0


@dataclass
class Scripted:
    """A Sender that does what the test wants, and remembers what it was given."""

    raises: list[Exception | None] = field(default_factory=list)
    """What each try comes to; the last one is for all that follow."""
    sent: list[Mail] = field(default_factory=list)
    begun: asyncio.Event = field(default_factory=asyncio.Event)

    async def send(self, mail: Mail) -> Deposit | None:
        self.sent.append(mail)
        self.begun.set()
        outcome = None
        if self.raises:
            outcome = self.raises.pop(0) if len(self.raises) > 1 else self.raises[0]
        if outcome is not None:
            raise outcome
        return None


def created(order_id: OrderId = ORDER, **changed: Any) -> OrderCreated:
    """Tell that Ann has placed an order."""
    fields: dict[str, Any] = {
        "tenant_id": ACME,
        "order_id": order_id,
        "user_id": ANN,
        "status": OrderStatus.PENDING,
        "total_amount": 123_450,
        "currency": "EUR",
        "name": None,
        "stock": StockState.RESERVED,
        "hold_until": FakeClock()() + timedelta(minutes=15),
        "lines": (PricedLine(ProductId(uuid7()), "TEA-1", "Darjeeling, 100 g", 2, 61_725),),
    }
    return OrderCreated(**fields | changed)


def moved(status: OrderStatus, order_id: OrderId = ORDER, **changed: Any) -> OrderStatusChanged:
    """Tell that an order has moved on."""
    fields: dict[str, Any] = {
        "tenant_id": ACME,
        "order_id": order_id,
        "user_id": ANN,
        "status": status,
        "total_amount": 123_450,
        "currency": "EUR",
        "previous": OrderStatus.PENDING,
        "by": "somebody",
    }
    return OrderStatusChanged(**fields | changed)


_PAYMENTS: Mapping[type[PaymentEvent], PaymentStatus] = {
    PaymentSucceeded: PaymentStatus.SUCCESS,
    PaymentFailed: PaymentStatus.FAILED,
    PaymentRefunded: PaymentStatus.PARTIALLY_REFUNDED,
}


def paid(kind: type[PaymentEvent] = PaymentSucceeded, **changed: Any) -> PaymentEvent:
    """Tell what an order's payment has come to."""
    fields: dict[str, Any] = {
        "tenant_id": ACME,
        "payment_id": PaymentId(uuid7()),
        "order_id": ORDER,
        "user_id": ANN,
        "status": _PAYMENTS.get(kind, PaymentStatus.PENDING),
        "method": PaymentMethod.CARD,
        "amount": 123_450,
        "refunded_amount": 0,
        "currency": "EUR",
        "at": FakeClock()(),
    }
    return kind(**fields | changed)


def registered(tenant: TenantId = ACME, user_id: UserId = ANN, **changed: Any) -> UserCreated:
    """Tell that somebody has an account."""
    fields: dict[str, Any] = {
        "tenant_id": tenant,
        "user_id": user_id,
        "email": "ann@example.com",
        "first_name": "Ann",
        "last_name": "Lee",
        "role": Role.CUSTOMER,
        "is_active": True,
    }
    return UserCreated(**fields | changed)


def wanted(action: LinkAction, tenant: TenantId = ACME, user_id: UserId = ANN) -> LinkRequested:
    """Tell that a link is to be mailed."""
    return LinkRequested(tenant_id=tenant, user_id=user_id, action=action)
