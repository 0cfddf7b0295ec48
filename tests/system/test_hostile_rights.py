"""Every declared endpoint against every sort of caller, and every sort of object."""

import asyncio
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from mercato.kernel.clock import utc_now
from mercato.kernel.ids import uuid7
from mercato.kernel.principal import ANY_STORE, SCOPES, Role
from mercato.runtime.app import contract_of
from mercato.runtime.embedded import Embedded
from mercato.runtime.settings import Settings
from mercato.web.endpoint import Endpoint
from tests.running import Platform, Shopper, Store, add_product, items_of, open_store, order_of

BODIES: dict[str, Any] = {
    "POST /api/v1/tenants": {},
    "PATCH /api/v1/tenants/{tenant_id}": {"name": "Renamed"},
    "POST /api/v1/api-clients": {},
    "POST /api/v1/auth/token": {},
    "POST /api/v1/users/register": {},
    "POST /api/v1/users/login": {},
    "POST /api/v1/users/token/refresh": {},
    "POST /api/v1/users/logout": {},
    "POST /api/v1/users/me/password": {},
    "POST /api/v1/users/password/forgot": {},
    "POST /api/v1/users/password/reset": {},
    "POST /api/v1/users/email/verify": {},
    "POST /api/v1/users/invitation/accept": {},
    "POST /api/v1/users": {},
    "PUT /api/v1/users/{user_id}": {"first_name": "Ann"},
    "POST /api/v1/products": {"sku": "", "name": "", "price": 0},
    "PUT /api/v1/products/{product_id}": {"sku": "LAMP", "name": "Lamp", "price": 19.99},
    "PATCH /api/v1/products/{product_id}": {"name": "Lamp"},
    "POST /api/v1/products/{product_id}/inventory/adjust": {"delta": 1, "reason": "found"},
    "POST /api/v1/products/import": {},
    "PUT /api/v1/products/{product_id}/inventory": {"stock_quantity": 7},
    "POST /api/v1/orders": {"items": [], "shipping_address": "x"},
    "PUT /api/v1/orders/{order_id}": {"notes": "x"},
    "POST /api/v1/orders/{order_id}/cancel": {},
    "PUT /api/v1/orders/{order_id}/status": {"status": "delivered"},
    "PATCH /api/v1/orders/{order_id}/status": {"status": "delivered"},
    "POST /api/v1/payments": {"order_id": "x", "method": "cash"},
    "POST /api/v1/payments/{payment_id}/refund": {"amount": 1},
    "POST /products": {"name": "", "price": 0, "sku": ""},
    "PUT /products/{product_id}": {"name": "Lamp", "price": 19.99, "sku": "LAMP"},
    "POST /orders": {"orderProducts": []},
    "PUT /orders/{order_id}": {"orderName": "Desk"},
    "PUT /orders/{order_id}/status": {"status": "cancelled"},
    "POST /users": {},
    "PUT /users/{username}": {"userEmail": "moved@rights.example"},
}
"""A body for every endpoint that takes one: acceptable where the path names an object."""

EMPTY = {"GET /api/v1/users/{user_id}/orders", "GET /users/{user_id}/orders"}
"""Orders does not know who there is: to staff, whoever has no orders there has an empty list."""

MALFORMED = ("0", "%00", "a%0d%0ab", "..", "%27%20OR%201=1--", "x" * 3000, "{id}", "01A1FD3C")
CONDITIONS: list[dict[str, str]] = [
    {},
    {"If-Match": '"1"'},
    {"If-Match": '"999"'},
    {"If-None-Match": "*"},
    {"Idempotency-Key": "rights"},
]
"""What must not tell an object that is somebody else's from one that is not there."""

ALL = SCOPES - {ANY_STORE}
READS = frozenset(each for each in ALL if each.endswith(":read"))
WRITES = ALL - READS
OTHER = frozenset({"notifications:read", "notifications:write"})
"""Scopes of one service alone."""

UNMADE = {"event_id"}
"""What no call makes."""

SHARED = {"product_id"}
"""What all of a store may see; other objects are a customer's own."""


@dataclass(frozen=True)
class Caller:
    """Somebody with a token, who may say which store they mean."""

    name: str
    role: Role
    token: str
    store: str | None = None
    """What X-Tenant-Id says; None sends none."""
    scopes: frozenset[str] = frozenset()

    @property
    def headers(self) -> dict[str, str]:
        return {} if self.store is None else {"X-Tenant-Id": self.store}

    def may(self, endpoint: Endpoint) -> bool:
        """Say whether role and scopes let the caller call it at all."""
        if endpoint.allow is None:
            return True
        is_scoped = self.role is Role.SERVICE and endpoint.scope is not None
        return self.role in endpoint.allow and (not is_scoped or endpoint.scope in self.scopes)


