"""What is in the demo's stores, as their admins see it."""

from typing import Any

from mercato.cli.demo.plan import ADMIN_PASSWORD, draw
from tests.commands import Server, wait_until
from tests.scrapes import figures, scraped

STORES = {plan.id: plan for plan in draw()}


def admin_of(server: Server, store: str) -> str:
    """Sign in as a store's admin; return the token."""
    login = {"email": f"admin@{store}.example", "password": ADMIN_PASSWORD}
    status, answer = server.ask("POST", "/api/v1/users/login", login, store=store)
    assert status == 200, answer
    return str(answer["data"]["token"])


def every(server: Server, what: str, token: str) -> list[Any]:
    """Return all of a list."""
    found: list[Any] = []
    after = ""
    while True:
        status, answer = server.ask("GET", f"/api/v1/{what}?limit=100{after}", token=token)
        assert status == 200, answer
        found += answer["data"]
        if not answer["meta"]["has_more"]:
            return found
        after = f"&after={answer['meta']['next_cursor']}"


def exact(server: Server) -> dict[str, Any]:
    """Return everything, with ids, versions and times: whatever changes is seen."""
    settle(server)
    kinds = ("products", "users", "orders", "payments", "api-clients")
    return {
        f"{store}/{kind}": every(server, kind, token)
        for store in STORES
        for token in [admin_of(server, store)]
        for kind in kinds
    }


def settle(server: Server) -> None:
    """Wait until the services have told each other what was done, which they do by events."""
    wait_until(lambda: not any(each.value for each in figures(scraped(server.port), "mercato_outbox_unsent")))


def picture(server: Server) -> dict[str, Any]:
    """Return what two runs have in common: all but ids, times, and the order of what is simultaneous."""
    settle(server)
    return {store: _store(server, admin_of(server, store)) for store in STORES}


def _store(server: Server, token: str) -> dict[str, Any]:
    # An order is told of its payment by an event.
    orders: list[Any] = []

    def settled() -> bool:
        orders[:] = every(server, "orders", token)
        return all(each["payment_status"] != "pending" or each["status"] == "pending" for each in orders)

    wait_until(settled)
    payments: dict[str, list[Any]] = {}
    for each in reversed(every(server, "payments", token)):
        told = _some(each, "amount", "currency", "method", "status", "refunded_amount", "failure_reason")
        payments.setdefault(each["order_id"], []).append(told)
    products = every(server, "products", token)
    users = every(server, "users", token)
    return {
        "products": {each["sku"]: _product(server, each, token) for each in products},
        "users": {each["email"]: _some(each, "full_name", "role", "is_active") for each in users},
        "orders": {each["name"]: _order(each, payments.get(each["id"], [])) for each in orders},
        "machines": [_some(each, "name", "scopes") for each in every(server, "api-clients", token)],
    }


def _product(server: Server, product: Any, token: str) -> dict[str, Any]:
    _, stock = server.ask("GET", f"/api/v1/products/{product['id']}/inventory", token=token)
    told = _some(product, "name", "description", "category", "price", "currency", "in_stock")
    return told | _some(stock["data"], "on_hand", "reserved")


def _order(order: Any, payments: list[Any]) -> dict[str, Any]:
    told = _some(
        order, "status", "payment_status", "total_amount", "shipping_address", "notes", "cancel_reason"
    )
    items = [_some(each, "sku", "quantity", "unit_price") for each in order["items"]]
    return told | {"items": items, "payments": payments}


def _some(whole: Any, *names: str) -> dict[str, Any]:
    return {name: whole[name] for name in names}
