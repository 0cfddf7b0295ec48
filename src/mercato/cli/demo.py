"""`mercato demo`: a store with 20 products, and a shopper's purchase, over the public API."""

import json
import time
from decimal import Decimal
from http.client import HTTPConnection, HTTPException, HTTPResponse
from typing import Any
from urllib.parse import urlsplit

from mercato.cli.common import Refused
from mercato.kernel.ids import uuid7

STORE = "demo-shop"
ADMIN = ("admin@demo-shop.example", "demo-admin-password")
SHOPPER = ("shopper@demo-shop.example", "demo-shopper-password")
_DEADLINE_S = 30.0

PRODUCTS = [
    ("LAMP-01", "Brass desk lamp", "79.90", "lighting"),
    ("LAMP-02", "Paper floor lamp", "129.00", "lighting"),
    ("LAMP-03", "Clip-on reading light", "24.50", "lighting"),
    ("MUG-01", "Stoneware mug", "14.00", "kitchen"),
    ("MUG-02", "Enamel camping mug", "11.50", "kitchen"),
    ("PAN-01", "Cast-iron pan, 26 cm", "64.00", "kitchen"),
    ("PAN-02", "Carbon-steel wok", "58.75", "kitchen"),
    ("KNIFE-01", "Chef's knife, 20 cm", "92.00", "kitchen"),
    ("BOARD-01", "Oak cutting board", "39.95", "kitchen"),
    ("CHAIR-01", "Folding garden chair", "45.00", "garden"),
    ("TABLE-01", "Acacia garden table", "219.00", "garden"),
    ("HOSE-01", "Garden hose, 25 m", "34.90", "garden"),
    ("POT-01", "Terracotta pot, 30 cm", "17.25", "garden"),
    ("RUG-01", "Wool rug, 160 x 230 cm", "289.00", "living"),
    ("SOFA-01", "Two-seat linen sofa", "899.00", "living"),
    ("SHELF-01", "Walnut wall shelf", "74.00", "living"),
    ("CLOCK-01", "Silent wall clock", "32.00", "living"),
    ("BLANKET-01", "Merino blanket", "119.00", "living"),
    ("PILLOW-01", "Buckwheat pillow", "42.00", "living"),
    ("CANDLE-01", "Beeswax candles, set of 6", "21.90", "living"),
]


class Api:
    """A client of the public API of one store."""

    def __init__(self, url: str, store: str) -> None:
        self.url = url
        self._host, self._port = _address(url)
        self._store = store

    def call(
        self, method: str, path: str, body: object = None, *, token: str | None = None, key: str | None = None
    ) -> tuple[int, Any]:
        """Call the API and return the status and the decoded body. Raises Refused if it is away."""
        headers = {"Content-Type": "application/json", "X-Tenant-Id": self._store}
        if token is not None:
            headers["Authorization"] = f"Bearer {token}"
        if key is not None:
            headers["Idempotency-Key"] = key
        connection = HTTPConnection(self._host, self._port, timeout=_DEADLINE_S)
        try:
            connection.request(method, path, None if body is None else json.dumps(body), headers)
            response: HTTPResponse = connection.getresponse()
            return response.status, json.loads(response.read() or b"null", parse_float=Decimal)
        except (OSError, HTTPException, ValueError) as error:
            raise Refused(
                f"There is no Mercato at {self.url} ({error}); start one with `mercato up`,"
                " or name it with --url."
            ) from None
        finally:
            connection.close()

    def need(self, *args: Any, **options: Any) -> Any:  # noqa: ANN401  as for `call`
        """Call the API and return the data of its success. Raises Refused with the API's words."""
        status, body = self.call(*args, **options)
        if status >= 300:
            raise Refused(f"{args[0]} {args[1]} was answered {status}: {body['error']['message']}")
        return body["data"]


def _address(url: str) -> tuple[str, int | None]:
    """Return host and port of a platform's URL. Raises Refused for what is none."""
    wrong = Refused(f"{url} is no address of a platform; name it as http://HOST:PORT.")
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        raise wrong from None
    if parts.scheme != "http" or not host:
        raise wrong
    return host, port


