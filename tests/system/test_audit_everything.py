"""Every write of a store's staff is told: whoever adds an endpoint has to try it here."""

import asyncio
from typing import Any

import pytest

from mercato.kernel.clock import utc_now
from mercato.kernel.principal import Role
from mercato.runtime.app import contract_of
from mercato.runtime.embedded import Embedded
from mercato.runtime.settings import Settings
from mercato.web.endpoint import Endpoint
from tests.running import Platform, Shopper, open_store

LOOKS = 200
PERSON = {"first_name": "N", "last_name": "E", "password": "their-password"}
TRIED_ELSEWHERE = {"POST /api/v1/products/import", "POST /api/v1/users/me/password"}
TELLS_NOTHING = {"POST /api/v1/users/me/email/verification"}
"""A mail is sent, and nothing changes."""
ADDRESS = {"shipping_address": "1 Harbour Street"}


@pytest.fixture
def writes(own_platform: Platform) -> dict[str, Endpoint]:
    """What an admin may write by, by route."""
    process = Embedded(Settings(data=str(own_platform.data))).process
    return {
        each.route: each
        for each in contract_of(process, utc_now)
        if each.method != "GET" and each.allow is not None and Role.ADMIN in each.allow
    }


class Staff:
    """An admin who does things, each in a request with a name of its own."""

    def __init__(self, shop: Shopper) -> None:
        self.shop = shop
        self.done: dict[str, str] = {}
        """Which route each request was sent to."""

    async def does(self, route: str, body: object = None, **ids: str) -> Any:
        """Send a request that succeeds, and return its data."""
        name = f"request-{len(self.done)}"
        self.done[name] = route
        method, path = route.split()
        answer = await self.shop.call(method, path.format(**ids), body, headers={"X-Request-Id": name})
        assert answer.status < 300, (route, answer.status, answer.body)
        return answer.json.get("data", answer.json) if answer.body else None


async def in_the_catalogue(staff: Staff) -> tuple[str, str]:
    """Return two products with stock."""
    v1, flat = "/api/v1/products", "/products"
    product = {"sku": "A", "name": "A", "price": 9, "stock": 50}
    lamp = (await staff.does(f"POST {v1}", product))["id"]
    one = f"{v1}/{{product_id}}"
    await staff.does(f"PUT {one}", {"sku": "A", "name": "B", "price": 9}, product_id=lamp)
    await staff.does(f"PATCH {one}", {"name": "C"}, product_id=lamp)
    await staff.does(f"PUT {one}/inventory", {"stock_quantity": 60}, product_id=lamp)
    await staff.does(f"POST {one}/inventory/adjust", {"delta": 1, "reason": "found"}, product_id=lamp)
    made = await staff.does(f"POST {flat}", {"sku": "F", "name": "F", "price": 9, "category": "f"})
    chair = made["productId"]
    await staff.does(f"PUT {flat}/{{product_id}}", {"name": "G"}, product_id=chair)
    return lamp, chair


async def with_orders(staff: Staff, lamp: str) -> None:
    """Order, pay, move on, cancel and delete."""
    v1, flat, one = "/api/v1/orders", "/orders", "/api/v1/orders/{order_id}"
    place = {"items": [{"product_id": lamp, "quantity": 1}], **ADDRESS}
    first, second, third = [(await staff.does(f"POST {v1}", place))["id"] for _ in range(3)]
    await staff.does(f"PUT {one}", {"notes": "careful"}, order_id=first)
    pay = {"order_id": first, "method": "cash"}
    await staff.shop.until(f"{v1}/{first}", "status", "pending")
    payment = (await staff.does("POST /api/v1/payments", pay))["id"]
    await staff.does("POST /api/v1/payments/{payment_id}/cancel", payment_id=payment)
    payment = (await staff.does("POST /api/v1/payments", pay))["id"]
    await staff.does("POST /api/v1/payments/{payment_id}/process", payment_id=payment)
    await staff.shop.until(f"{v1}/{first}", "status", "confirmed")
    await staff.does("POST /api/v1/payments/{payment_id}/refund", {"amount": 1}, payment_id=payment)
    await staff.does(f"PATCH {one}/status", {"status": "processing"}, order_id=first)
    await staff.does(f"PUT {one}/status", {"status": "shipped"}, order_id=first)
    await staff.does(f"POST {one}/cancel", {"reason": "no more"}, order_id=second)
    await staff.does(f"DELETE {one}", order_id=second)
    ordered = {"orderName": "n", "orderProducts": [{"productId": lamp, "price": 9, "quantity": 1}]}
    named = (await staff.does(f"POST {flat}", ordered))["orderId"]
    await staff.does(f"PUT {flat}/{{order_id}}", {"orderName": "m"}, order_id=named)
    await staff.does(f"PUT {flat}/{{order_id}}/status", {"status": "cancelled"}, order_id=named)
    await staff.does(f"DELETE {flat}/{{order_id}}", order_id=named)
    await staff.shop.until(f"{v1}/{third}", "status", "pending")


async def with_people(staff: Staff) -> None:
    """Make, change and delete accounts and machines, and write to people."""
    v1, flat = "/api/v1/users", "/users"
    made = (await staff.does(f"POST {v1}", {"email": "a@e.example", **PERSON}))["id"]
    await staff.does(f"PUT {v1}/{{user_id}}", {"last_name": "F"}, user_id=made)
    await staff.does(f"DELETE {v1}/{{user_id}}", user_id=made)
    invited = (await staff.does(f"POST {flat}", {"userName": "b", "userEmail": "b@e.example"}))["username"]
    await staff.does(f"PUT {flat}/{{username}}", {"userRole": "TenantAdmin"}, username=invited)
    await staff.does(f"DELETE {flat}/{{username}}", username=invited)
    till = (await staff.does("POST /api/v1/api-clients", {"name": "till", "scopes": ["orders:read"]}))["id"]
    await staff.does("DELETE /api/v1/api-clients/{api_client_id}", api_client_id=till)
    sent: list[Any] = []
    for _ in range(LOOKS):
        sent = sent or (await staff.shop.get("/api/v1/notifications?status=sent&limit=1")).data
    await staff.does("POST /api/v1/notifications/{notification_id}/resend", notification_id=sent[0]["id"])


async def test_every_write_of_an_admin_is_told_once(
    own_platform: Platform, writes: dict[str, Endpoint]
) -> None:
    own_platform.start()
    store = await open_store(own_platform, "audit-all")
    async with own_platform.client(store.admin) as shop:
        staff = Staff(shop)
        lamp, chair = await in_the_catalogue(staff)
        await with_orders(staff, lamp)
        await with_people(staff)
        await staff.does("DELETE /api/v1/products/{product_id}", product_id=lamp)
        await staff.does("DELETE /products/{product_id}", product_id=chair)
        assert set(writes) - set(staff.done.values()) == TRIED_ELSEWHERE | TELLS_NOTHING
        wanted = sorted((name, writes[route].operation_id) for name, route in staff.done.items())

        told: list[tuple[str, str]] = []
        for _ in range(LOOKS):
            entries = (await shop.get("/api/v1/audit-log?limit=100")).data
            told = sorted((each["request_id"], each["action"]) for each in entries)
            if len(told) >= len(wanted):
                break
            await asyncio.sleep(0.02)

    assert told == wanted
