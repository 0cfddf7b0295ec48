"""What happens here when something happens to an order."""

from mercato.contracts.events import Event
from mercato.contracts.orders import OrderCreated, OrderStatusChanged
from mercato.kernel.cause import ByEvent
from mercato.messaging.inbox import Handler
from mercato.products.service.reservations import Reservations

FAMILIES = frozenset({"order"})


def handlers(reservations: Reservations) -> dict[str, Handler]:
    """Return what to do on which event."""

    async def created(event: Event, by: ByEvent) -> None:
        await reservations.on_created(event.payload(OrderCreated), by)

    async def status_changed(event: Event, by: ByEvent) -> None:
        await reservations.on_status_changed(event.payload(OrderStatusChanged), by)

    return {OrderCreated.type: created, OrderStatusChanged.type: status_changed}
