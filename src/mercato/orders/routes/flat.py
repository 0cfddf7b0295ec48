"""Orders for clients of the AWS SaaS reference architecture: see docs/reference-clients.md."""

from decimal import Decimal
from typing import Annotated, Any

import msgspec

from mercato.contracts.orders import OrderStatus
from mercato.contracts.products import OutOfStock, PriceChanged, WantedLine
from mercato.kernel.errors import FieldError, NotFound, Unavailable, ValidationFailed
from mercato.kernel.ids import OrderId, UserId, is_id
from mercato.kernel.money import Amount, to_decimal
from mercato.kernel.text import BLANK_OR_LINE_PATTERN
from mercato.kernel.versions import VersionMismatch
from mercato.orders.domain import MAX_LINES, InvalidTransition, Order, ReservationPending
from mercato.orders.ports import OrderFilter, OrderStore
from mercato.orders.routes.orders import Name, Quantity
from mercato.orders.service.orders import OrderRequest, Orders
from mercato.orders.views import FlatOrder, flat_view
from mercato.web import dialect
from mercato.web.call import Call
from mercato.web.endpoint import ADMINS, SIGNED_IN, Routes
from mercato.web.envelope import Page, Reply
from mercato.web.etag import tag
from mercato.web.flat import MAX_ID, FlatBody, FlatListQuery, fixed, local_id
from mercato.web.paging import latest_first

DIALECT = dialect.flat(
    {"items": "orderProducts", "product_id": "productId", "unit_price": "price", "name": "orderName"}
)

_NameOrBlank = Annotated[
    str,
    msgspec.Meta(
        max_length=200, pattern=BLANK_OR_LINE_PATTERN, description="one line of up to 200 characters"
    ),
]
_PLACE: dict[str, Any] = {
    "orderName": "Desk",
    "orderProducts": [{"productId": "LAMP-1", "price": 19.99, "quantity": 2}],
}


class FlatItem(FlatBody, frozen=True):
    """One product to order, by id or SKU. A `price` is only compared with the catalogue's."""

    product_id: Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_ID)]
    quantity: Quantity
    price: Amount | None = None


_Items = Annotated[tuple[FlatItem, ...], msgspec.Meta(min_length=1, max_length=MAX_LINES)]


class PlaceFlatOrder(FlatBody, frozen=True):
    """What to order. It needs no address."""

    order_products: _Items
    order_name: Name | None = None


class ChangeFlatOrder(FlatBody, frozen=True):
    """A pending order with another name. The rest may be sent back as it was."""

    order_name: _NameOrBlank
    order_id: str | None = None
    tenant_id: str | None = None
    order_products: _Items | None = None
    status: OrderStatus | None = None


class ChangeFlatStatus(FlatBody, frozen=True):
    """Where an order goes next."""

    status: OrderStatus


def flat(declared: Routes, orders: Orders, store: OrderStore) -> None:
    """Declare the endpoints."""
    _reading(declared, orders, store)
    _placing(declared, orders)
    _changing(declared, orders)


def _reading(declared: Routes, orders: Orders, store: OrderStore) -> None:
    @declared.get("/orders", allow=SIGNED_IN)
    async def list_orders(call: Call, query: FlatListQuery) -> Page[FlatOrder]:
        """List orders, newest first: a customer's own, or all of the store for its staff."""
        who = call.principal
        return await page(call, query, None if who.is_staff else who.user_id)

    @declared.get("/orders/{order_id}", allow=SIGNED_IN, raises=(NotFound,))
    async def order(call: Call, order_id: str) -> Reply[FlatOrder]:
        """Return one order."""
        return _shown(await orders.get(call.principal, local_id(call, order_id)))

    @declared.get("/users/{user_id}/orders", allow=SIGNED_IN, raises=(NotFound,))
    async def orders_of_user(call: Call, user_id: str, query: FlatListQuery) -> Page[FlatOrder]:
        """List a user's orders, newest first: one's own, or any user's for the store's staff."""
        who, named = call.principal, local_id(call, user_id)
        if not is_id(named) or not (who.is_staff or named == who.user_id):
            raise NotFound("There is no such user.")
        return await page(call, query, UserId(named))

    async def page(call: Call, query: FlatListQuery, user_id: UserId | None) -> Page[FlatOrder]:
        wanted = OrderFilter(user_id)
        return await latest_first(
            query.listed,
            lambda part: store.search(call.tenant, wanted, part),
            lambda: store.count(call.tenant, wanted),
            flat_view,
        )


