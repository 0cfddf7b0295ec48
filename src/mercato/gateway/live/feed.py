"""The feed: what happens to orders and payments, told to whoever subscribes and may know of it.

Each event is heard at most once, from the moment of subscribing on. Who takes events too slowly is dropped;
nothing waits without bound.
"""

import asyncio
import logging
from collections import deque
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

import msgspec

from mercato.contracts import orders, payments
from mercato.contracts.events import Event, family
from mercato.contracts.orders import OrderEvent
from mercato.contracts.payments import PaymentEvent
from mercato.gateway.live.counts import Counts
from mercato.kernel.errors import Forbidden, Kind, MercatoError, Unauthenticated, Unavailable
from mercato.kernel.ids import OrderId
from mercato.kernel.principal import Principal, Role
from mercato.kernel.tenancy import TenantId
from mercato.messaging.bus import decode

log = logging.getLogger(__name__)

FAMILIES = frozenset({"order", "payment"})
"""What the feed has to hear."""
MOST_WAITING = 100
"""Events that may wait for one subscriber."""

Told = OrderEvent | PaymentEvent
_T = TypeVar("_T", bound=Told)

_KINDS: dict[str, type[Told]] = {
    kind.type: kind
    for kind in (
        orders.OrderCreated,
        orders.OrderStatusChanged,
        payments.PaymentCreated,
        payments.PaymentProcessing,
        payments.PaymentSucceeded,
        payments.PaymentFailed,
        payments.PaymentCancelled,
        payments.PaymentRefunded,
    )
}


class TooSlow(MercatoError):
    """A subscriber did not take its events in time, and gets no more. It may subscribe anew."""

    kind = Kind.RATE_LIMITED
    code = "SUBSCRIBER_TOO_SLOW"


@dataclass(eq=False, slots=True)
class _Subscriber(Generic[_T]):
    """One subscription: whose events it may hear, and those that wait for it."""

    kind: type[_T]
    tenant: TenantId
    owner: str | None
    """None for staff, who hear of everybody's."""
    order: OrderId | None
    stirred: asyncio.Event = field(default_factory=asyncio.Event)
    waiting: deque[_T] = field(default_factory=deque)
    is_dropped: bool = False

    def wants(self, told: Told) -> bool:
        """Say whether an event is for it."""
        return (
            isinstance(told, self.kind)
            and told.tenant_id == self.tenant
            and self.owner in {None, told.user_id}
            and self.order in {None, told.order_id}
        )

    def take(self, told: _T) -> None:
        """Keep an event for it, unless too many wait."""
        if len(self.waiting) >= MOST_WAITING:
            self.is_dropped = True
            self.waiting.clear()
        if not self.is_dropped:
            self.waiting.append(told)
        self.stirred.set()


class Feed:
    """Hears events, and tells subscribers."""

    def __init__(self, counts: Counts, hears: Callable[[], bool]) -> None:
        """`hears` says whether events can be heard now."""
        self._counts = counts
        self._hears = hears
        self._subscribers: dict[str, set[_Subscriber[Told]]] = {}

    async def hear(self, bodies: Sequence[bytes]) -> None:
        """Take note of events; see messaging.bus.Hear. It waits for nobody."""
        for body in bodies:
            self._counts.events += 1
            if not self._subscribers:
                continue
            try:
                told = _told(decode(body))
            except msgspec.MsgspecError:
                # The inboxes keep it as a dead letter, which tells more.
                log.warning("an event cannot be read")
                continue
            if told is not None:
                self._tell(told)

    def missed(self) -> None:
        """Take note that events may have been missed: subscribers hear the next ones."""
        self._counts.gaps += 1

    def _tell(self, told: Told) -> None:
        for subscriber in self._subscribers.get(told.tenant_id, ()):
            if subscriber.wants(told) and not subscriber.is_dropped:
                subscriber.take(told)
                self._counts.dropped += subscriber.is_dropped

    def orders(
        self, caller: Principal | None, order: OrderId | None = None
    ) -> AsyncGenerator[OrderEvent, None]:
        """Give what happens to the caller's orders, or to one of them; staff hear of all of the store.

        It hears from when it is first asked for one. Raises Unauthenticated, Forbidden and Unavailable at
        once, and TooSlow when it is asked too seldom. It is to be closed.
        """
        return self._subscribe(OrderEvent, caller, "orders:read", order)

    def payments(
        self, caller: Principal | None, order: OrderId | None = None
    ) -> AsyncGenerator[PaymentEvent, None]:
        """Give what happens to payments, as `orders` does to orders."""
        return self._subscribe(PaymentEvent, caller, "payments:read", order)

    def _subscribe(
        self, kind: type[_T], caller: Principal | None, scope: str, order: OrderId | None
    ) -> AsyncGenerator[_T, None]:
        if caller is None:
            raise Unauthenticated("Sign in first.")
        if caller.role is Role.SERVICE and scope not in caller.scopes:
            raise Forbidden(f"This needs the scope {scope}.")
        if not self._hears():
            raise Unavailable("Events cannot be heard now.", retry_after=5)
        owner = None if caller.is_staff else caller.user_id
        return self._given(_Subscriber(kind, caller.tenant, owner, order))

    async def _given(self, subscriber: _Subscriber[_T]) -> AsyncGenerator[_T, None]:
        subscribers = self._subscribers.setdefault(subscriber.tenant, set())
        subscribers.add(subscriber)  # type: ignore[arg-type]  # it is told only what it wants
        self._counts.subscribers += 1
        try:
            while True:
                while subscriber.waiting:
                    yield subscriber.waiting.popleft()
                if subscriber.is_dropped:
                    raise TooSlow("Events came faster than they were taken.")
                subscriber.stirred.clear()
                await subscriber.stirred.wait()
        finally:
            self._counts.subscribers -= 1
            subscribers.discard(subscriber)
            if not subscribers:
                self._subscribers.pop(subscriber.tenant, None)


def _told(event: Event) -> Told | None:
    """Return what an event tells, if it is one that subscribers hear."""
    if family(event.type) not in FAMILIES or event.type not in _KINDS:
        return None
    return event.payload(_KINDS[event.type])
