# Made by `make client` from the OpenAPI document; edits are lost.
"""Payments of orders, and refunds."""

from collections.abc import AsyncIterator
from decimal import Decimal

from msgspec import UNSET, UnsetType

from mercato_client.answers import Answer, Listed, Page, each_of
from mercato_client.models.payments import (
    CreatePayment,
    PaymentMethod,
    PaymentStatus,
    PaymentView,
    RefundPayment,
)
from mercato_client.transport import Request, Transport, decode, encode, new_key, path_of


class Payments:
    """Payments of orders, and refunds."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    async def list(
        self,
        *,
        status: PaymentStatus | None = None,
        order_id: str | None = None,
        page: int | None = None,
        page_size: int | None = None,
        limit: int | None = None,
        offset: int | None = None,
        after: str | None = None,
        count: bool | None = None,
    ) -> Page[PaymentView]:
        """List payments, newest first: a customer's own, or all of the store for its staff.

        For everybody who is signed in.
        """
        request = Request(
            "GET",
            "/api/v1/payments",
            query={
                "status": status,
                "order_id": order_id,
                "page": page,
                "page_size": page_size,
                "limit": limit,
                "offset": offset,
                "after": after,
                "count": count,
            },
        )
        listed = decode(await self._transport.send(request), Listed[PaymentView])
        return Page(listed.data, listed.meta)

    def iterate(
        self, *, status: PaymentStatus | None = None, order_id: str | None = None, limit: int = 100
    ) -> AsyncIterator[PaymentView]:
        """Go through the whole list, which is fetched page by page."""
        return each_of(
            lambda after: self.list(status=status, order_id=order_id, limit=limit, after=after, count=False)
        )

    async def create(
        self,
        *,
        order_id: str,
        method: PaymentMethod,
        token: str | UnsetType | None = UNSET,
        description: str | UnsetType | None = UNSET,
        idempotency_key: str | None = None,
    ) -> PaymentView:
        """Open a payment for a pending order. One open or paid payment per order.

        For everybody who is signed in.
        """
        request = Request(
            "POST",
            "/api/v1/payments",
            content=encode(
                CreatePayment(order_id=order_id, method=method, token=token, description=description)
            ),
            key=idempotency_key or new_key(),
        )
        return decode(await self._transport.send(request), Answer[PaymentView]).data

    async def mine(
        self,
        *,
        page: int | None = None,
        page_size: int | None = None,
        limit: int | None = None,
        offset: int | None = None,
        after: str | None = None,
        count: bool | None = None,
    ) -> Page[PaymentView]:
        """List the caller's own payments, newest first.

        For everybody who is signed in.
        """
        request = Request(
            "GET",
            "/api/v1/payments/my-payments",
            query={
                "page": page,
                "page_size": page_size,
                "limit": limit,
                "offset": offset,
                "after": after,
                "count": count,
            },
        )
        listed = decode(await self._transport.send(request), Listed[PaymentView])
        return Page(listed.data, listed.meta)

    def iterate_mine(self, *, limit: int = 100) -> AsyncIterator[PaymentView]:
        """Go through the whole list, which is fetched page by page."""
        return each_of(lambda after: self.mine(limit=limit, after=after, count=False))

    async def get(self, payment_id: str) -> PaymentView:
        """Return one payment.

        For everybody who is signed in.
        """
        request = Request("GET", path_of("/api/v1/payments/{payment_id}", payment_id=payment_id))
        return decode(await self._transport.send(request), Answer[PaymentView]).data

    async def latest(self, order_id: str) -> PaymentView:
        """Return an order's latest payment.

        For everybody who is signed in.
        """
        request = Request("GET", path_of("/api/v1/payments/order/{order_id}", order_id=order_id))
        return decode(await self._transport.send(request), Answer[PaymentView]).data

    async def process(
        self, payment_id: str, *, version: int | None = None, idempotency_key: str | None = None
    ) -> PaymentView:
        """Have a payment made.

        Answers with the payment, success or failed; 202 while the outcome is not known yet.

        For everybody who is signed in.
        """
        request = Request(
            "POST",
            path_of("/api/v1/payments/{payment_id}/process", payment_id=payment_id),
            key=idempotency_key or new_key(),
            version=version,
        )
        return decode(await self._transport.send(request), Answer[PaymentView]).data

    async def refund(
        self,
        payment_id: str,
        *,
        amount: Decimal | UnsetType | None = UNSET,
        reason: str | UnsetType | None = UNSET,
        version: int | None = None,
        idempotency_key: str | None = None,
    ) -> PaymentView:
        """Give money back: an amount, or all that is left.

        Answers with the payment; 202 while the outcome is not known yet.

        For the roles admin, operator, service.
        """
        request = Request(
            "POST",
            path_of("/api/v1/payments/{payment_id}/refund", payment_id=payment_id),
            content=encode(RefundPayment(amount=amount, reason=reason)),
            key=idempotency_key or new_key(),
            version=version,
        )
        return decode(await self._transport.send(request), Answer[PaymentView]).data

    async def cancel(
        self, payment_id: str, *, version: int | None = None, idempotency_key: str | None = None
    ) -> PaymentView:
        """Give a pending payment up, before any money moves.

        For everybody who is signed in.
        """
        request = Request(
            "POST",
            path_of("/api/v1/payments/{payment_id}/cancel", payment_id=payment_id),
            key=idempotency_key or new_key(),
            version=version,
        )
        return decode(await self._transport.send(request), Answer[PaymentView]).data
