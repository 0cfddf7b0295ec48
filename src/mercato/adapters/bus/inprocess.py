"""The in-process bus: the relay hands encoded events straight to every subscriber's inbox."""

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from mercato.contracts.events import family
from mercato.messaging.bus import BusState, Hear, Message, Receive

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Subscription:
    families: frozenset[str]
    receive: Receive

    def wanted(self, messages: Sequence[Message]) -> list[bytes]:
        """Return the events that are for it."""
        return [message.body for message in messages if family(message.type) in self.families]


class InProcessBus:
    """See messaging.bus.Bus. Events are confirmed once they are durable in every inbox."""

    system = "in_process"

    def __init__(self) -> None:
        self._subscriptions: list[_Subscription] = []
        self._listeners: list[_Subscription] = []

    def subscribe(self, consumer: str, families: frozenset[str], receive: Receive) -> None:  # noqa: ARG002
        """Deliver every event of these families to a consumer, whose name tells nobody apart here."""
        self._subscriptions.append(_Subscription(families, receive))

    def listen(self, families: frozenset[str], hear: Hear, missed: Callable[[], None]) -> None:  # noqa: ARG002
        """Let somebody hear every event of these families. None is missed here."""
        self._listeners.append(_Subscription(families, hear))

    async def start(self) -> None:
        """Nothing has to be started."""

    async def stop(self) -> None:
        """Nothing goes on by itself."""

    def state(self) -> BusState:
        """Return that it is there."""
        return BusState(connected=True)

    @property
    def has_queues(self) -> bool:
        """There are none: what was not handed over yet is in the outboxes."""
        return False

    async def depths(self) -> Mapping[str, int]:
        """Return nothing."""
        return {}

    async def publish(self, messages: Sequence[Message]) -> Sequence[int]:
        """Hand the events over and return all positions, or raise what an inbox raised."""
        deliveries = []
        for subscription in self._subscriptions:
            bodies = subscription.wanted(messages)
            if bodies:
                deliveries.append(subscription.receive(bodies))
        # All are waited for, so that no delivery goes on behind the relay's back.
        for outcome in await asyncio.gather(*deliveries, return_exceptions=True):
            if outcome is not None:
                raise outcome
        for listener in self._listeners:
            await self._tell(listener, messages)
        return [message.position for message in messages]

    async def _tell(self, listener: _Subscription, messages: Sequence[Message]) -> None:
        bodies = listener.wanted(messages)
        try:
            if bodies:
                await listener.receive(bodies)
        except Exception:
            log.exception("an event that was heard had no effect")
