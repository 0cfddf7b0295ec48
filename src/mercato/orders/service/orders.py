"""What can be done with orders."""

import asyncio
from collections.abc import Sequence
from datetime import datetime, timedelta

import msgspec

from mercato.contracts.events import Events
from mercato.contracts.orders import OrderFacts, OrderStatus, StockState
from mercato.contracts.payments import PaymentEvent
from mercato.contracts.products import (
    PriceChanged,
    PricedLine,
    Stock,
    StockRejected,
    StockReserved,
    WantedLine,
)
from mercato.kernel import money
from mercato.kernel.cause import ByCall, ByEvent, BySystem
from mercato.kernel.errors import FieldError, NotFound, Unavailable, ValidationFailed
from mercato.kernel.ids import OrderId, UserId, is_id
from mercato.kernel.principal import Principal
from mercato.kernel.tenancy import TenantId
from mercato.kernel.versions import ANY_VERSION, Expected
from mercato.orders.domain import Order, Placement, place
from mercato.orders.ports import Catalogue, CatalogueItem, Decide, OrderStore

EXPIRY = BySystem("system:expiry")


class OrderRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What somebody wants to order, before the catalogue has priced it."""

    lines: tuple[WantedLine, ...]
    shipping_address: str | None
    notes: str | None = None
    name: str | None = None
    currency: str | None = None
    user_id: UserId | None = None


class Orders:
    """The use cases of orders. Also the OrderDesk that other services ask."""

    def __init__(
        self,
        store: OrderStore,
        catalogue: Catalogue,
        stock: Stock,
        *,
        hold: timedelta,
        stock_deadline_s: float,
    ) -> None:
        """`hold` is how long an order may wait for its payment."""
        self._store = store
        self._catalogue = catalogue
        self._stock = stock
        self._hold = hold
        self._stock_deadline_s = stock_deadline_s

    async def place(
        self, who: Principal, wanted: OrderRequest, *, order_id: OrderId, by: ByCall, at: datetime
    ) -> Order:
        """Place an order: its stock is held before this returns, unless products is away.

        Repeating it with the same `order_id` continues the same order. Raises OutOfStock,
        PriceChanged, ValidationFailed; Unavailable if products is away and a price unknown.
        """
        user_id = wanted.user_id or who.user_id
        if user_id != who.user_id and not who.is_staff:
            raise ValidationFailed.field("user_id", "only staff may order for somebody else")
        until = at + self._hold
        placed = Placement(
            tenant_id=who.tenant,
            order_id=order_id,
            user_id=user_id,
            name=wanted.name,
            lines=(),
            currency="",
            stock=StockState.RESERVED,
            hold_until=until,
            shipping_address=wanted.shipping_address,
            notes=wanted.notes,
        )
        try:
            async with asyncio.timeout(self._stock_deadline_s):
                held = await self._stock.reserve(
                    who.tenant,
                    order_id,
                    wanted.lines,
                    currency=wanted.currency,
                    until=until,
                    by=who.user_id,
                    at=at,
                )
            priced = msgspec.structs.replace(placed, lines=held.lines, currency=held.currency)
        except (Unavailable, TimeoutError):
            lines, currency = await self._price_by_memory(who.tenant, wanted)
            priced = msgspec.structs.replace(
                placed, lines=lines, currency=currency, stock=StockState.AWAITING
            )
        order, events = place(priced, by=by.actor, at=at)
        return await self._store.add(order, events, by=by)

    async def _price_by_memory(
        self, tenant: TenantId, wanted: OrderRequest
    ) -> tuple[tuple[PricedLine, ...], str]:
        """Price the lines as the catalogue was last heard of, while products is away."""
        found: list[tuple[str, WantedLine, CatalogueItem]] = []
        for index, line in enumerate(wanted.lines):
            item = await self._catalogue.find(tenant, line.product)
            if item is None:
                raise Unavailable("The catalogue is away; try again soon.", retry_after=5)
            found.append((f"items[{index}]", line, item))
        currency = found[0][2].currency
        if wanted.currency not in {None, currency}:
            raise ValidationFailed.field("currency", f"must be the store's currency, {currency}")
        changed = [
            FieldError(f"{field}.unit_price", f"is now {money.to_decimal(item.price, currency)} {currency}")
            for field, line, item in found
            if line.expected_price is not None
            and line.expected_price != money.to_decimal(item.price, currency)
        ]
        if changed:
            raise PriceChanged("The price has changed.", changed)
        quantities: dict[CatalogueItem, int] = {}
        for _, line, item in found:
            quantities[item] = quantities.get(item, 0) + line.quantity
        return tuple(item.line(quantity) for item, quantity in quantities.items()), currency

    async def get(self, who: Principal, order_id: str) -> Order:
        """Return an order in the caller's scope. Raises NotFound."""
        order = await self._store.find(who.tenant, OrderId(order_id)) if is_id(order_id) else None
        if order is None or not (who.is_staff or order.user_id == who.user_id):
            raise NotFound("There is no such order.")
        return order

    async def move(
        self,
        who: Principal,
        order_id: str,
        to: OrderStatus,
        *,
        expected: Expected = ANY_VERSION,
        by: ByCall,
        at: datetime,
    ) -> Order:
        """Move an order on. Raises NotFound, VersionMismatch, InvalidTransition, ReservationPending."""
        return await self._change(
            who, order_id, lambda found: found.move(to, by=by.actor, at=at), expected=expected, by=by
        )

    async def cancel(
        self,
        who: Principal,
        order_id: str,
        reason: str | None,
        *,
        expected: Expected = ANY_VERSION,
        by: ByCall,
        at: datetime,
    ) -> Order:
        """Cancel an order; stock and money go back. Raises NotFound, VersionMismatch, InvalidTransition."""
        return await self._change(
            who,
            order_id,
            lambda found: found.cancel(reason=reason, by=by.actor, staff=who.is_staff, at=at),
            expected=expected,
            by=by,
        )

    async def edit(  # noqa: PLR0913  all but the first two are named
        self,
        who: Principal,
        order_id: str,
        *,
        shipping_address: str | None = None,
        notes: str | None = None,
        name: str | None = None,
        expected: Expected = ANY_VERSION,
        by: ByCall,
        at: datetime,
    ) -> Order:
        """Change a pending order's address, notes or name; None leaves one as it is.

        Raises NotFound, VersionMismatch, InvalidTransition.
        """
        return await self._change(
            who,
            order_id,
            lambda found: found.edit(
                shipping_address=shipping_address, notes=notes, name=name, by=by.actor, at=at
            ),
            expected=expected,
            by=by,
        )

    async def delete(
        self, who: Principal, order_id: str, *, expected: Expected = ANY_VERSION, by: ByCall, at: datetime
    ) -> None:
        """Delete an order that is at its end. Raises NotFound, VersionMismatch, InvalidTransition."""
        await self._change(
            who, order_id, lambda found: found.delete(by=by.actor, at=at), expected=expected, by=by
        )

    async def _change(
        self, who: Principal, order_id: str, decide: Decide, *, expected: Expected, by: ByCall
    ) -> Order:
        """Change an order in the caller's scope, if it is still as the caller saw it."""
        order = await self.get(who, order_id)

        def checked(found: Order) -> tuple[Order, Events]:
            expected.check(found.version)
            return decide(found)

        return await self._store.change(who.tenant, order.id, checked, by=by)

    async def expire(self, at: datetime, limit: int) -> int:
        """Cancel pending orders whose time is up; return how many were looked at."""
        due = await self._store.expired(at, limit)
        changes = (
            self._store.change(
                tenant, order_id, lambda found: found.expire(by=EXPIRY.actor, at=at), by=EXPIRY
            )
            for tenant, order_id in due
        )
        await asyncio.gather(*changes)
        return len(due)

    async def facts(self, tenant: TenantId, order_ids: Sequence[OrderId]) -> dict[OrderId, OrderFacts]:
        """Return the facts of those of the orders that were placed; see OrderDesk."""
        orders = await self._store.find_many(tenant, order_ids)
        return {order.id: order.facts() for order in orders}

    async def stock_reserved(self, stock: StockReserved, *, by: ByEvent, at: datetime) -> None:
        """Take note that an order's stock is held. Idempotent; raises NotFound."""
        await self._store.change(
            stock.tenant_id,
            stock.order_id,
            lambda found: found.reserved(until=stock.expires_at, at=at),
            by=by,
        )

    async def stock_rejected(self, stock: StockRejected, *, by: ByEvent, at: datetime) -> None:
        """Cancel an order that cannot have its stock. Idempotent; raises NotFound."""
        await self._store.change(
            stock.tenant_id, stock.order_id, lambda found: found.rejected(reason=stock.reason, at=at), by=by
        )

    async def payment_changed(self, event: str, payment: PaymentEvent, *, by: ByEvent, at: datetime) -> None:
        """Take note of what became of an order's payment. Idempotent; raises NotFound."""
        await self._store.change(
            payment.tenant_id,
            payment.order_id,
            lambda found: found.payment(payment.status, event=event, note=payment.failure_reason, at=at),
            by=by,
        )
