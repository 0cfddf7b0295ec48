"""How orders is put together."""

from dataclasses import dataclass
from datetime import timedelta

import msgspec

from mercato.adapters.service import ServiceParts
from mercato.adapters.sql.claims import SqlClaims
from mercato.adapters.sql.database import Database
from mercato.adapters.sql.steps import Steps
from mercato.contracts.order_reading import OrderReader
from mercato.contracts.orders import OrderDesk
from mercato.contracts.products import Stock
from mercato.kernel.clock import Clock
from mercato.orders.counts import OrderCounts
from mercato.orders.routes import routes
from mercato.orders.service.orders import Orders
from mercato.orders.service.reading import OrderReading
from mercato.orders.stores.reading import SqlOrderReads
from mercato.orders.stores.sql import SqlCatalogue, SqlOrders
from mercato.orders.subscribers import FAMILIES, handlers
from mercato.orders.workers import expiry


class OrdersSettings(msgspec.Struct, frozen=True):
    """How orders behaves."""

    hold_s: float = 900.0
    stock_deadline_s: float = 2.0


@dataclass(frozen=True, slots=True)
class OrdersService:
    """Orders, wired."""

    parts: ServiceParts
    desk: OrderDesk
    service: Orders
    store: SqlOrders
    reader: OrderReader


def build(db: Database, *, clock: Clock, stock: Stock, settings: OrdersSettings) -> OrdersService:
    """Wire orders on its database."""
    steps = Steps(db, source="/mercato/orders", clock=clock)
    store, catalogue, claims = SqlOrders(steps), SqlCatalogue(steps), SqlClaims(db)
    counts = OrderCounts()
    steps.on_committed(counts.committed)
    orders = Orders(
        store,
        catalogue,
        stock,
        hold=timedelta(seconds=settings.hold_s),
        stock_deadline_s=settings.stock_deadline_s,
    )
    parts = ServiceParts(
        name="orders",
        steps=steps,
        claims=claims,
        routes=routes(orders, store, claims),
        handlers=handlers(orders, catalogue),
        families=FAMILIES,
        workers=(expiry(orders, clock),),
        measures=counts.measures,
    )
    return OrdersService(parts, orders, orders, store, OrderReading(SqlOrderReads(db)))