@dataclass(frozen=True)
class World:
    """A store with a customer's things in it, and everybody who might want to get at them."""

    store: Store
    neighbour: str
    stranger: Store
    operator: str
    machines: dict[str, str]
    """Tokens, by what the machine is."""
    ids: dict[str, str]

    def insiders(self, names: set[str]) -> list[Caller]:
        """Return those who may see an object of the store."""
        seeing = [
            Caller("admin", Role.ADMIN, self.store.admin),
            Caller("operator", Role.OPERATOR, self.operator, self.store.id),
            Caller("machine", Role.SERVICE, self.machines["all"], None, ALL),
            Caller("machine of all stores", Role.SERVICE, self.machines["any"], self.store.id, ALL),
            Caller("customer", Role.CUSTOMER, self.store.customer),
        ]
        if names <= SHARED | {"tenant_id"}:
            seeing.append(Caller("neighbour", Role.CUSTOMER, self.neighbour))
        return seeing

    def outsiders(self, names: set[str]) -> list[Caller]:
        """Return those for whom the object is not there, whatever store they name."""
        here, there = self.store.id, self.stranger.id
        unseeing = [
            Caller("another store's admin", Role.ADMIN, self.stranger.admin, here),
            Caller("another store's customer", Role.CUSTOMER, self.stranger.customer, here),
            Caller("another store's machine", Role.SERVICE, self.machines["stranger's"], here, ALL),
            Caller("machine of all stores, elsewhere", Role.SERVICE, self.machines["any"], there, ALL),
            Caller("machine of all stores, at home", Role.SERVICE, self.machines["any"], None, ALL),
        ]
        if names - {"tenant_id"}:
            unseeing.append(Caller("operator in another store", Role.OPERATOR, self.operator, there))
            unseeing.append(Caller("operator at home", Role.OPERATOR, self.operator))
        if not names <= SHARED | {"tenant_id"}:
            unseeing.append(Caller("another customer", Role.CUSTOMER, self.neighbour))
        return unseeing

    @property
    def restricted(self) -> list[Caller]:
        """Return the store's machines that may not do everything."""
        return [
            Caller("machine that reads", Role.SERVICE, self.machines["reads"], None, READS),
            Caller("machine that writes", Role.SERVICE, self.machines["writes"], None, WRITES),
            Caller("machine for something else", Role.SERVICE, self.machines["other"], None, OTHER),
            Caller("machine of all stores with no other scope", Role.SERVICE, self.machines["bare"], None),
        ]


@pytest.fixture(scope="module")
def endpoints(tmp_path_factory: pytest.TempPathFactory) -> list[Endpoint]:
    """What is declared."""
    folder: Path = tmp_path_factory.mktemp("declared")
    declared = contract_of(Embedded(Settings(data=str(folder))).process, utc_now)
    # A payment provider signs what it calls with instead of signing in, for all stores at once.
    return [each for each in declared if each.path_parameters != ["provider"]]


async def make_world(platform: Platform, name: str) -> World:
    store, stranger = await open_store(platform, name), await open_store(platform, f"{name}-other")
    operator = {"email": f"op@{name}.example", "password": "operator-password"}
    made = platform.command("tenants", "create-operator", *flags(operator))
    assert made.returncode == 0, made.stderr
    async with platform.client() as anybody:
        signed_in = (await anybody.post("/api/v1/users/login", operator)).data["token"]
        account = {**operator, "email": f"next@{name}.example", "first_name": "Nel", "last_name": "Next"}
        path, headers = "/api/v1/users/register", {"X-Tenant-Id": name}
        neighbour = (await anybody.post(path, account, headers=headers)).data["token"]
        machines = {
            "all": await machine(anybody, store.admin, ALL),
            "stranger's": await machine(anybody, stranger.admin, ALL),
            "reads": await machine(anybody, store.admin, READS),
            "writes": await machine(anybody, store.admin, WRITES),
            "other": await machine(anybody, store.admin, OTHER),
            "any": await machine(anybody, signed_in, ALL | {ANY_STORE}),
            "bare": await machine(anybody, signed_in, frozenset({ANY_STORE})),
        }
    async with platform.client(store.customer) as shop:
        product = await add_product(shop, store, "LAMP", stock=9)
        order = (await shop.post("/api/v1/orders", order_of(product))).data
        payment = (await shop.post("/api/v1/payments", {"order_id": order["id"], "method": "card"})).data
        till = {"name": "Till", "scopes": ["orders:read"]}
        machine_id = (await shop.post("/api/v1/api-clients", till, token=store.admin)).data["id"]
    ids = {
        "product_id": product,
        "order_id": order["id"],
        "payment_id": payment["id"],
        "user_id": order["user_id"],
        "username": order["user_id"],
        "tenant_id": name,
        "api_client_id": machine_id,
        "event_id": uuid7(),
        **await mailed(platform, store),
    }
    return World(store, neighbour, stranger, signed_in, machines, ids)


