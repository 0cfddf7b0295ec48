"""What notifications does when something happens elsewhere: it queues an email, and nothing else."""

from collections.abc import Callable, Mapping

from mercato.contracts.events import Event
from mercato.contracts.orders import OrderCreated, OrderStatus, OrderStatusChanged
from mercato.contracts.payments import PaymentEvent, PaymentFailed, PaymentRefunded, PaymentSucceeded
from mercato.contracts.users import LinkRequested, UserCreated, UserDeleted, UserEvent, UserUpdated
from mercato.kernel.cause import ByEvent
from mercato.kernel.clock import Clock
from mercato.kernel.ids import NotificationId, OrderId, UserId, uuid7
from mercato.kernel.principal import Role
from mercato.kernel.tenancy import DEFAULT_TENANT
from mercato.kernel.tracing import current
from mercato.messaging.inbox import Handler
from mercato.notifications.domain import OF_ACTION, Facts, Line, Notification, Template
from mercato.notifications.ports import NotificationStore, Standing

FAMILIES = frozenset({"order", "payment", "user"})

_OF_STATUS = {
    OrderStatus.SHIPPED: Template.ORDER_SHIPPED,
    OrderStatus.DELIVERED: Template.ORDER_DELIVERED,
    OrderStatus.CANCELLED: Template.ORDER_CANCELLED,
}
"""What an order's shopper is told of; that it was confirmed, its payment's email says."""

Queue = Callable[[Event, Template, UserId, OrderId | None, Facts], Notification]


def handlers(store: NotificationStore, clock: Clock) -> Mapping[str, Handler]:
    """Return what to do by event type."""

    def queue(
        event: Event, template: Template, user_id: UserId, order_id: OrderId | None, facts: Facts
    ) -> Notification:
        now, here = clock(), current()
        return Notification(
            tenant_id=event.tenantid,
            id=NotificationId(uuid7()),
            event_id=event.id,
            template=template,
            user_id=user_id,
            order_id=order_id,
            facts=facts,
            due_at=now,
            created_at=now,
            traceparent=None if here is None else here.traceparent,
        )

    return {**_orders(store, queue), **_payments(store, queue), **_users(store, queue)}


def _orders(store: NotificationStore, queue: Queue) -> dict[str, Handler]:
    async def on_created(event: Event, by: ByEvent) -> None:
        order = event.payload(OrderCreated)
        facts = Facts(
            currency=order.currency,
            amount=order.total_amount,
            name=order.name,
            lines=tuple(Line(line.product_name, line.quantity, line.unit_price) for line in order.lines),
            hold_until=order.hold_until,
        )
        placed = queue(event, Template.ORDER_CREATED, order.user_id, order.order_id, facts)
        await store.add(placed, standing=None, by=by)

    async def on_status_changed(event: Event, by: ByEvent) -> None:
        order = event.payload(OrderStatusChanged)
        template = _OF_STATUS.get(order.status)
        if template is not None:
            facts = Facts(currency=order.currency, amount=order.total_amount, reason=order.reason)
            moved = queue(event, template, order.user_id, order.order_id, facts)
            await store.add(moved, standing=None, by=by)

    return {OrderCreated.type: on_created, OrderStatusChanged.type: on_status_changed}


def _payments(store: NotificationStore, queue: Queue) -> dict[str, Handler]:
    def on(kind: type[PaymentEvent], template: Template) -> Handler:
        async def handle(event: Event, by: ByEvent) -> None:
            payment = event.payload(kind)
            facts = Facts(
                currency=payment.currency,
                amount=payment.amount,
                refunded=payment.refunded_amount,
                method=payment.method.value,
                reason=payment.failure_reason,
            )
            told = queue(event, template, payment.user_id, payment.order_id, facts)
            await store.add(told, standing=None, by=by)

        return handle

    return {
        PaymentSucceeded.type: on(PaymentSucceeded, Template.ORDER_PAID),
        PaymentFailed.type: on(PaymentFailed, Template.PAYMENT_FAILED),
        PaymentRefunded.type: on(PaymentRefunded, Template.REFUNDED),
    }


def _users(store: NotificationStore, queue: Queue) -> dict[str, Handler]:
    async def on_created(event: Event, by: ByEvent) -> None:
        user = event.payload(UserCreated)
        template = Template.INVITATION if user.invited else Template.WELCOME
        first = queue(event, template, user.user_id, None, Facts())
        await store.add(first, standing=_standing(user), by=by)

    async def on_changed(event: Event, by: ByEvent) -> None:
        standing = _standing(event.payload(UserUpdated))
        if standing is not None:
            await store.add(None, standing=standing, by=by)

    async def on_link_requested(event: Event, by: ByEvent) -> None:
        wanted = event.payload(LinkRequested)
        asked = queue(event, OF_ACTION[wanted.action], wanted.user_id, None, Facts())
        await store.add(asked, standing=None, by=by)

    return {
        UserCreated.type: on_created,
        UserUpdated.type: on_changed,
        UserDeleted.type: on_changed,
        LinkRequested.type: on_link_requested,
    }


def _standing(user: UserEvent) -> Standing | None:
    """Return whether a user is an operator, where operators live."""
    if user.tenant_id != DEFAULT_TENANT:
        return None
    return Standing(user.tenant_id, user.user_id, user.role is Role.OPERATOR)
