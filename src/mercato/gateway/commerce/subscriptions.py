"""What Subscription's fields tell: the object, read as any other, at the status that the event is about.

It may have moved on when it is read. A client is told every status all the same, and each once.
"""

from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing

from msgspec.structs import replace

from mercato.contracts.order_reading import Order
from mercato.contracts.payment_reading import Payment
from mercato.gateway.commerce.asking import Asking
from mercato.gateway.graphql.bindings import Args, Binding, Events


async def order_status_changed(asking: Asking, args: Args) -> AsyncGenerator[Order | None, None]:
    """Tell each order that is placed or moves on, None where it cannot be read any more."""
    async with aclosing(asking.services.feed.orders(asking.caller, args.get("order_id"))) as told:
        async for event in told:
            found = await asking.services.orders.many(asking.caller, [event.order_id])
            order = found.get(event.order_id)
            yield order and replace(order, status=event.status)


async def payment_status_changed(asking: Asking, args: Args) -> AsyncGenerator[Payment | None, None]:
    """Tell each payment whose status changes, None where it cannot be read any more."""
    async with aclosing(asking.services.feed.payments(asking.caller, args.get("order_id"))) as told:
        async for event in told:
            found = await asking.services.payments.many(asking.caller, [event.payment_id])
            payment = found.get(event.payment_id)
            yield payment and replace(payment, status=event.status)


FIELDS: Mapping[str, Binding] = {
    "orderStatusChanged": Events(order_status_changed),
    "paymentStatusChanged": Events(payment_status_changed),
}
"""The fields of Subscription."""
