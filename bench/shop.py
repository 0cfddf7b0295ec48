"""A store to put load on, and what its shoppers do."""

import itertools
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass

from bench.client import Operation, ask, request

STORE = "bench"
PRODUCTS = 20
CUSTOMERS = 8
STOCK = 1_000_000_000
SETTLE_DEADLINE_S = 60.0
_PAUSE_S = 0.002


@dataclass(frozen=True)
class Shop:
    """An open store with products and customers."""

    port: int
    products: tuple[str, ...]
    tokens: tuple[str, ...]

    def page(self) -> str:
        """Return the path of a product."""
        return f"/api/v1/products/{self.products[0]}"

    def read(self) -> bytes:
        """Return a visitor's request for a product."""
        return request("GET", self.page(), {"x-tenant-id": STORE})


def open_shop(port: int, store: str = STORE) -> Shop:
    """Open a store on a platform that has none of that name."""
    admin = _post(port, "/api/v1/tenants", {"id": store, "name": store, "admin": _person("admin")}, {})
    products = []
    for number in range(PRODUCTS):
        product = {
            "sku": f"SKU-{number:03}",
            "name": f"Product {number}",
            "description": "A sturdy thing of daily use, as shown, in many colours and sizes. " * 3,
            "category": "things",
            "price": 19.99,
            "stock": STOCK,
        }
        headers = {"authorization": f"Bearer {admin['token']}"}
        products.append(str(_post(port, "/api/v1/products", product, headers)["id"]))
    named = {"x-tenant-id": store}
    tokens = [
        str(_post(port, "/api/v1/users/register", _person(f"customer{number}"), named)["token"])
        for number in range(CUSTOMERS)
    ]
    return Shop(port, tuple(products), tuple(tokens))


class Shoppers:
    """Customers who order, each on a connection of their own, and may pay what they ordered."""

    def __init__(self, shop: Shop, *, connections: int, pay: bool) -> None:
        self._shop = shop
        self._pay = pay
        self._last_orders: dict[int, str] = {}
        self.operations = [self._shopper(number) for number in range(connections)]

    def seconds_until_confirmed(self) -> float:
        """Wait until every connection's last order is confirmed by its payment; say how long it took."""
        began = time.perf_counter()
        for number, order in self._last_orders.items():
            headers = {"authorization": f"Bearer {self._token(number)}"}
            look = request("GET", f"/api/v1/orders/{order}", headers)
            while ask(self._shop.port, look).data["status"] != "confirmed":
                if time.perf_counter() - began > SETTLE_DEADLINE_S:
                    raise RuntimeError(f"order {order} was paid and is not confirmed")
                time.sleep(_PAUSE_S)
        return time.perf_counter() - began

    def _token(self, number: int) -> str:
        return self._shop.tokens[number % len(self._shop.tokens)]

    def _shopper(self, number: int) -> Callable[[], Operation]:
        products = itertools.cycle(self._shop.products[number % PRODUCTS :] + self._shop.products)
        headers = {"authorization": f"Bearer {self._token(number)}"}

        def buy() -> Operation:
            key = str(uuid.uuid4())
            keyed = {**headers, "idempotency-key": key}
            wanted = {
                "items": [{"product_id": next(products), "quantity": 1}],
                "shipping_address": "1 Harbour Street, 20457 Hamburg",
            }
            order = (yield request("POST", "/api/v1/orders", keyed, wanted)).data
            if not self._pay:
                return
            self._last_orders[number] = order["id"]
            card = {"order_id": order["id"], "method": "card", "token": "tok_visa"}
            payment = (yield request("POST", "/api/v1/payments", keyed, card)).data
            paid = (yield request("POST", f"/api/v1/payments/{payment['id']}/process", keyed)).data
            if paid["status"] != "success":
                raise RuntimeError(f"the payment is {paid['status']}")

        return buy


def _person(name: str) -> dict[str, str]:
    return {
        "email": f"{name}@bench.example",
        "password": "a long password",
        "first_name": name.title(),
        "last_name": "Bench",
    }


def _post(port: int, path: str, body: object, headers: dict[str, str]) -> dict[str, object]:
    data: dict[str, object] = ask(port, request("POST", path, headers, body)).data
    return data
