"""What payments does when something happens elsewhere."""

from collections.abc import Mapping

from mercato.contracts.events import Event
from mercato.contracts.orders import OrderStatus, OrderStatusChanged
from mercato.kernel.cause import ByEvent
from mercato.messaging.inbox import Handler
from mercato.payments.service.payments import Payments

FAMILIES = frozenset({"order"})


def handlers(payments: Payments) -> Mapping[str, Handler]:
    """Return what to do by event type."""

    async def on_status_changed(event: Event, by: ByEvent) -> None:
        order = event.payload(OrderStatusChanged)
        if order.status is OrderStatus.CANCELLED:
            await payments.order_cancelled(order.tenant_id, order.order_id, by=by, at=event.time)

    return {OrderStatusChanged.type: on_status_changed}