async def mailed(platform: Platform, store: Store) -> dict[str, str]:
    """Wait until the customer is told of the order; return the notification, and the email in the mailbox."""
    async with platform.client(store.admin) as shop:
        deadline = time.monotonic() + 15
        while True:
            told = (await shop.get("/api/v1/notifications?template=order_created&status=sent")).data
            if told:
                break
            assert time.monotonic() < deadline, "nobody was told of the order"
            await asyncio.sleep(0.02)
        mails = (await shop.get("/api/v1/mailbox")).data
        (mail,) = [each["id"] for each in mails if each["notification_id"] == told[0]["id"]]
        return {"notification_id": told[0]["id"], "mail_id": mail}


async def machine(shop: Shopper, owner: str, scopes: frozenset[str]) -> str:
    """Make a machine's login and sign it in; return its token."""
    wanted = {"name": "Robot", "scopes": sorted(scopes)}
    login = (await shop.post("/api/v1/api-clients", wanted, token=owner)).data
    pair = {name: login[name] for name in ("client_id", "client_secret")}
    return str((await shop.post("/api/v1/auth/token", pair)).data["token"])


def flags(options: dict[str, str]) -> list[str]:
    return [word for name, value in options.items() for word in (f"--{name}", value)]


def how_final(endpoint: Endpoint) -> tuple[bool, bool]:
    """Order endpoints so that what deletes comes last, and what closes the store after all."""
    return endpoint.method == "DELETE", endpoint.path.startswith("/api/v1/tenants")


async def status(shop: Shopper, endpoint: Endpoint, path: str, **options: Any) -> int:
    return (await shop.call(endpoint.method, path, BODIES.get(endpoint.route), **options)).status


async def shows_nothing(shop: Shopper, endpoint: Endpoint, path: str, **options: Any) -> bool:
    answer = await shop.call(endpoint.method, path, BODIES.get(endpoint.route), **options)
    return answer.status == 404 or (endpoint.route in EMPTY and items_of(answer) == [])


def test_the_flat_endpoints_are_among_those_tried(endpoints: list[Endpoint]) -> None:
    flat = {each.route for each in endpoints if each.in_contract and not each.is_described}
    assert flat == {
        "GET /products",
        "POST /products",
        "GET /products/{product_id}",
        "PUT /products/{product_id}",
        "DELETE /products/{product_id}",
        "GET /products/{product_id}/inventory",
        "GET /orders",
        "POST /orders",
        "GET /orders/{order_id}",
        "PUT /orders/{order_id}",
        "PUT /orders/{order_id}/status",
        "DELETE /orders/{order_id}",
        "GET /users",
        "POST /users",
        "GET /users/{username}",
        "PUT /users/{username}",
        "DELETE /users/{username}",
        "GET /users/{user_id}/orders",
    }


def test_every_endpoint_that_takes_a_body_is_tried_with_one(endpoints: list[Endpoint]) -> None:
    assert {each.route for each in endpoints if each.takes_body} == set(BODIES)


async def test_no_token_is_401_and_a_bad_one_is_401_everywhere(
    platform: Platform, endpoints: list[Endpoint]
) -> None:
    async with platform.client() as shop:
        for endpoint in endpoints:
            path = endpoint.path.replace("{", "").replace("}", "")
            assert await status(shop, endpoint, path, token="a.b.c") == 401, endpoint.route
            if endpoint.allow is not None:
                assert await status(shop, endpoint, path) == 401, endpoint.route


async def test_a_lower_role_is_403_whatever_it_names(platform: Platform, endpoints: list[Endpoint]) -> None:
    world = await make_world(platform, "rights-roles")
    callers = [*world.insiders(set()), *world.outsiders(set(world.ids)), *world.restricted]
    async with platform.client() as shop:
        for endpoint in endpoints:
            for ids in (world.ids, dict.fromkeys(world.ids, uuid7()), dict.fromkeys(world.ids, "malformed")):
                path = endpoint.path.format(**ids)
                for who in callers:
                    if not who.may(endpoint):
                        found = await status(shop, endpoint, path, token=who.token, headers=who.headers)
                        assert found == 403, (endpoint.route, who.name, path)


