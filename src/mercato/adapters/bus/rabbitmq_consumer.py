"""One consumer of RabbitMQ: deliveries in batches, acknowledged once they are durable in the inbox.

It lives in sessions. Whatever goes wrong ends one: the connection is closed, by which all that is not
acknowledged goes back to the queue, in its order, and after a pause the next session declares anew what
it needs. So a consumer whose database is away gives its events back, to a replica that can take them,
and comes again ever more slowly.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from functools import partial

from aio_pika.abc import AbstractChannel, AbstractConnection, AbstractQueue
from aiormq.abc import AbstractChannel as Underlay
from aiormq.abc import DeliveredMessage

from mercato.adapters.bus.rabbitmq_link import CONNECT_DEADLINE_S, Pause, connection_to
from mercato.kernel.errors import Unavailable
from mercato.messaging.bus import Receive, Refused

log = logging.getLogger(__name__)

PREFETCH = 512
"""How many events a replica has in hand: what it works on, and as much again on the way."""
BATCH = 256
RECEIVE_DEADLINE_S = 60.0

Declare = Callable[[AbstractChannel], Awaitable[AbstractQueue]]


class SessionEnded(Exception):
    """The broker ended the session."""


class RabbitConsumer:
    """Hands a queue's events to `receive`."""

    def __init__(self, url: str, name: str, declare: Declare, receive: Receive) -> None:
        """`name` is what operators see of the connection."""
        self.connected = False
        self.redelivered = 0
        self._url = url
        self._name = name
        self._declare = declare
        self._receive = receive
        self._connection: AbstractConnection | None = None
        """The session's."""
        self._deliveries: deque[DeliveredMessage] = deque()
        self._in_hand = 0
        self._acknowledged = 0
        """The last delivery of the session that is done with; the broker counts them from one."""
        self._stirred = asyncio.Event()
        self._ended = False
        self._stopping = False
        self._pause = Pause()

    @property
    def unacknowledged(self) -> int:
        """How many events were delivered that are not durable yet."""
        return len(self._deliveries) + self._in_hand

    def stop(self) -> None:
        """Let `run` end after the batch in hand."""
        self._stopping = True
        self._stirred.set()

    async def run(self) -> None:
        """Consume until `stop`, outliving every failure of the broker or the receiver."""
        while not self._stopping:
            try:
                await self._session()
            except Exception as error:  # noqa: BLE001  a broker fails in its library's words
                log.warning(
                    "events cannot be consumed now", extra={"consumer": self._name, "cause": repr(error)}
                )
            finally:
                self.connected, self._connection = False, None
                self._deliveries.clear()
            await self._wait(self._pause.take())

    async def depths(self, queues: Sequence[str]) -> dict[str, int]:
        """Return how many events wait in each of these queues, and are not under way to anybody.

        Raises Unavailable while there is no session, and what the library raises.
        """
        if self._connection is None:
            raise Unavailable("The broker cannot be reached.")
        async with (
            asyncio.timeout(CONNECT_DEADLINE_S),
            # Of its own: asking for a queue that is not there closes the channel.
            self._connection.channel(publisher_confirms=False) as channel,
        ):
            underlay = await channel.get_underlay_channel()
            told = [await underlay.queue_declare(queue, passive=True) for queue in queues]
        return {queue: each.message_count or 0 for queue, each in zip(queues, told, strict=True)}

    async def _session(self) -> None:
        """Consume until something ends it."""
        self._ended, self._acknowledged = False, 0
        # One of its own: what an earlier session's connection still has to say is not for this one.
        deliveries = self._deliveries = deque()
        async with AsyncExitStack() as open_:
            async with asyncio.timeout(CONNECT_DEADLINE_S):
                connection = await open_.enter_async_context(connection_to(self._url, self._name))
                channel = await connection.channel(publisher_confirms=False)
                channel.close_callbacks.add(self._on_end)
                underlay = await channel.get_underlay_channel()
                # A queue that an operator deletes ends no channel.
                underlay.on_consumer_cancel_callbacks.add(self._on_end)
                await channel.set_qos(PREFETCH)
                queue = await self._declare(channel)
                # Through aio-pika, each delivery would take another task and another object.
                consuming = await underlay.basic_consume(queue.name, partial(self._arrived, deliveries))
            self.connected, self._connection = True, connection
            await self._hand_over_all(underlay)
            async with asyncio.timeout(CONNECT_DEADLINE_S):
                await queue.cancel(consuming.consumer_tag or "")

    async def _arrived(self, deliveries: deque[DeliveredMessage], message: DeliveredMessage) -> None:
        self.redelivered += bool(message.redelivered)
        deliveries.append(message)
        self._stirred.set()

    def _on_end(self, *_: object) -> None:
        self._ended = True
        self._stirred.set()

    async def _hand_over_all(self, channel: Underlay) -> None:
        """Hand over what arrives until `stop`. Raises SessionEnded, and what `receive` raises."""
        while not self._stopping:
            if self._ended:
                raise SessionEnded("the broker ended the session")
            batch = [self._deliveries.popleft() for _ in range(min(BATCH, len(self._deliveries)))]
            if not batch:
                self._stirred.clear()
                await self._stirred.wait()
                continue
            self._in_hand = len(batch)
            try:
                await self._hand_over(channel, batch)
            finally:
                self._in_hand = 0
            self._pause.reset()

    async def _hand_over(self, channel: Underlay, batch: list[DeliveredMessage]) -> None:
        last = self._acknowledged + len(batch)
        if [message.delivery_tag for message in batch] != list(range(self._acknowledged + 1, last + 1)):
            # One acknowledgement stands for all up to it: none may still be on its way here.
            raise SessionEnded("deliveries came out of turn")
        refused: tuple[bytes, ...] = ()
        try:
            async with asyncio.timeout(RECEIVE_DEADLINE_S):
                await self._receive([message.body for message in batch])
        except Refused as error:
            log.error(  # noqa: TRY400  it is an event's defect, not ours
                "event refused for good", extra={"consumer": self._name, "cause": str(error)}
            )
            refused = error.bodies
        if refused:
            for tag, message in enumerate(batch, self._acknowledged + 1):
                if message.body in refused:
                    await channel.basic_reject(tag, requeue=False)
                else:
                    await channel.basic_ack(tag)
        else:
            await channel.basic_ack(last, multiple=True)
        self._acknowledged = last

    async def _wait(self, seconds: float) -> None:
        """Wait, unless it is to stop."""
        if self._stopping:
            return
        self._stirred.clear()
        try:
            async with asyncio.timeout(seconds):
                while not self._stopping:
                    await self._stirred.wait()
                    self._stirred.clear()
        except TimeoutError:
            return
