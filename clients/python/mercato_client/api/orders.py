# Made by `make client` from the OpenAPI document; edits are lost.
"""Orders, from being placed to being delivered or cancelled."""

from collections.abc import AsyncIterator, Sequence
from datetime import datetime

from msgspec import UNSET, UnsetType

from mercato_client.answers import Answer, Listed, Page, each_of
from mercato_client.models.orders import CancelOrder, ChangeStatus, EditOrder, Item, PlaceOrder, TimelineEntry
from mercato_client.models.shared import OrderStatus, OrderView
from mercato_client.transport import Request, Transport, decode, encode, new_key, path_of


class Orders:
    """Orders, from being placed to being delivered or cancelled."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    async def list(
        self,
        *,
        page: int | None = None,
        page_size: int | None = None,
        limit: int | None = None,
        offset: int | None = None,
        after: str | None = None,
        count: bool | None = None,
        from_: datetime | None = None,
        to: datetime | None = None,
        status: OrderStatus | None = None,
        user_id: str | None = None,
    ) -> Page[OrderView]:
        """List orders, newest first: a customer's own, or all of the store for its staff.

        For everybody who is signed in.
        """
        request = Request(
            "GET",
            "/api/v1/orders",
            query={
                "page": page,
                "page_size": page_size,
                "limit": limit,
                "offset": offset,
                "after": after,
                "count": count,
                "from": from_,
                "to": to,
                "status": status,
                "user_id": user_id,
            },
        )
        listed = decode(await self._transport.send(request), Listed[OrderView])
        return Page(listed.data, listed.meta)

    def iterate(
        self,
        *,
        from_: datetime | None = None,
        to: datetime | None = None,
        status: OrderStatus | None = None,
        user_id: str | None = None,
        limit: int = 100,
    ) -> AsyncIterator[OrderView]:
        """Go through the whole list, which is fetched page by page."""
        return each_of(
            lambda after: self.list(
                from_=from_, to=to, status=status, user_id=user_id, limit=limit, after=after, count=False
            )
        )

    async def place(
        self,
        *,
        items: Sequence[Item],
        shipping_address: str,
        notes: str | UnsetType | None = UNSET,
        name: str | UnsetType | None = UNSET,
        currency: str | UnsetType | None = UNSET,
        user_id: str | UnsetType | None = UNSET,
        idempotency_key: str | None = None,
    ) -> OrderView:
        """Place an order.

        Prices are the catalogue's, and the stock is held for the order when this returns.

        For everybody who is signed in.
        """
        request = Request(
            "POST",
            "/api/v1/orders",
            content=encode(
                PlaceOrder(
                    items=items,
                    shipping_address=shipping_address,
                    notes=notes,
                    name=name,
                    currency=currency,
                    user_id=user_id,
                )
            ),
            key=idempotency_key or new_key(),
        )
        return decode(await self._transport.send(request), Answer[OrderView]).data

    async def mine(
        self,
        *,
        page: int | None = None,
        page_size: int | None = None,
        limit: int | None = None,
        offset: int | None = None,
        after: str | None = None,
        count: bool | None = None,
        from_: datetime | None = None,
        to: datetime | None = None,
        status: OrderStatus | None = None,
    ) -> Page[OrderView]:
        """List the caller's own orders, newest first.

        For everybody who is signed in.
        """
        request = Request(
            "GET",
            "/api/v1/orders/my-orders",
            query={
                "page": page,
                "page_size": page_size,
                "limit": limit,
                "offset": offset,
                "after": after,
                "count": count,
                "from": from_,
                "to": to,
                "status": status,
            },
        )
        listed = decode(await self._transport.send(request), Listed[OrderView])
        return Page(listed.data, listed.meta)

    def iterate_mine(
        self,
        *,
        from_: datetime | None = None,
        to: datetime | None = None,
        status: OrderStatus | None = None,
        limit: int = 100,
    ) -> AsyncIterator[OrderView]:
        """Go through the whole list, which is fetched page by page."""
        return each_of(
            lambda after: self.mine(from_=from_, to=to, status=status, limit=limit, after=after, count=False)
        )

    async def get(self, order_id: str) -> OrderView:
        """Return one order.

        For everybody who is signed in.
        """
        request = Request("GET", path_of("/api/v1/orders/{order_id}", order_id=order_id))
        return decode(await self._transport.send(request), Answer[OrderView]).data

    async def edit(
        self,
        order_id: str,
        *,
        shipping_address: str | UnsetType | None = UNSET,
        notes: str | UnsetType | None = UNSET,
        version: int | None = None,
    ) -> OrderView:
        """Change a pending order's address or notes.

        What is absent or null stays as it is; empty notes clear them.

        For everybody who is signed in.
        """
        request = Request(
            "PUT",
            path_of("/api/v1/orders/{order_id}", order_id=order_id),
            content=encode(EditOrder(shipping_address=shipping_address, notes=notes)),
            version=version,
        )
        return decode(await self._transport.send(request), Answer[OrderView]).data

    async def delete(self, order_id: str, *, version: int | None = None) -> None:
        """Delete an order that is delivered or cancelled: it is gone from every list.

        Its payments stay.

        For everybody who is signed in.
        """
        request = Request("DELETE", path_of("/api/v1/orders/{order_id}", order_id=order_id), version=version)
        await self._transport.send(request)

    async def history(self, order_id: str) -> tuple[TimelineEntry, ...]:
        """Return what happened to an order, oldest first.

        For everybody who is signed in.
        """
        request = Request("GET", path_of("/api/v1/orders/{order_id}/timeline", order_id=order_id))
        return decode(await self._transport.send(request), Answer[tuple[TimelineEntry, ...]]).data

    async def cancel(
        self,
        order_id: str,
        *,
        reason: str | UnsetType | None = UNSET,
        version: int | None = None,
        idempotency_key: str | None = None,
    ) -> OrderView:
        """Cancel an order: its stock and its money go back.

        For everybody who is signed in.
        """
        request = Request(
            "POST",
            path_of("/api/v1/orders/{order_id}/cancel", order_id=order_id),
            content=encode(CancelOrder(reason=reason)),
            key=idempotency_key or new_key(),
            version=version,
        )
        return decode(await self._transport.send(request), Answer[OrderView]).data

    async def set_status(
        self, order_id: str, *, status: OrderStatus, version: int | None = None
    ) -> OrderView:
        """Move an order on.

        For the roles admin, operator, service.
        """
        request = Request(
            "PUT",
            path_of("/api/v1/orders/{order_id}/status", order_id=order_id),
            content=encode(ChangeStatus(status=status)),
            version=version,
        )
        return decode(await self._transport.send(request), Answer[OrderView]).data

    async def change_status(
        self, order_id: str, *, status: OrderStatus, version: int | None = None
    ) -> OrderView:
        """Move an order on: the same as PUT.

        For the roles admin, operator, service.
        """
        request = Request(
            "PATCH",
            path_of("/api/v1/orders/{order_id}/status", order_id=order_id),
            content=encode(ChangeStatus(status=status)),
            version=version,
        )
        return decode(await self._transport.send(request), Answer[OrderView]).data
