"""Every declared endpoint against every sort of caller, and every sort of object."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from mercato.kernel.ids import uuid7
from mercato.kernel.principal import Role
from mercato.runtime.embedded import Embedded
from mercato.runtime.settings import Settings
from mercato.web.endpoint import Endpoint
from tests.running import Platform, Shopper, Store, add_product, open_store, order_of

BODIES: dict[str, Any] = {
    "POST /api/v1/tenants": {},
    "POST /api/v1/users/register": {},
    "POST /api/v1/users/login": {},
    "POST /api/v1/products": {"sku": "", "name": "", "price": 0},
    "PUT /api/v1/products/{product_id}/inventory": {"stock_quantity": 7},
    "POST /api/v1/orders": {"items": [], "shipping_address": "x"},
    "POST /api/v1/orders/{order_id}/cancel": {},
    "PUT /api/v1/orders/{order_id}/status": {"status": "delivered"},
    "PATCH /api/v1/orders/{order_id}/status": {"status": "delivered"},
    "POST /api/v1/payments": {"order_id": "x", "method": "cash"},
    "POST /api/v1/payments/{payment_id}/refund": {"amount": 1},
}
"""A body for every endpoint that takes one: acceptable where the path names an object."""

MALFORMED = ("0", "%00", "a%0d%0ab", "..", "%27%20OR%201=1--", "x" * 3000, "{id}", "01A1FD3C")
SHARED = {"product_id"}
"""What all of a store may see; other objects are a customer's own."""


@dataclass(frozen=True)
class World:
    """A store with a customer's things in it, and everybody who might want to get at them."""

    store: Store
    neighbour: str
    stranger: Store
    operator: str
    ids: dict[str, str]

    def insiders(self, names: set[str]) -> dict[str, tuple[str, dict[str, str]]]:
        """Return the token and headers of those who may see an object of the store, by role."""
        seeing = {
            "admin": (self.store.admin, {}),
            "operator": (self.operator, {"X-Tenant-Id": self.store.id}),
            "customer": (self.store.customer, {}),
        }
        if names <= SHARED | {"tenant_id"}:
            seeing["neighbour"] = (self.neighbour, {})
        return seeing

    def outsiders(self, names: set[str]) -> dict[str, tuple[str, dict[str, str]]]:
        """Return those for whom the object is not there, whatever store they name."""
        named = {"X-Tenant-Id": self.store.id}
        unseeing = {
            "another store's admin": (self.stranger.admin, named),
            "another store's customer": (self.stranger.customer, named),
        }
        if names - {"tenant_id"}:
            unseeing["operator in another store"] = (self.operator, {"X-Tenant-Id": self.stranger.id})
        if not names <= SHARED | {"tenant_id"}:
            unseeing["another customer"] = (self.neighbour, {})
        return unseeing


@pytest.fixture(scope="module")
def endpoints(tmp_path_factory: pytest.TempPathFactory) -> list[Endpoint]:
    """What the services declare."""
    folder: Path = tmp_path_factory.mktemp("declared")
    services = Embedded(Settings(data=str(folder))).process.composition.services
    return [each for parts in services.values() for each in parts.routes.endpoints]


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
    async with platform.client(store.customer) as shop:
        product = await add_product(shop, store, "LAMP", stock=9)
        order = (await shop.post("/api/v1/orders", order_of(product))).data
        payment = (await shop.post("/api/v1/payments", {"order_id": order["id"], "method": "card"})).data
    ids = {
        "product_id": product,
        "order_id": order["id"],
        "payment_id": payment["id"],
        "user_id": order["user_id"],
        "tenant_id": name,
    }
    return World(store, neighbour, stranger, signed_in, ids)


def flags(options: dict[str, str]) -> list[str]:
    return [word for name, value in options.items() for word in (f"--{name}", value)]


def role_of(who: str) -> Role:
    return next((role for role in (Role.OPERATOR, Role.ADMIN) if role in who), Role.CUSTOMER)


async def status(shop: Shopper, endpoint: Endpoint, path: str, **options: Any) -> int:
    return (await shop.call(endpoint.method, path, BODIES.get(endpoint.route), **options)).status


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
    callers = {**world.insiders(set()), **world.outsiders(set(world.ids))}
    async with platform.client() as shop:
        for endpoint in endpoints:
            for ids in (world.ids, dict.fromkeys(world.ids, uuid7()), dict.fromkeys(world.ids, "malformed")):
                path = endpoint.path.format(**ids)
                for who, (token, headers) in callers.items():
                    if endpoint.allow is None or role_of(who) in endpoint.allow:
                        continue
                    found = await status(shop, endpoint, path, token=token, headers=headers)
                    assert found == 403, (endpoint.route, who, path)


async def test_what_is_not_ones_own_is_not_there(platform: Platform, endpoints: list[Endpoint]) -> None:
    world = await make_world(platform, "rights-scope")
    async with platform.client() as shop:
        for endpoint in (each for each in endpoints if each.path_parameters):
            names = set(endpoint.path_parameters)
            for who, (token, headers) in world.outsiders(names).items():
                path = endpoint.path.format(**world.ids)
                if endpoint.allow is None or role_of(who) in endpoint.allow:
                    found = await status(shop, endpoint, path, token=token, headers=headers)
                    assert found == 404, (endpoint.route, who)
        # Nothing of all that had an effect.
        for path in (
            f"/api/v1/orders/{world.ids['order_id']}",
            f"/api/v1/payments/{world.ids['payment_id']}",
        ):
            assert (await shop.get(path, token=world.store.customer)).data["status"] == "pending"


async def test_what_is_missing_or_no_id_is_not_there(platform: Platform, endpoints: list[Endpoint]) -> None:
    world = await make_world(platform, "rights-missing")
    async with platform.client() as shop:
        for endpoint in (each for each in endpoints if each.path_parameters):
            for text in (uuid7(), *MALFORMED):
                path = endpoint.path.format(**dict.fromkeys(world.ids, text))
                for who, (token, headers) in world.insiders(set()).items():
                    if endpoint.allow is None or role_of(who) in endpoint.allow:
                        found = await status(shop, endpoint, path, token=token, headers=headers)
                        assert found == 404, (endpoint.route, who, text)


async def test_who_may_is_let_through(platform: Platform, endpoints: list[Endpoint]) -> None:
    world = await make_world(platform, "rights-may")
    async with platform.client() as shop:
        for endpoint in (each for each in endpoints if each.path_parameters):
            names = set(endpoint.path_parameters)
            for who, (token, headers) in world.insiders(names).items():
                if endpoint.allow is None or role_of(who) in endpoint.allow:
                    path = endpoint.path.format(**world.ids)
                    found = await status(shop, endpoint, path, token=token, headers=headers)
                    assert found in {200, 202, 409}, (endpoint.route, who, found)


async def test_lists_hold_nothing_of_others(platform: Platform, endpoints: list[Endpoint]) -> None:
    world = await make_world(platform, "rights-lists")
    secret = {world.ids[name] for name in ("order_id", "payment_id", "user_id")}
    user = world.ids["user_id"]
    async with platform.client() as shop:
        for endpoint in (each for each in endpoints if each.method == "GET" and not each.path_parameters):
            for who, (token, headers) in world.outsiders(set(world.ids)).items():
                tried = [endpoint.path]
                if endpoint.takes_query:
                    tried += [f"{endpoint.path}?{name}={user}" for name in ("user_id", "tenant_id")]
                for path in tried:
                    answer = await shop.get(path, token=token, headers=headers)
                    assert answer.status in {200, 400}, (path, who)
                    assert not any(each.encode() in answer.body for each in secret), (path, who)
