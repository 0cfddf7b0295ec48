"""A whole platform in this process, driven step by step, and told when all is quiet."""

import asyncio
import threading
from collections.abc import Coroutine
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, TypeVar

from argon2 import PasswordHasher
from prometheus_client import CollectorRegistry

from mercato.adapters.identity import passwords
from mercato.kernel.ids import uuid7
from mercato.runtime.app import application
from mercato.runtime.embedded import Embedded
from mercato.runtime.reconcile.report import Report, reconcile
from mercato.runtime.settings import Settings
from mercato.web.asgi import AsgiApp
from tests.asgi_client import Answer, Client
from tests.clock import FakeClock

T = TypeVar("T")
_QUIET_WITHIN_S = 20
PASSWORD = "correct horse"


class Town:
    """The platform, in a thread of its own, whose clock stands still until it is moved."""

    def __init__(self, folder: Path) -> None:
        self.clock = FakeClock()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()
        self.run(self._start(folder))

    def run(self, work: "Coroutine[Any, Any, T]") -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(timeout=60)

    async def _start(self, folder: Path) -> None:
        # What a password costs is tested elsewhere; here it would be most of the time.
        passwords._hasher.cache_clear()
        cheap = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
        self._hasher, passwords._hasher = passwords._hasher, lambda: cheap  # type: ignore[assignment]
        settings = Settings(data=str(folder))
        self.platform = Embedded(settings, clock=self.clock)
        await self.platform.process.start()
        shell, *_ = application(
            self.platform.process, settings, lambda _: None, CollectorRegistry(), self.clock
        )
        self.client = Client(AsgiApp(shell))

    def stop(self) -> None:
        self.run(self.platform.process.stop())
        passwords._hasher = self._hasher
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def call(self, method: str, path: str, body: object = None, *, token: str = "", **headers: str) -> Answer:
        """Send a request and wait until everything that it set off has happened."""
        sent = {"Authorization": f"Bearer {token}"} if token else {}
        sent |= {name.replace("_", "-"): value for name, value in headers.items()}

        async def work() -> Answer:
            answer = await self.client(method, f"/api/v1{path}", body, headers=sent)
            if method != "GET":
                await self.quiet()
            return answer

        return self.run(work())

    def pass_time(self, **span: float) -> None:
        self.clock.forward(**span)
        self.run(self._expire())

    async def _expire(self) -> None:
        expired = 1
        while expired:
            expired = await self.platform.orders.service.expire(self.clock(), 100)
        await self.quiet()

    async def quiet(self) -> None:
        """Wait until every event has had its effect and no provider is to be asked."""
        process, payments = self.platform.process, self.platform.payments.parts.steps.db
        async with asyncio.timeout(_QUIET_WITHIN_S):
            while True:
                for relay in process.relays.values():
                    await relay.settled()
                unsent = [(await outbox.lag()).unsent for outbox in process.outboxes.values()]
                parked = [await inbox.parked_keys() for inbox in process.inbox_stores.values()]
                due = await payments.fetch_one("SELECT count(*) FROM payments WHERE check_at IS NOT NULL")
                if not any(unsent) and not any(parked) and due == (0,):
                    return
                await asyncio.sleep(0.001)

    def reconcile(self) -> Report:
        return self.run(reconcile(self.platform))


@dataclass
class Person:
    id: str
    email: str
    token: str
    first_name: str
    active: bool = True


@dataclass
class Product:
    id: str
    sku: str
    name: str
    price: int
    category: str | None
    on_hand: int
    reserved: int = 0
    live: bool = True
    version: int = 1

    @property
    def available(self) -> int:
        return self.on_hand - self.reserved


@dataclass
class Payment:
    id: str
    order: "Order"
    amount: int
    method: str
    token: str
    status: str = "pending"
    refunded: int = 0

    @property
    def active(self) -> bool:
        return self.status not in {"failed", "cancelled"}

    @property
    def captured(self) -> bool:
        return self.status in {"success", "partially_refunded", "refunded"}

    def refund(self, amount: int) -> None:
        self.refunded += amount
        self.status = "refunded" if self.refunded == self.amount else "partially_refunded"
        self.order.payment_status = self.status


@dataclass
class Order:
    id: str
    owner: Person
    lines: dict[str, int]
    """Quantities by product id."""
    total: int
    address: str
    status: str = "pending"
    payment_status: str = "unpaid"
    deleted: bool = False
    payments: list[Payment] = field(default_factory=list)

    @property
    def open_payment(self) -> Payment | None:
        return next((payment for payment in self.payments if payment.active), None)


class Model:
    """What a store should look like."""

    TRANSITIONS: ClassVar[dict[str, set[str]]] = {
        "pending": {"confirmed", "cancelled"},
        "confirmed": {"processing", "cancelled"},
        "processing": {"shipped", "cancelled"},
        "shipped": {"delivered"},
        "delivered": set(),
        "cancelled": set(),
    }

    def __init__(self) -> None:
        self.store = f"shop-{uuid7()[-12:]}"
        self.people: list[Person] = []
        self.products: list[Product] = []
        self.orders: list[Order] = []
        self.admin = Person("", "", "", "")

    def product(self, product_id: str) -> Product:
        return next(each for each in self.products if each.id == product_id)

    def move(self, order: Order, to: str) -> None:
        """Carry out a transition that is allowed."""
        for product_id, quantity in order.lines.items():
            product = self.product(product_id)
            if to == "confirmed":
                product.on_hand -= quantity
                product.reserved -= quantity
            elif to == "cancelled" and order.status == "pending":
                product.reserved -= quantity
            elif to == "cancelled":
                product.on_hand += quantity
        order.status = to
        payment = order.open_payment
        if to != "cancelled" or payment is None:
            return
        if payment.status == "pending":
            payment.status = "cancelled"
            order.payment_status = "unpaid"
        elif payment.refunded < payment.amount:
            payment.refund(payment.amount - payment.refunded)
