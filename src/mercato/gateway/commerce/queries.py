"""What Query's fields ask of the services."""

from collections.abc import Awaitable, Mapping
from decimal import Decimal
from functools import partial
from typing import Any, Protocol, TypeVar, cast

from mercato.contracts.order_reading import Order, OrdersWanted
from mercato.contracts.payment_reading import Payment, PaymentsWanted
from mercato.contracts.product_reading import Product, ProductSort, ProductsWanted
from mercato.contracts.user_reading import User, UsersWanted
from mercato.gateway.commerce.asking import Asking
from mercato.gateway.commerce.lists import Part, part, window
from mercato.gateway.graphql.bindings import Args, Binding, Resolve
from mercato.kernel.errors import NotFound, ValidationFailed

V = TypeVar("V")

SORTS: Mapping[str, ProductSort] = {
    "price": "price",
    "price_desc": "-price",
    "name": "name",
    "name_desc": "-name",
    "created_at": "created_at",
    "created_at_desc": "-created_at",
}
"""What the names of ProductSort stand for."""


def found(objects: Mapping[Any, V], object_id: str, kind: str) -> V:
    """Return the object of that id. Raises NotFound, also for what the caller may not see."""
    if object_id in objects:
        return objects[object_id]
    raise NotFound(f"There is no such {kind}.")


async def me(asking: Asking, _: Args) -> User:
    """Return the caller's own account. Raises NotFound for machines, which have none."""
    caller = asking.caller
    return found(await asking.services.users.many(caller, [caller.user_id]), caller.user_id, "user")


async def user(asking: Asking, args: Args) -> User:
    """Return one user."""
    return found(await asking.services.users.many(asking.caller, [args["id"]]), args["id"], "user")


async def users(asking: Asking, args: Args, *, counted: bool) -> Part:
    """Return a part of the store's users."""
    wanted = UsersWanted(search=args.get("search"), active=args.get("active"), role=args.get("role"))
    paged = window(args, counted=counted)
    return part(paged, await asking.services.users.page(asking.caller, wanted, paged))


async def product(asking: Asking, args: Args) -> Product:
    """Return one product."""
    return found(await asking.services.products.many(asking.tenant, [args["id"]]), args["id"], "product")


async def products(asking: Asking, args: Args, *, counted: bool) -> Part:
    """Return a part of the catalogue."""
    wanted = ProductsWanted(
        search=args.get("search"),
        category=args.get("category"),
        sku=args.get("sku"),
        min_price=_price(args, "min_price"),
        max_price=_price(args, "max_price"),
        in_stock=args.get("in_stock"),
        sort=cast("ProductSort", args.get("sort") or "-created_at"),
    )
    paged = window(args, counted=counted)
    return part(paged, await asking.services.products.page(asking.tenant, wanted, paged))


def _price(args: Args, name: str) -> Decimal | None:
    given = args.get(name)
    # The shortest digits that mean the float are those that the client has written.
    return None if given is None else Decimal(repr(given))


async def order(asking: Asking, args: Args) -> Order:
    """Return one order."""
    return found(await asking.services.orders.many(asking.caller, [args["id"]]), args["id"], "order")


async def orders(asking: Asking, args: Args, *, counted: bool) -> Part:
    """Return a part of the orders that the caller may see."""
    return await _orders(asking, args, args.get("user_id"), counted=counted)


async def my_orders(asking: Asking, args: Args, *, counted: bool) -> Part:
    """Return a part of the caller's own orders."""
    return await _orders(asking, args, asking.caller.user_id, counted=counted)


async def _orders(asking: Asking, args: Args, user_id: str | None, *, counted: bool) -> Part:
    since, before = args.get("from"), args.get("to")
    if since is not None and before is not None and since > before:
        raise ValidationFailed.field("from", "must not be later than to")
    wanted = OrdersWanted(user_id=user_id, status=args.get("status"), since=since, before=before)
    paged = window(args, counted=counted)
    return part(paged, await asking.services.orders.page(asking.caller, wanted, paged))


async def payment(asking: Asking, args: Args) -> Payment:
    """Return one payment."""
    return found(await asking.services.payments.many(asking.caller, [args["id"]]), args["id"], "payment")


async def payment_by_order(asking: Asking, args: Args) -> Payment:
    """Return the latest payment of an order."""
    order_id = args["order_id"]
    latest = await asking.services.payments.latest_of_orders(asking.caller, [order_id])
    return found(latest, order_id, "payment")


async def payments(asking: Asking, args: Args, *, counted: bool) -> Part:
    """Return a part of the payments that the caller may see."""
    return await _payments(asking, args, None, counted=counted)


async def my_payments(asking: Asking, args: Args, *, counted: bool) -> Part:
    """Return a part of the caller's own payments."""
    return await _payments(asking, args, asking.caller.user_id, counted=counted)


async def _payments(asking: Asking, args: Args, user_id: str | None, *, counted: bool) -> Part:
    wanted = PaymentsWanted(user_id=user_id, status=args.get("status"), order_id=args.get("order_id"))
    paged = window(args, counted=counted)
    return part(paged, await asking.services.payments.page(asking.caller, wanted, paged))


class _ReadPart(Protocol):
    """Reads a part of a list, with its total if it is to be `counted`."""

    def __call__(self, asking: Asking, args: Args, *, counted: bool) -> Awaitable[Part]: ...


def _list(read: _ReadPart, *, public: bool = False) -> Resolve:
    """Return how a list is had: it is counted only for who wants to know its total."""
    uncounted = Resolve(partial(read, counted=False), many="limit", public=public)
    counted = partial(read, counted=True)
    return Resolve(counted, many="limit", public=public, without=("PageInfo.total", uncounted))


FIELDS: Mapping[str, Binding] = {
    "me": Resolve(me),
    "user": Resolve(user),
    "users": _list(users),
    "product": Resolve(product, public=True),
    "products": _list(products, public=True),
    "order": Resolve(order),
    "orders": _list(orders),
    "myOrders": _list(my_orders),
    "payment": Resolve(payment),
    "paymentByOrder": Resolve(payment_by_order),
    "payments": _list(payments),
    "myPayments": _list(my_payments),
}
"""The fields of Query."""