def run(url: str) -> None:
    """Open the store, fill it, and buy something, telling each step. Raises Refused."""
    api = Api(url, STORE)
    admin = _open_store(api)
    _fill(api, admin)
    shopper = _shopper(api)
    _purchase(api, shopper)
    print(f"\nStore {STORE} at {url}/api/v1 (send X-Tenant-Id: {STORE} where there is no token)", flush=True)
    print(f"  admin    {ADMIN[0]}   {ADMIN[1]}", flush=True)
    print(f"  shopper  {SHOPPER[0]}   {SHOPPER[1]}", flush=True)


def _open_store(api: Api) -> str:
    """Open the store, or sign in to it if it is there; return its admin's token."""
    email, password = ADMIN
    admin = {"email": email, "password": password, "first_name": "Ada", "last_name": "Owner"}
    status, body = Api(api.url, "default").call(
        "POST", "/api/v1/tenants", {"id": STORE, "name": "Demo Shop", "currency": "USD", "admin": admin}
    )
    if status == 201:
        _step(f"opened the store {STORE}, currency USD")
        return str(body["data"]["token"])
    if status != 409:
        raise Refused(f"The store could not be opened: {body['error']['message']}")
    _step(f"the store {STORE} is there already")
    return str(api.need("POST", "/api/v1/users/login", {"email": email, "password": password})["token"])


def _fill(api: Api, admin: str) -> None:
    made = 0
    for sku, name, price, category in PRODUCTS:
        product = {"sku": sku, "name": name, "price": float(price), "category": category, "stock": 100}
        status, body = api.call("POST", "/api/v1/products", product, token=admin)
        made += status == 201
        if status not in {201, 409}:
            raise Refused(f"{sku} could not be made: {body['error']['message']}")
    _step(f"{len(PRODUCTS)} products in the catalogue, {made} of them new")


def _shopper(api: Api) -> str:
    email, password = SHOPPER
    status, body = api.call(
        "POST",
        "/api/v1/users/register",
        {"email": email, "password": password, "first_name": "Sam", "last_name": "Shopper"},
    )
    if status == 201:
        _step(f"{email} registered")
        return str(body["data"]["token"])
    _step(f"{email} signed in")
    return str(api.need("POST", "/api/v1/users/login", {"email": email, "password": password})["token"])


def _purchase(api: Api, token: str) -> None:
    lamp = api.need("GET", "/api/v1/products?sku=LAMP-01")[0]
    _step(f"found {lamp['name']} for {lamp['price']} {lamp['currency']}")
    order = api.need(
        "POST",
        "/api/v1/orders",
        {
            "items": [{"product_id": lamp["id"], "quantity": 1}, {"product_id": "MUG-01", "quantity": 2}],
            "shipping_address": "1 Harbour Street, 20457 Hamburg",
        },
        token=token,
        key=uuid7(),
    )
    total = f"{order['total_amount']} {order['currency']}"
    _step(f"ordered {len(order['items'])} products for {total}: {order['id']}")
    payment = api.need(
        "POST",
        "/api/v1/payments",
        {"order_id": order["id"], "method": "card", "token": "tok_visa"},
        token=token,
        key=uuid7(),
    )
    paid = api.need("POST", f"/api/v1/payments/{payment['id']}/process", token=token, key=uuid7())
    _step(f"paid {paid['amount']} {paid['currency']} by card: {paid['status']}, {paid['transaction_id']}")
    _step(f"the order is {_confirmed(api, order['id'], token)}")


def _confirmed(api: Api, order_id: str, token: str) -> str:
    """Return the order's status once the payment's event has reached it, or after a while."""
    deadline = time.monotonic() + 5
    while True:
        status = str(api.need("GET", f"/api/v1/orders/{order_id}", token=token)["status"])
        if status != "pending" or time.monotonic() > deadline:
            return status
        time.sleep(0.02)


def _step(text: str) -> None:
    print(f"  ✓ {text}", flush=True)