async def test_what_is_not_ones_own_is_not_there(platform: Platform, endpoints: list[Endpoint]) -> None:
    world = await make_world(platform, "rights-scope")
    async with platform.client() as shop:
        for endpoint in (each for each in endpoints if each.path_parameters):
            for who in world.outsiders(set(endpoint.path_parameters)):
                path = endpoint.path.format(**world.ids)
                for condition in CONDITIONS if who.may(endpoint) else ():
                    headers = who.headers | condition
                    hidden = await shows_nothing(shop, endpoint, path, token=who.token, headers=headers)
                    assert hidden, (endpoint.route, who.name, condition)
        # Nothing of all that had an effect.
        for path in (
            f"/api/v1/orders/{world.ids['order_id']}",
            f"/api/v1/payments/{world.ids['payment_id']}",
        ):
            assert (await shop.get(path, token=world.store.customer)).data["status"] == "pending"
        # A key that found nothing is free.
        order = await shop.post("/api/v1/orders", order_of("LAMP"), token=world.store.customer, key="rights")
        assert order.status == 201


async def test_what_is_missing_or_no_id_is_not_there(platform: Platform, endpoints: list[Endpoint]) -> None:
    world = await make_world(platform, "rights-missing")
    async with platform.client() as shop:
        for endpoint in (each for each in endpoints if each.path_parameters):
            for text in (uuid7(), *MALFORMED):
                path = endpoint.path.format(**dict.fromkeys(world.ids, text))
                if endpoint.route in EMPTY and text == "..":
                    continue  # clients make the path of another endpoint of it
                for who in world.insiders(set()):
                    if who.may(endpoint):
                        hidden = await shows_nothing(
                            shop, endpoint, path, token=who.token, headers=who.headers
                        )
                        assert hidden, (endpoint.route, who.name, text)


@pytest.mark.parametrize("dialect", ["enveloped", "flat"])
async def test_who_may_is_let_through(platform: Platform, endpoints: list[Endpoint], dialect: str) -> None:
    world = await make_world(platform, f"rights-may-{dialect}")
    spoken = [each for each in endpoints if each.is_described is (dialect == "enveloped")]
    async with platform.client() as shop:
        for endpoint in sorted((each for each in spoken if each.path_parameters), key=how_final):
            names = set(endpoint.path_parameters)
            for who in world.insiders(names) if not names & UNMADE else ():
                if who.may(endpoint):
                    path = endpoint.path.format(**world.ids)
                    found = await status(shop, endpoint, path, token=who.token, headers=who.headers)
                    assert found in {200, 202, 204, 409}, (endpoint.route, who.name, found)
                    if found == 204:
                        break


async def test_a_scope_opens_what_it_names_and_no_more(platform: Platform, endpoints: list[Endpoint]) -> None:
    world = await make_world(platform, "rights-scopes")
    missing = dict.fromkeys(world.ids, uuid7())
    async with platform.client() as shop:
        for endpoint in (each for each in endpoints if each.allow and Role.SERVICE in each.allow):
            for who in world.restricted:
                path = endpoint.path.format(**missing)
                found = await status(shop, endpoint, path, token=who.token, headers=who.headers)
                assert (found != 403) == who.may(endpoint), (endpoint.route, who.name, found)


async def test_lists_hold_nothing_of_others(platform: Platform, endpoints: list[Endpoint]) -> None:
    world = await make_world(platform, "rights-lists")
    secret = {
        world.ids[name] for name in ("order_id", "payment_id", "user_id", "api_client_id", "notification_id")
    }
    user = world.ids["user_id"]
    async with platform.client() as shop:
        for endpoint in (each for each in endpoints if each.method == "GET" and not each.path_parameters):
            for who in world.outsiders(set(world.ids)):
                tried = [endpoint.path]
                if endpoint.takes_query:
                    tried += [f"{endpoint.path}?{name}={user}" for name in ("user_id", "tenant_id")]
                for path in tried:
                    answer = await shop.get(path, token=who.token, headers=who.headers)
                    expected = {200, 400} if who.may(endpoint) else {403}
                    if endpoint.path == "/api/v1/users/me" and who.role is Role.SERVICE:
                        expected = {404}  # a machine has no account
                    assert answer.status in expected, (path, who.name)
                    assert not any(each.encode() in answer.body for each in secret), (path, who.name)
