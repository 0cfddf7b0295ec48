"""Orders over HTTP."""

from typing import Annotated, Any

import msgspec

from mercato.contracts.order_reading import TimelineEntry
from mercato.contracts.orders import OrderStatus
from mercato.contracts.products import OutOfStock, PriceChanged, WantedLine
from mercato.kernel.errors import FieldError, NotFound, Unavailable, ValidationFailed
from mercato.kernel.ids import OrderId, UserId, is_id
from mercato.kernel.money import Amount
from mercato.kernel.paging import Window
from mercato.kernel.text import LINE_PATTERN, TEXT_PATTERN
from mercato.kernel.versions import VersionMismatch
from mercato.orders.domain import MAX_LINES, InvalidTransition, Order, ReservationPending
from mercato.orders.ports import OrderFilter, OrderStore
from mercato.orders.service.orders import OrderRequest, Orders
from mercato.orders.views import OrderView, timeline, view
from mercato.web.call import Call
from mercato.web.decode import Body
from mercato.web.endpoint import ADMINS, SIGNED_IN, Options, Routes
from mercato.web.envelope import Page
from mercato.web.paging import latest_first
from mercato.web.spans import SpanQuery, span

Name = Annotated[
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
Quantity = Annotated[int, msgspec.Meta(ge=1, le=1_000_000)]


class Item(Body, frozen=True):
    """One product to order, by id or SKU. A `unit_price` is only compared with the catalogue's."""

    product_id: Annotated[str, msgspec.Meta(min_length=1, max_length=64)]
    quantity: Quantity
    unit_price: Amount | None = None
    product_name: Annotated[str, msgspec.Meta(max_length=200)] | None = None


class PlaceOrder(Body, frozen=True):
    """What to order, and where it goes."""

    items: Annotated[tuple[Item, ...], msgspec.Meta(min_length=1, max_length=MAX_LINES)]
    shipping_address: _Address
    notes: _Notes | None = None
    name: Name | None = None
    currency: str | None = None
    user_id: str | None = None


class EditOrder(Body, frozen=True):
    """What to change of a pending order; what is absent or null stays as it is."""

    shipping_address: _Address | None = None
    notes: _Notes | None = None


class ChangeStatus(Body, frozen=True):
    """Where an order goes next."""

    status: OrderStatus


class CancelOrder(Body, frozen=True):
    """Why an order is cancelled."""

    reason: _Reason | None = None


class OwnOrdersQuery(SpanQuery, frozen=True, kw_only=True):
    """Which of one user's orders to list: created `from` a time, up to but not at `to` another."""

    status: OrderStatus | None = None


class OrderQuery(OwnOrdersQuery, frozen=True, kw_only=True):
    """Which orders to list."""

    user_id: str | None = None


_PLACE: dict[str, Any] = {
    "items": [{"product_id": "LAMP-1", "quantity": 2}],
    "shipping_address": "1 Harbour Street, 20457 Hamburg",
    "notes": "Ring twice.",
}
_EDIT: dict[str, Any] = {"shipping_address": "2 Harbour Street, 20457 Hamburg"}
_MOVE: dict[str, Any] = {"status": "cancelled"}
_CANCEL: dict[str, Any] = {"reason": "Ordered by mistake."}


def declare(api: Routes, orders: Orders, store: OrderStore) -> None:
    """Declare the endpoints."""
    _listing(api, store)
    _reading(api, orders)
    _placing(api, orders)
    _moving(api, orders)
    _editing(api, orders)


def _listing(api: Routes, store: OrderStore) -> None:
    @api.get("/orders", allow=SIGNED_IN)
    async def list_orders(call: Call, query: OrderQuery) -> Page[OrderView]:
        """List orders, newest first: a customer's own, or all of the store for its staff."""
        who = call.principal
        named = None if query.user_id is None else UserId(query.user_id)
        if named is not None and not is_id(named):
            raise ValidationFailed.field("user_id", "must be a user's id")
        if not who.is_staff and named not in {None, who.user_id}:
            # Both hold at once: what is the caller's own, and that other user's.
            return await latest_first(query, _none, _zero, view)
        return await page(call, query, named if who.is_staff else who.user_id)

    @api.get("/orders/my-orders", allow=SIGNED_IN)
    async def mine(call: Call, query: OwnOrdersQuery) -> Page[OrderView]:
        """List the caller's own orders, newest first."""
        return await page(call, query, call.principal.user_id)

    @api.get("/users/{user_id}/orders", allow=SIGNED_IN, raises=(NotFound,))
    async def orders(call: Call, user_id: str, query: OwnOrdersQuery) -> Page[OrderView]:
        """List a user's orders, newest first: one's own, or any user's for the store's staff."""
        who = call.principal
        if not is_id(user_id) or not (who.is_staff or user_id == who.user_id):
            raise NotFound("There is no such user.")
        return await page(call, query, UserId(user_id))

    async def page(call: Call, query: OwnOrdersQuery, user_id: UserId | None) -> Page[OrderView]:
        since, before = span(query)
        wanted = OrderFilter(user_id, query.status, since, before)
        return await latest_first(
            query,
            lambda part: store.search(call.tenant, wanted, part),
            lambda: store.count(call.tenant, wanted),
            view,
        )


async def _none(_: Window) -> list[Order]:
    return []


async def _zero() -> int:
    return 0


def _reading(api: Routes, orders: Orders) -> None:
    @api.get("/orders/{order_id}", allow=SIGNED_IN, raises=(NotFound,))
    async def get(call: Call, order_id: str) -> OrderView:
        """Return one order."""
        return view(await orders.get(call.principal, order_id))

    @api.get("/orders/{order_id}/timeline", allow=SIGNED_IN, raises=(NotFound,))
    async def history(call: Call, order_id: str) -> list[TimelineEntry]:
        """Return what happened to an order, oldest first."""
        return timeline(await orders.get(call.principal, order_id))


def _placing(api: Routes, orders: Orders) -> None:
    @api.post(
        "/orders",
        status=201,
        allow=SIGNED_IN,
        idempotent=True,
        raises=(OutOfStock, PriceChanged, Unavailable),
        example=_PLACE,
    )
    async def place(call: Call, body: PlaceOrder) -> OrderView:
        """Place an order.

        Prices are the catalogue's, and the stock is held for the order when this returns.
        """
        order_id = OrderId(call.new_id())
        by = call.cause(view)
        return view(await orders.place(call.principal, _wanted(body), order_id=order_id, by=by, at=call.now))


def _moving(api: Routes, orders: Orders) -> None:
    @api.post(
        "/orders/{order_id}/cancel",
        allow=SIGNED_IN,
        idempotent=True,
        versioned=True,
        raises=(NotFound, InvalidTransition, VersionMismatch),
        example=_CANCEL,
    )
    async def cancel(call: Call, order_id: str, body: CancelOrder) -> OrderView:
        """Cancel an order: its stock and its money go back."""
        cancelled = await orders.cancel(
            call.principal,
            order_id,
            body.reason,
            expected=call.expected,
            by=call.cause(view),
            at=call.now,
        )
        return view(cancelled)

    moving: Options = {
        "allow": ADMINS,
        "versioned": True,
        "raises": (NotFound, InvalidTransition, ReservationPending, VersionMismatch),
        "example": _MOVE,
    }

    @api.put("/orders/{order_id}/status", **moving)
    async def set_status(call: Call, order_id: str, body: ChangeStatus) -> OrderView:
        """Move an order on."""
        return await move(call, order_id, body.status)

    @api.patch("/orders/{order_id}/status", **moving)
    async def change_status(call: Call, order_id: str, body: ChangeStatus) -> OrderView:
        """Move an order on: the same as PUT."""
        return await move(call, order_id, body.status)

    async def move(call: Call, order_id: str, to: OrderStatus) -> OrderView:
        by = call.cause(view)
        moved = await orders.move(call.principal, order_id, to, expected=call.expected, by=by, at=call.now)
        return view(moved)


def _editing(api: Routes, orders: Orders) -> None:
    @api.put(
        "/orders/{order_id}",
        allow=SIGNED_IN,
        versioned=True,
        raises=(NotFound, InvalidTransition, VersionMismatch),
        example=_EDIT,
    )
    async def edit(call: Call, order_id: str, body: EditOrder) -> OrderView:
        """Change a pending order's address or notes.

        What is absent or null stays as it is; empty notes clear them.
        """
        if body.shipping_address is None and body.notes is None:
            raise ValidationFailed.of(
                *(FieldError(name, "is required, or the other") for name in ("shipping_address", "notes"))
            )
        edited = await orders.edit(
            call.principal,
            order_id,
            shipping_address=body.shipping_address,
            notes=body.notes,
            expected=call.expected,
            by=call.cause(view),
            at=call.now,
        )
        return view(edited)

    @api.delete(
        "/orders/{order_id}",
        allow=SIGNED_IN,
        versioned=True,
        raises=(NotFound, InvalidTransition, VersionMismatch),
    )
    async def delete(call: Call, order_id: str) -> None:
        """Delete an order that is delivered or cancelled: it is gone from every list.

        Its payments stay.
        """
        await orders.delete(
            call.principal, order_id, expected=call.expected, by=call.cause(view), at=call.now
        )


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
