"""Orders over HTTP."""

from typing import Annotated

import msgspec

from mercato.contracts.orders import OrderStatus
from mercato.contracts.products import OutOfStock, PriceChanged, WantedLine
from mercato.kernel.errors import NotFound, Unavailable, ValidationFailed
from mercato.kernel.ids import OrderId, UserId, is_id
from mercato.kernel.money import Amount
from mercato.kernel.text import LINE_PATTERN, TEXT_PATTERN
from mercato.orders.domain import MAX_LINES, InvalidTransition, ReservationPending, TimelineEntry
from mercato.orders.ports import OrderFilter, OrderStore
from mercato.orders.service import OrderRequest, Orders
from mercato.orders.views import OrderView, timeline, view
from mercato.web.call import Call
from mercato.web.decode import Body
from mercato.web.endpoint import ADMINS, SIGNED_IN, Options, Routes
from mercato.web.envelope import Page
from mercato.web.idempotency import Claims
from mercato.web.paging import ListQuery, newest_first

_Name = Annotated[
    str, msgspec.Meta(max_length=200, pattern=LINE_PATTERN, description="one line of 1 to 200 characters")
]
_Address = Annotated[
    str,
    msgspec.Meta(
        max_length=1000, pattern=TEXT_PATTERN, description="1 to 1000 characters, not all of them blank"
    ),
]
_Notes = Annotated[str, msgspec.Meta(max_length=2000)]
_Reason = Annotated[str, msgspec.Meta(min_length=1, max_length=500)]
_Quantity = Annotated[int, msgspec.Meta(ge=1, le=1_000_000)]


class Item(Body, frozen=True):
    """One product to order, by id or SKU. A `unit_price` is only compared with the catalogue's."""

    product_id: Annotated[str, msgspec.Meta(min_length=1, max_length=64)]
    quantity: _Quantity
    unit_price: Amount | None = None
    product_name: Annotated[str, msgspec.Meta(max_length=200)] | None = None


class PlaceOrder(Body, frozen=True):
    """What to order, and where it goes."""

    items: Annotated[tuple[Item, ...], msgspec.Meta(min_length=1, max_length=MAX_LINES)]
    shipping_address: _Address
    notes: _Notes | None = None
    name: _Name | None = None
    currency: str | None = None
    user_id: str | None = None


class ChangeStatus(Body, frozen=True):
    """Where an order goes next."""

    status: OrderStatus


class CancelOrder(Body, frozen=True):
    """Why an order is cancelled."""

    reason: _Reason | None = None


class OrderQuery(ListQuery, frozen=True):
    """Which orders to list."""

    status: OrderStatus | None = None
    user_id: str | None = None


def routes(orders: Orders, store: OrderStore, claims: Claims) -> Routes:
    """Declare the endpoints."""
    api = Routes("orders", prefix="/api/v1/orders", claims=claims)
    _reading(api, orders, store)
    _changing(api, orders)
    return api


def _reading(api: Routes, orders: Orders, store: OrderStore) -> None:
    @api.get("", allow=SIGNED_IN)
    async def search(call: Call, query: OrderQuery) -> Page[OrderView]:
        """List orders, newest first: a customer's own, or all of the store for its staff."""
        who = call.principal
        user_id = None if query.user_id is None else UserId(query.user_id)
        if not who.is_staff:
            user_id = who.user_id
        return await _page(call, query, OrderFilter(user_id, query.status))

    @api.get("/my-orders", allow=SIGNED_IN)
    async def mine(call: Call, query: ListQuery) -> Page[OrderView]:
        """List the caller's own orders, newest first."""
        return await _page(call, query, OrderFilter(call.principal.user_id))

    async def _page(call: Call, query: ListQuery, wanted: OrderFilter) -> Page[OrderView]:
        return await newest_first(
            query,
            lambda part: store.search(call.tenant, wanted, part),
            lambda: store.count(call.tenant, wanted),
            view,
        )

    @api.get("/{order_id}", allow=SIGNED_IN, raises=(NotFound,))
    async def get(call: Call, order_id: str) -> OrderView:
        """Return one order."""
        return view(await orders.get(call.principal, order_id))

    @api.get("/{order_id}/timeline", allow=SIGNED_IN, raises=(NotFound,))
    async def history(call: Call, order_id: str) -> list[TimelineEntry]:
        """Return what happened to an order, oldest first."""
        return timeline(await orders.get(call.principal, order_id))


def _changing(api: Routes, orders: Orders) -> None:
    @api.post(
        "", status=201, allow=SIGNED_IN, idempotent=True, raises=(OutOfStock, PriceChanged, Unavailable)
    )
    async def place(call: Call, body: PlaceOrder) -> OrderView:
        """Place an order.

        Prices are the catalogue's, and the stock is held for the order when this returns.
        """
        order_id = OrderId(call.new_id())
        by = call.cause(view)
        return view(await orders.place(call.principal, _wanted(body), order_id=order_id, by=by, at=call.now))

    @api.post("/{order_id}/cancel", allow=SIGNED_IN, idempotent=True, raises=(NotFound, InvalidTransition))
    async def cancel(call: Call, order_id: str, body: CancelOrder) -> OrderView:
        """Cancel an order: its stock and its money go back."""
        by = call.cause(view)
        return view(await orders.cancel(call.principal, order_id, body.reason, by=by, at=call.now))

    moving: Options = {
        "allow": ADMINS,
        "raises": (NotFound, InvalidTransition, ReservationPending),
    }

    @api.put("/{order_id}/status", **moving)
    async def set_status(call: Call, order_id: str, body: ChangeStatus) -> OrderView:
        """Move an order on."""
        by = call.cause(view)
        return view(await orders.move(call.principal, order_id, body.status, by=by, at=call.now))

    @api.patch("/{order_id}/status", **moving)
    async def change_status(call: Call, order_id: str, body: ChangeStatus) -> OrderView:
        """Move an order on: the same as PUT."""
        by = call.cause(view)
        return view(await orders.move(call.principal, order_id, body.status, by=by, at=call.now))


def _wanted(body: PlaceOrder) -> OrderRequest:
    """Turn the body into an order request. Raises ValidationFailed for a user_id that is no id."""
    if body.user_id is not None and not is_id(body.user_id):
        raise ValidationFailed.field("user_id", "must be a user's id")
    lines = tuple(WantedLine(item.product_id, item.quantity, item.unit_price) for item in body.items)
    return OrderRequest(
        lines=lines,
        shipping_address=body.shipping_address,
        notes=body.notes,
        name=body.name,
        currency=body.currency,
        user_id=None if body.user_id is None else UserId(body.user_id),
    )
