"""Storms: any step may fail or lose its answer, and any caller may go away. The books balance."""

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from mercato.adapters.sql.database import Database, StorageUnavailable
from mercato.contracts.payment_books import ChargeOutcome
from mercato.kernel.ids import uuid7
from mercato.runtime.app import application
from mercato.runtime.embedded import Embedded
from mercato.runtime.reconcile.report import reconcile
from mercato.runtime.settings import Settings
from mercato.web.asgi import AsgiApp
from tests.asgi_client import Answer, Client

SHOPPERS, PURCHASES = 8, 6
STOCK = 30
"""Fewer than are wanted, so that some orders find nothing left."""
_CALM_WITHIN_S = 60


@dataclass
class Weather:
    """Lets steps fail, before anything is done or after it is durable."""

    random: random.Random
    chance: float = 0.0
    ahead: timedelta = timedelta()

    def clock(self) -> datetime:
        return datetime.now(UTC) + self.ahead

    def over(self, database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
        transact = database.transact

        async def stormy(step: Any) -> Any:
            if self.random.random() < self.chance:
                raise StorageUnavailable("nothing was done")
            result = await transact(step)
            if self.random.random() < self.chance:
                raise StorageUnavailable("it was done, and the answer is lost")
            return result

        monkeypatch.setattr(database, "transact", stormy)


@dataclass
class Town:
    """The platform, restarted now and then, and the shoppers who do not give up."""

    settings: Settings
    weather: Weather
    monkeypatch: pytest.MonkeyPatch
    told: dict[str, str] = field(default_factory=dict)
    """Idempotency key → order id, for every 201."""
    unexpected: list[Answer] = field(default_factory=list)

    async def open(self) -> None:
        """Start the platform on the data folder."""
        self.platform = Embedded(self.settings, clock=self.weather.clock)
        process = self.platform.process
        await process.start()
        shell, *_ = application(
            process, self.settings, lambda _: None, CollectorRegistry(), self.weather.clock
        )
        self.client = Client(AsgiApp(shell))
        for parts in process.composition.services.values():
            self.weather.over(parts.steps.db, self.monkeypatch)
        self.weather.over(self.platform.payments.sandbox._db, self.monkeypatch)

    async def call(self, method: str, path: str, body: object, *, token: str = "", key: str = "") -> Answer:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        return await self.client(
            method, f"/api/v1{path}", body, headers=headers | ({"Idempotency-Key": key} if key else {})
        )

    async def insist(self, path: str, body: object, *, token: str) -> Answer:
        """Repeat one keyed call until it has a final answer, sometimes hanging up on the way."""
        key = uuid7()
        while True:
            call = asyncio.create_task(self.call("POST", path, body, token=token, key=key))
            if self.weather.random.random() < 4 * self.weather.chance:
                for _ in range(self.weather.random.randrange(12)):
                    await asyncio.sleep(0)
                call.cancel()
            (answer,) = await asyncio.gather(call, return_exceptions=True)
            if isinstance(answer, asyncio.CancelledError):
                continue
            if isinstance(answer, BaseException):
                raise answer
            if answer.status == 503 or (answer.status == 409 and answer.code == "IDEMPOTENCY_KEY_IN_USE"):
                # Leases run out too, of the dead and of the living.
                self.weather.ahead += timedelta(seconds=2)
                await asyncio.sleep(0.002)
                continue
            if answer.status == 201 and path == "/orders":
                self.told[key] = answer.json["data"]["id"]
            if answer.status >= 500:
                self.unexpected.append(answer)
            return answer

    async def shop(self, product: str, admin: str, customer: str) -> None:
        """Order, and then pay, hesitate, change one's mind or get one's money back."""
        chance = self.weather.random
        for _ in range(PURCHASES):
            items = [{"product_id": product, "quantity": chance.randint(1, 2)}]
            placed = await self.insist("/orders", {"items": items, "shipping_address": "x"}, token=customer)
            if placed.status != 201:
                assert placed.code == "OUT_OF_STOCK", placed.body
                continue
            order_id = placed.json["data"]["id"]
            acts: list[Callable[[], Awaitable[object]]] = [
                partial(self.pay, order_id, admin, customer),
                partial(self.insist, f"/orders/{order_id}/cancel", {}, token=customer),
                partial(self.insist, f"/orders/{order_id}/cancel", {}, token=admin),
            ]
            chosen = chance.choices(acts, weights=[6, 1, 1], k=chance.randint(1, 2))
            await asyncio.gather(*(act() for act in chosen))

    async def pay(self, order_id: str, admin: str, customer: str) -> object:
        """Open a payment, process it twice at once, and sometimes give some of it back."""
        token = self.weather.random.choice([None, None, None, "tok_declined", "tok_lost", "tok_timeout"])
        wanted = {"order_id": order_id, "method": "card"} | ({"token": token} if token else {})
        opened = await self.insist("/payments", wanted, token=customer)
        if opened.status != 201:
            return opened
        payment_id = opened.json["data"]["id"]
        await asyncio.gather(
            *(self.insist(f"/payments/{payment_id}/process", None, token=customer) for _ in range(2))
        )
        if self.weather.random.random() < 0.4:
            await asyncio.gather(
                *(self.insist(f"/payments/{payment_id}/refund", {"amount": 4}, token=admin) for _ in range(3))
            )
        return opened

    async def calm(self) -> None:
        """Wait until nothing is in flight and the books balance, while hours go by."""
        self.weather.chance = 0.0
        async with asyncio.timeout(_CALM_WITHIN_S):
            while True:
                self.weather.ahead += timedelta(minutes=20)
                report = await reconcile(self.platform)
                if report.balanced and not report.open:
                    return
                await asyncio.sleep(0.1)


@pytest.mark.parametrize("seed", range(2))
async def test_whatever_fails_nothing_is_lost_doubled_or_left_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    settings = Settings(data=str(tmp_path), provider_timeout=0.2, token_ttl=86_400, access_log=False)
    town = Town(settings, Weather(random.Random(seed)), monkeypatch)
    await town.open()
    person = {"email": "a@example.com", "password": "password123", "first_name": "A", "last_name": "B"}
    shop = await town.call("POST", "/tenants", {"id": "shop", "name": "Shop", "admin": person})
    admin = shop.json["data"]["token"]
    made = await town.call(
        "POST", "/products", {"sku": "CUP", "name": "Cup", "price": 9, "stock": STOCK}, token=admin
    )
    product = made.json["data"]["id"]
    registered = await town.client(
        "POST", "/api/v1/users/register", person | {"email": "b@example.com"}, headers={"X-Tenant-Id": "shop"}
    )
    customer = registered.json["data"]["token"]
    for _ in range(2):
        town.weather.chance = 0.03
        await asyncio.gather(*(town.shop(product, admin, customer) for _ in range(SHOPPERS)))
        await town.platform.process.stop()
        town.weather.chance = 0.0
        await town.open()
    await town.calm()

    assert town.unexpected == []
    orders = {order.order_id for order in await town.platform.orders.store.books()}
    assert set(town.told.values()) <= orders
    assert len(set(town.told.values())) == len(town.told)
    charged = {
        charge.key
        for charge in await town.platform.payments.sandbox.book()
        if charge.outcome is ChargeOutcome.CHARGED
    }
    payments = await town.platform.payments.books()
    charges = Counter(payment.order_id for payment in payments if payment.payment_id in charged)
    assert set(charges.values()) == {1}
    for store in town.platform.process.inbox_stores.values():
        assert await store.dead_letters(10) == []
    await town.platform.process.stop()
