"""RabbitMQ: events between processes, each kept by a quorum of the broker's nodes before it counts as sent.

One topic exchange carries all events. Each consuming service has one queue, which its replicas share.
How often an event is tried, its order and its dead letters are the inbox's; the queue of what a service
refuses is for bytes alone that its database cannot keep.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from functools import partial

from aio_pika.abc import AbstractChannel, AbstractQueue

from mercato.adapters.bus.rabbitmq_consumer import RabbitConsumer
from mercato.adapters.bus.rabbitmq_link import (
    dead_queue_of,
    declare_own_queue,
    declare_queue,
    queue_of,
)
from mercato.adapters.bus.rabbitmq_publisher import RabbitPublisher
from mercato.messaging.bus import BusState, Hear, Message, Receive

log = logging.getLogger(__name__)

STOP_DEADLINE_S = 20.0
_HEARD_MOST = 10_000


class RabbitBus:
    """See messaging.bus.Bus."""

    system = "rabbitmq"

    def __init__(self, url: str, *, name: str, consumers: Mapping[str, frozenset[str]] | None = None) -> None:
        """`url` is `amqp://USER:PASSWORD@HOST:PORT/VHOST` or `amqps://`; `name` is what operators see.

        `consumers` are those of other processes, with their families: their queues are made before
        anything is published, so that nothing is lost on a service that has never been started.
        """
        self._url = url
        self._name = name
        self._known = dict(consumers or {})
        self._publisher = RabbitPublisher(url, f"{name} relay", self._known)
        self._consumers: list[RabbitConsumer] = []
        self._services: dict[str, RabbitConsumer] = {}
        """Those of the consumers that are services."""
        self._running: list[asyncio.Task[None]] = []

    def subscribe(self, consumer: str, families: frozenset[str], receive: Receive) -> None:
        """Deliver every event of these families to `consumer`, whose replicas share them."""
        self._known[consumer] = families
        declare = partial(declare_queue, consumer=consumer, families=families)
        service = RabbitConsumer(self._url, f"{self._name} inbox {consumer}", declare, receive)
        self._services[consumer] = service
        self._consumers.append(service)

    def listen(self, families: frozenset[str], hear: Hear, missed: Callable[[], None]) -> None:
        """Let this very process hear every event of these families."""
        listener = _Listener(families, hear, missed)
        self._consumers.append(
            RabbitConsumer(self._url, f"{self._name} listener", listener.declare, listener.receive)
        )

    async def start(self) -> None:
        """Begin to consume, as soon as the broker can be reached."""
        self._running = [asyncio.create_task(each.run(), name="consumer") for each in self._consumers]

    async def publish(self, messages: Sequence[Message]) -> Sequence[int]:
        """Publish, and return the positions that were confirmed, in order within each key."""
        return await self._publisher.publish(messages)

    async def stop(self) -> None:
        """Finish the batches in hand, give back what else was delivered, and close. Idempotent."""
        for consumer in self._consumers:
            consumer.stop()
        if self._running:
            _, late = await asyncio.wait(self._running, timeout=STOP_DEADLINE_S)
            for task in late:
                task.cancel()
            await asyncio.gather(*self._running, return_exceptions=True)
            self._running = []
        await self._publisher.close()

    def state(self) -> BusState:
        """Return how this process's part of the bus is."""
        return BusState(
            connected=self._publisher.usable and all(each.connected for each in self._consumers),
            unconfirmed=self._publisher.unconfirmed,
            unacknowledged=sum(each.unacknowledged for each in self._consumers),
            redelivered=sum(each.redelivered for each in self._consumers),
        )

    @property
    def has_queues(self) -> bool:
        """Whether a service of this process has one."""
        return bool(self._services)

    async def depths(self) -> Mapping[str, int]:
        """Return how many events wait in the queues of this process's services, and of what they refused."""
        found: dict[str, int] = {}
        for name, consumer in self._services.items():
            found |= await consumer.depths((queue_of(name), dead_queue_of(name)))
        return found


class _Listener:
    """One process's ear: a queue of its own, gone with its connection."""

    def __init__(self, families: frozenset[str], hear: Hear, missed: Callable[[], None]) -> None:
        self._families = families
        self._hear = hear
        self._missed = missed

    async def declare(self, channel: AbstractChannel) -> AbstractQueue:
        """Declare the queue. Whatever was published before it was there is missed."""
        queue = await declare_own_queue(channel, self._families, _HEARD_MOST)
        self._missed()
        return queue

    async def receive(self, bodies: Sequence[bytes]) -> None:
        """Tell what was heard. It is not told twice, whatever comes of it."""
        try:
            await self._hear(bodies)
        except Exception:
            log.exception("an event that was heard had no effect")
