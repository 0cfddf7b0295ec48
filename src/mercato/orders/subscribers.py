"""What orders does when something happens elsewhere."""

from collections.abc import Mapping

from mercato.contracts.events import Event
from mercato.contracts.payments import PaymentEvent
from mercato.contracts.products import ProductEvent, StockRejected, StockReserved
from mercato.kernel.cause import ByEvent
from mercato.kernel.errors import NotFound
from mercato.messaging.inbox import Handler
from mercato.orders.ports import Catalogue, CatalogueItem
from mercato.orders.service.orders import Orders

FAMILIES = frozenset({"product", "stock", "payment"})


def handlers(orders: Orders, catalogue: Catalogue) -> Mapping[str, Handler]:
    """Return what to do by event type.

    An event about an order that is not there has no effect: its placement was never
    finished, and whoever holds something for it asks and lets go.
    """

    async def on_product(event: Event, by: ByEvent) -> None:
        product = event.payload(ProductEvent)
        item = CatalogueItem(product.product_id, product.sku, product.name, product.price, product.currency)
        await catalogue.keep(product.tenant_id, item, by=by)

    async def on_product_deleted(event: Event, by: ByEvent) -> None:
        product = event.payload(ProductEvent)
        await catalogue.forget(product.tenant_id, product.product_id, by=by)

    async def on_stock_reserved(event: Event, by: ByEvent) -> None:
        await orders.stock_reserved(event.payload(StockReserved), by=by, at=event.time)

    async def on_stock_rejected(event: Event, by: ByEvent) -> None:
        await orders.stock_rejected(event.payload(StockRejected), by=by, at=event.time)

    async def on_payment(event: Event, by: ByEvent) -> None:
        await orders.payment_changed(event.type, event.payload(PaymentEvent), by=by, at=event.time)

    return {
        "product.created": on_product,
        "product.updated": on_product,
        "product.deleted": on_product_deleted,
        "stock.reserved": _if_there(on_stock_reserved),
        "stock.rejected": _if_there(on_stock_rejected),
        "payment.created": _if_there(on_payment),
        "payment.success": _if_there(on_payment),
        "payment.failed": _if_there(on_payment),
        "payment.cancelled": _if_there(on_payment),
        "payment.refunded": _if_there(on_payment),
    }


def _if_there(handler: Handler) -> Handler:
    async def handle(event: Event, by: ByEvent) -> None:
        try:
            await handler(event, by)
        except NotFound:
            return

    return handle
