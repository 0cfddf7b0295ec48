"""Holding stock for orders, and following what becomes of them."""

import logging
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

from mercato.contracts.orders import OrderCreated, OrderStatus, OrderStatusChanged, StockState
from mercato.contracts.products import Reservation, StockRejected, WantedLine
from mercato.kernel.cause import ByCall, ByEvent
from mercato.kernel.clock import Clock
from mercato.kernel.counting import Counter
from mercato.kernel.errors import ValidationFailed
from mercato.kernel.ids import OrderId
from mercato.kernel.tenancy import TenantId
from mercato.products import domain
from mercato.products.domain import Hold, HoldState, Outcome, Product
from mercato.products.ports import HoldStore, Shortage

log = logging.getLogger(__name__)


class Reservations:
    """See contracts.products.Stock; and what order events do to stock."""

    def __init__(self, store: HoldStore, *, clock: Clock, grace: timedelta) -> None:
        """`grace` is how long after its expiry a hold is left alone before orders is asked."""
        self.stock_outs = Counter("mercato_stock_outs", "Orders refused for want of stock.")
        self._store = store
        self._clock = clock
        self._grace = grace

    async def reserve(  # noqa: PLR0913  the contract's own parameters
        self,
        tenant: TenantId,
        order_id: OrderId,
        lines: Sequence[WantedLine],
        *,
        currency: str | None,
        until: datetime,
        by: str,
        at: datetime,
    ) -> Reservation:
        """Price the lines and hold their stock, once per order."""

        def decide(hold: Hold | None, found: Mapping[str, Product]) -> Outcome:
            if hold is not None:
                return domain.reserve_again(hold, check_after=at + self._grace)
            own, priced = domain.price_lines(lines, found, currency)
            return domain.reserve(
                Hold(tenant, order_id, HoldState.HELD, own, priced, until, until + self._grace)
            )

        products = [line.product for line in lines]
        try:
            hold = await self._store.change(tenant, order_id, decide, products=products, by=ByCall(by), at=at)
        except Shortage as shortage:
            self.stock_outs.add()
            raise domain.out_of_stock(shortage.short, lines) from None
        assert hold is not None  # noqa: S101  decide always returns one
        return Reservation(hold.order_id, hold.currency, hold.lines, hold.expires_at)

    async def on_created(self, order: OrderCreated, by: ByEvent) -> None:
        """Reserve for an order that was accepted while products was away, or say why it cannot be.

        The order was accepted at the prices it has, so they are not compared.
        """
        if order.stock is not StockState.AWAITING:
            return

        def decide(hold: Hold | None, found: Mapping[str, Product]) -> Outcome:
            if hold is not None:
                held = hold.state is not HoldState.RELEASED
                return Outcome(hold, events=(domain.reserved(hold),) if held else ())
            if unknown := [line.sku for line in order.lines if line.product_id not in found]:
                raise ValidationFailed(f"Not in the catalogue: {', '.join(unknown)}.")
            return domain.reserve(
                Hold(
                    tenant_id=order.tenant_id,
                    order_id=order.order_id,
                    state=HoldState.HELD,
                    currency=order.currency,
                    lines=order.lines,
                    expires_at=order.hold_until,
                    next_check_at=order.hold_until + self._grace,
                )
            )

        products = [line.product_id for line in order.lines]
        now = self._clock()
        try:
            await self._store.change(
                order.tenant_id, order.order_id, decide, products=products, by=by, at=now
            )
        except Shortage as shortage:
            await self._reject(order, domain.out_of_stock(shortage.short, ()).message, by)
            self.stock_outs.add()
        except ValidationFailed as unknown:
            await self._reject(order, unknown.message, by)

    async def on_status_changed(self, order: OrderStatusChanged, by: ByEvent) -> None:
        """Take a confirmed order's stock; give a cancelled one's back. Others change nothing."""
        if order.status is OrderStatus.CONFIRMED:
            await self._take(order, by)
        elif order.status is OrderStatus.CANCELLED:
            await self._release(order, by)

    async def _take(self, order: OrderStatusChanged, by: ByEvent) -> None:
        hold = await self._store.change(
            order.tenant_id, order.order_id, lambda hold, _: domain.take(hold), by=by, at=self._clock()
        )
        if hold is None or hold.state is not HoldState.TAKEN:
            log.error("confirmed without stock", extra={"tenant": order.tenant_id, "order": order.order_id})

    async def _release(self, order: OrderStatusChanged, by: ByEvent) -> None:
        now = self._clock()

        def decide(hold: Hold | None, _: Mapping[str, Product]) -> Outcome:
            if hold is None:
                # A reservation that is still on its way must not hold stock for a dead order.
                return Outcome(domain.tombstone(order.tenant_id, order.order_id, order.currency, at=now))
            return domain.release(hold, order.reason)

        await self._store.change(order.tenant_id, order.order_id, decide, by=by, at=now)

    async def _reject(self, order: OrderCreated, reason: str, by: ByEvent) -> None:
        rejected = StockRejected(tenant_id=order.tenant_id, order_id=order.order_id, reason=reason)

        def decide(hold: Hold | None, _: Mapping[str, Product]) -> Outcome:
            return Outcome(hold, events=(rejected,))

        await self._store.change(order.tenant_id, order.order_id, decide, by=by, at=self._clock())
