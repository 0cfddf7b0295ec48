"""The in-process bus: the relay hands encoded events straight to every subscriber's inbox."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from mercato.contracts.events import family
from mercato.messaging.bus import Message, Receive


@dataclass(frozen=True, slots=True)
class _Subscription:
    consumer: str
    families: frozenset[str]
    receive: Receive


class InProcessBus:
    """See messaging.bus.Bus. Events are confirmed once they are durable in every inbox."""

    def __init__(self) -> None:
        self._subscriptions: list[_Subscription] = []

    def subscribe(self, consumer: str, families: frozenset[str], receive: Receive) -> None:
        """Deliver every event of these families to `consumer`."""
        self._subscriptions.append(_Subscription(consumer, families, receive))

    async def publish(self, messages: Sequence[Message]) -> Sequence[int]:
        """Hand the events over and return all positions, or raise what an inbox raised."""
        deliveries = []
        for subscription in self._subscriptions:
            bodies = [message.body for message in messages if family(message.type) in subscription.families]
            if bodies:
                deliveries.append(subscription.receive(bodies))
        # All are waited for, so that no delivery goes on behind the relay's back.
        for outcome in await asyncio.gather(*deliveries, return_exceptions=True):
            if outcome is not None:
                raise outcome
        return [message.position for message in messages]
