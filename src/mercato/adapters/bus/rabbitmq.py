"""RabbitMQ: events between processes, each kept by a quorum of the broker's nodes before it counts as sent.

One topic exchange carries all events. Each consuming service has one queue, which its replicas share.
How often an event is tried, its order and its dead letters are the inbox's; the queue of what a service
refuses is for bytes alone that its database cannot keep.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from functools import partial

import aio_pika
from aio_pika.abc import AbstractChannel, AbstractConnection, AbstractExchange, AbstractQueue
from aio_pika.exceptions import DeliveryError

from mercato.adapters.bus.rabbitmq_consumer import RabbitConsumer
from mercato.adapters.bus.rabbitmq_link import (
    CONNECT_DEADLINE_S,
    close,
    connect,
    declare_exchange,
    declare_own_queue,
    declare_queue,
)
from mercato.kernel.errors import Unavailable
from mercato.messaging.bus import BusState, Hear, Message, Receive

log = logging.getLogger(__name__)

CONFIRM_DEADLINE_S = 10.0
STOP_DEADLINE_S = 20.0
_HEARD_MOST = 10_000


class RabbitBus:
    """See messaging.bus.Bus."""

    def __init__(self, url: str, *, name: str, consumers: Mapping[str, frozenset[str]] | None = None) -> None:
        """`url` is `amqp://USER:PASSWORD@HOST:PORT/VHOST` or `amqps://`; `name` is what operators see.

        `consumers` are those of other processes, with their families: their queues are made before
        anything is published, so that nothing is lost on a service that has never been started.
        """
        self._url = url
        self._name = name
        self._known = dict(consumers or {})
        self._publisher = _Publisher(url, f"{name} relay", self._known)
        self._consumers: list[RabbitConsumer] = []
        self._running: list[asyncio.Task[None]] = []

    def subscribe(self, consumer: str, families: frozenset[str], receive: Receive) -> None:
        """Deliver every event of these families to `consumer`, whose replicas share them."""
        self._known[consumer] = families
        declare = partial(declare_queue, consumer=consumer, families=families)
        self._consumers.append(RabbitConsumer(self._url, f"{self._name} inbox {consumer}", declare, receive))

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


class _Publisher:
    """The connection that events are published on, opened when it is needed.

    It is apart from those of consumers: a broker that is short of memory stops reading from publishers.
    """

    def __init__(self, url: str, name: str, consumers: Mapping[str, frozenset[str]]) -> None:
        self.unconfirmed = 0
        self.usable = True
        """Whether the last attempt to publish went well."""
        self._url = url
        self._name = name
        self._consumers = consumers
        self._opening = asyncio.Lock()
        self._connection: AbstractConnection | None = None
        self._channel: AbstractChannel | None = None
        self._exchange: AbstractExchange | None = None

    async def publish(self, messages: Sequence[Message]) -> list[int]:
        """Publish all at once, and wait for what the broker says to each."""
        exchange = await self._open()
        sending = [asyncio.create_task(_send(exchange, message)) for message in messages]
        self.unconfirmed += len(sending)
        try:
            await asyncio.wait(sending, timeout=CONFIRM_DEADLINE_S)
        finally:
            self.unconfirmed -= len(sending)
            failures = await self._failures(sending)
        positions = confirmed_in_order(messages, [error is None for error in failures])
        first = next((error for error in failures if error is not None), None)
        self.usable = first is None
        if first is None:
            return positions
        if not positions:
            raise Unavailable("The broker has not confirmed any event.") from first
        log.warning("events not confirmed", extra={"service": self._name, "cause": repr(first)})
        return positions

    async def _failures(self, sending: "list[asyncio.Task[None]]") -> list[BaseException | None]:
        """Return why each has failed, if it has. A connection on which more than that went wrong is left."""
        for task in sending:
            task.cancel()
        failures = [
            TimeoutError("not confirmed in time") if isinstance(outcome, asyncio.CancelledError) else outcome
            for outcome in await asyncio.gather(*sending, return_exceptions=True)
        ]
        if any(error is not None and not isinstance(error, DeliveryError) for error in failures):
            await self.close()
        return failures

    async def _open(self) -> AbstractExchange:
        """Return the exchange, on a connection that is open as far as is known. Raises Unavailable."""
        async with self._opening:
            if self._exchange is not None and self._channel is not None and not self._channel.is_closed:
                return self._exchange
            await self.close()
            try:
                self._connection = await connect(self._url, self._name)
                async with asyncio.timeout(CONNECT_DEADLINE_S):
                    self._channel = await self._connection.channel(publisher_confirms=True)
                    for consumer, families in self._consumers.items():
                        await declare_queue(self._channel, consumer, families)
                    self._exchange = await declare_exchange(self._channel)
            except Exception as error:
                self.usable = False
                await self.close()
                raise Unavailable("The broker cannot be reached.") from error
            return self._exchange

    async def close(self) -> None:
        """Close the connection, if there is one. The next event opens another."""
        connection = self._connection
        self._connection = self._channel = self._exchange = None
        if connection is not None:
            await close(connection)


async def _send(exchange: AbstractExchange, message: Message) -> None:
    """Publish one event; return when it is confirmed. One that no queue is for is confirmed too."""
    await exchange.publish(
        aio_pika.Message(
            message.body,
            content_type="application/cloudevents+json",
            delivery_mode=aio_pika.DeliveryMode.PERSISTENT,
            type=message.type,
        ),
        message.type,
        mandatory=False,
    )


def confirmed_in_order(messages: Sequence[Message], confirmed: Sequence[bool]) -> list[int]:
    """Return the positions that count as sent: none of a key after one that was not confirmed."""
    broken: set[str] = set()
    positions = []
    for message, is_confirmed in zip(messages, confirmed, strict=True):
        if not is_confirmed:
            broken.add(message.key)
        elif message.key not in broken:
            positions.append(message.position)
    return positions


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