def _placing(declared: Routes, orders: Orders) -> None:
    @declared.post(
        "/orders",
        status=201,
        allow=SIGNED_IN,
        idempotent=True,
        raises=(OutOfStock, PriceChanged, Unavailable),
        example=_PLACE,
    )
    async def place(call: Call, body: PlaceFlatOrder) -> Reply[FlatOrder]:
        """Place an order. The stock is held for it when this returns."""
        lines = tuple(
            WantedLine(local_id(call, item.product_id), item.quantity, item.price)
            for item in body.order_products
        )
        wanted = OrderRequest(lines=lines, shipping_address=None, name=body.order_name)
        by, order_id = call.cause(flat_view), OrderId(call.new_id())
        return _shown(await orders.place(call.principal, wanted, order_id=order_id, by=by, at=call.now))


def _changing(declared: Routes, orders: Orders) -> None:
    @declared.put(
        "/orders/{order_id}",
        allow=SIGNED_IN,
        versioned=True,
        raises=(NotFound, InvalidTransition, VersionMismatch),
        example={"orderName": "Desk and chair"},
    )
    async def change(call: Call, order_id: str, body: ChangeFlatOrder) -> Reply[FlatOrder]:
        """Give a pending order another name."""
        order = await orders.get(call.principal, local_id(call, order_id))
        _check_unchanged(call, order, body)
        name = body.order_name if body.order_name != (order.name or "") else None
        changed = await orders.edit(
            call.principal, order.id, name=name, expected=call.expected, by=call.part(), at=call.now
        )
        return _shown(changed)

    @declared.put(
        "/orders/{order_id}/status",
        allow=ADMINS,
        versioned=True,
        raises=(NotFound, InvalidTransition, ReservationPending, VersionMismatch),
        example={"status": "cancelled"},
    )
    async def set_status(call: Call, order_id: str, body: ChangeFlatStatus) -> Reply[FlatOrder]:
        """Move an order on."""
        named = local_id(call, order_id)
        moved = await orders.move(
            call.principal, named, body.status, expected=call.expected, by=call.part(), at=call.now
        )
        return _shown(moved)

    @declared.delete(
        "/orders/{order_id}",
        allow=SIGNED_IN,
        versioned=True,
        raises=(NotFound, InvalidTransition, VersionMismatch),
    )
    async def delete(call: Call, order_id: str) -> None:
        """Delete an order that is delivered or cancelled: it is gone from every list."""
        named = local_id(call, order_id)
        await orders.delete(call.principal, named, expected=call.expected, by=call.part(), at=call.now)


def _check_unchanged(call: Call, order: Order, body: ChangeFlatOrder) -> None:
    """Refuse what a PUT sends back otherwise than the order is. Raises ValidationFailed."""
    lines = {
        line.product_id: (line.quantity, to_decimal(line.unit_price, order.currency)) for line in order.lines
    }
    refused = fixed("orderId", body.order_id, order.id, f"{order.tenant_id}:{order.id}")
    refused += fixed("tenantId", body.tenant_id, order.tenant_id)
    if body.order_products is not None:
        refused += fixed("orderProducts", _lines(call, body.order_products, lines), lines)
    if body.status not in {None, order.status}:
        refused.append(FieldError("status", f"is {order.status}: change it by PUT /orders/{order.id}/status"))
    if order.name and not body.order_name:
        refused.append(FieldError("orderName", "must be one line of 1 to 200 characters"))
    if refused:
        raise ValidationFailed.of(*refused)


def _lines(
    call: Call, items: tuple[FlatItem, ...], known: dict[Any, tuple[int, Decimal]]
) -> dict[str, tuple[int, Decimal | None]]:
    """Return quantities and prices by product; a price that is left out is the known one."""
    named = [(local_id(call, item.product_id), item) for item in items]
    if len({name for name, _ in named}) < len(named):
        return {}
    return {
        name: (item.quantity, known[name][1] if item.price is None and name in known else item.price)
        for name, item in named
    }


def _shown(order: Order) -> Reply[FlatOrder]:
    return Reply(flat_view(order), headers=(("etag", tag(order.version)),))
