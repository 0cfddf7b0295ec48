"""What Mutation's fields change: each is the call of the REST contract that changes the same."""

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

import msgspec

from mercato.contracts.order_reading import Order
from mercato.contracts.payment_reading import Payment
from mercato.contracts.product_reading import Inventory, Product
from mercato.contracts.user_reading import User
from mercato.gateway.commerce.asking import Asking, RestCall
from mercato.gateway.commerce.queries import found
from mercato.gateway.graphql.bindings import Args, Binding, Resolve
from mercato.kernel.redaction import discreet

_COST = 10
"""A change costs about as much as that many objects that are read."""


class Session(msgspec.Struct, frozen=True):
    """Fresh tokens, and whose they are."""

    token: str
    refresh_token: str
    expires_in: int
    user: User

    __repr__ = discreet


class _Made(msgspec.Struct, frozen=True):
    id: str


_read_made = msgspec.json.Decoder(_Made).decode
_read_user = msgspec.json.Decoder(User).decode
_read_session = msgspec.json.Decoder(Session).decode
_read_inventory = msgspec.json.Decoder(Inventory).decode


async def _call(
    asking: Asking, method: str, path: str, args: Args, body: Mapping[str, object] | None = None
) -> bytes:
    key, version = args.get("idempotency_key"), args.get("if_version")
    wanted = RestCall(method=method, path=f"/api/v1{path}", body=body, key=key, version=version)
    return await asking.services.rest.call(asking, wanted)


def _at(kind: str, object_id: str, rest: str = "") -> str:
    return f"/{kind}/{quote(object_id, safe='')}{rest}"


async def register(asking: Asking, args: Args) -> Session:
    """Make an account, and sign in."""
    return _read_session(await _call(asking, "POST", "/users/register", args, args["input"]))


async def login(asking: Asking, args: Args) -> Session:
    """Sign in."""
    return _read_session(await _call(asking, "POST", "/users/login", args, args["input"]))


async def refresh_token(asking: Asking, args: Args) -> Session:
    """Replace a refresh token."""
    body = {"refresh_token": args["refresh_token"]}
    return _read_session(await _call(asking, "POST", "/users/token/refresh", args, body))


async def logout(asking: Asking, args: Args) -> bool:
    """End a session."""
    await _call(asking, "POST", "/users/logout", args, {"refresh_token": args["refresh_token"]})
    return True


async def create_user(asking: Asking, args: Args) -> User:
    """Make an account for somebody."""
    return _read_user(await _call(asking, "POST", "/users", args, _said(args["input"])))


async def update_user(asking: Asking, args: Args) -> User:
    """Change a user."""
    return _read_user(await _call(asking, "PUT", _at("users", args["id"]), args, args["input"]))


async def delete_user(asking: Asking, args: Args) -> bool:
    """Delete a user."""
    await _call(asking, "DELETE", _at("users", args["id"]), args)
    return True


async def create_product(asking: Asking, args: Args) -> Product:
    """Add a product."""
    return await _product(asking, await _call(asking, "POST", "/products", args, _said(args["input"])))


async def update_product(asking: Asking, args: Args) -> Product:
    """Change a product."""
    return await _product(
        asking, await _call(asking, "PATCH", _at("products", args["id"]), args, args["input"])
    )


async def delete_product(asking: Asking, args: Args) -> bool:
    """Take a product out of the catalogue."""
    await _call(asking, "DELETE", _at("products", args["id"]), args)
    return True


async def set_inventory(asking: Asking, args: Args) -> Inventory:
    """Set what was counted."""
    path = _at("products", args["product_id"], "/inventory")
    return _read_inventory(await _call(asking, "PUT", path, args, args["input"]))


async def create_order(asking: Asking, args: Args) -> Order:
    """Place an order."""
    return await _order(asking, await _call(asking, "POST", "/orders", args, args["input"]))


async def update_order_status(asking: Asking, args: Args) -> Order:
    """Move an order on."""
    path, body = _at("orders", args["id"], "/status"), {"status": args["status"]}
    return await _order(asking, await _call(asking, "PATCH", path, args, body))


async def cancel_order(asking: Asking, args: Args) -> Order:
    """Cancel an order."""
    path, body = _at("orders", args["id"], "/cancel"), {"reason": args.get("reason")}
    return await _order(asking, await _call(asking, "POST", path, args, body))


async def create_payment(asking: Asking, args: Args) -> Payment:
    """Open a payment."""
    return await _payment(asking, await _call(asking, "POST", "/payments", args, args["input"]))


async def process_payment(asking: Asking, args: Args) -> Payment:
    """Charge a payment."""
    return await _payment(asking, await _call(asking, "POST", _at("payments", args["id"], "/process"), args))


async def refund_payment(asking: Asking, args: Args) -> Payment:
    """Give money back."""
    path = _at("payments", args["id"], "/refund")
    body = {"amount": args.get("amount"), "reason": args.get("reason")}
    return await _payment(asking, await _call(asking, "POST", path, args, body))


# Objects with amounts are read anew: what REST answers has them as decimals, for people.
async def _product(asking: Asking, answered: bytes) -> Product:
    made = _read_made(answered).id
    return found(await asking.services.products.many(asking.tenant, [made]), made, "product")


async def _order(asking: Asking, answered: bytes) -> Order:
    made = _read_made(answered).id
    return found(await asking.services.orders.many(asking.caller, [made]), made, "order")


async def _payment(asking: Asking, answered: bytes) -> Payment:
    made = _read_made(answered).id
    return found(await asking.services.payments.many(asking.caller, [made]), made, "payment")


def _said(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return what is said of a new object: null stands for nothing, as it does in GraphQL."""
    return {name: value for name, value in given.items() if value is not None}


FIELDS: Mapping[str, Binding] = {
    "register": Resolve(register, cost=_COST),
    "login": Resolve(login, cost=_COST),
    "refreshToken": Resolve(refresh_token, cost=_COST),
    "logout": Resolve(logout, cost=_COST),
    "createUser": Resolve(create_user, cost=_COST),
    "updateUser": Resolve(update_user, cost=_COST),
    "deleteUser": Resolve(delete_user, cost=_COST),
    "createProduct": Resolve(create_product, cost=_COST),
    "updateProduct": Resolve(update_product, cost=_COST),
    "deleteProduct": Resolve(delete_product, cost=_COST),
    "setInventory": Resolve(set_inventory, cost=_COST),
    "createOrder": Resolve(create_order, cost=_COST),
    "updateOrderStatus": Resolve(update_order_status, cost=_COST),
    "cancelOrder": Resolve(cancel_order, cost=_COST),
    "createPayment": Resolve(create_payment, cost=_COST),
    "processPayment": Resolve(process_payment, cost=_COST),
    "refundPayment": Resolve(refund_payment, cost=_COST),
}
"""The fields of Mutation."""
