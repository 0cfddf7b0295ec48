"""What Subscription's fields tell: the object, read as any other, at the status that the event is about.

It may have moved on when it is read. A client is told every status all the same, and each once.
"""

from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing

from msgspec.structs import replace

from mercato.contracts.order_reading import Order
from mercato.contracts.payment_reading import Payment
from mercato.gateway.commerce.asking import Asking
from mercato.gateway.commerce.queries import found
from mercato.gateway.graphql.bindings import Args, Binding, Events
from mercato.kernel.principal import Role


async def order_status_changed(asking: Asking, args: Args) -> AsyncGenerator[Order | None, None]:
    """Tell each order that is placed or moves on, None where it cannot be read any more.

    Raises NotFound for an order that the caller may not see.
    """
    async with aclosing(asking.services.feed.orders(asking.caller, args.get("order_id"))) as told:
        await _check_order(asking, args)
        async for event in told:
            read = await asking.services.orders.many(asking.caller, [event.order_id])
            order = read.get(event.order_id)
            yield order and replace(order, status=event.status)


async def payment_status_changed(asking: Asking, args: Args) -> AsyncGenerator[Payment | None, None]:
    """Tell each payment whose status changes, None where it cannot be read any more.

    Raises NotFound for those of an order that the caller may not see.
    """
    async with aclosing(asking.services.feed.payments(asking.caller, args.get("order_id"))) as told:
        # A machine may know of payments, and not of orders.
        if asking.caller.role is not Role.SERVICE:
            await _check_order(asking, args)
        async for event in told:
            read = await asking.services.payments.many(asking.caller, [event.payment_id])
            payment = read.get(event.payment_id)
            yield payment and replace(payment, status=event.status)


async def _check_order(asking: Asking, args: Args) -> None:
    order_id = args.get("order_id")
    if order_id is not None:
        found(await asking.services.orders.many(asking.caller, [order_id]), order_id, "order")


FIELDS: Mapping[str, Binding] = {
    "orderStatusChanged": Events(order_status_changed),
    "paymentStatusChanged": Events(payment_status_changed),
}
"""The fields of Subscription."""
