"""The publishing side of RabbitMQ: batches, each event confirmed by a quorum of the broker's nodes.

The library publishes one event at a time, each with a task, a lock and a wait for the socket, which is four
times the CPU of writing a batch at once. So a batch is made into frames here, on the library's channel,
which keeps the count of what is confirmed.
"""

import asyncio
import logging
from collections.abc import Iterator, Mapping, Sequence

from aio_pika import DeliveryMode
from aio_pika.abc import AbstractChannel, AbstractConnection
from aio_pika.exceptions import DeliveryError
from aiormq.abc import ChannelFrame
from aiormq.channel import Channel
from pamqp.body import ContentBody
from pamqp.commands import Basic
from pamqp.header import ContentHeader

from mercato.adapters.bus.rabbitmq_link import (
    CONNECT_DEADLINE_S,
    EXCHANGE,
    close,
    connect,
    declare_exchange,
    declare_queue,
)
from mercato.kernel.errors import Unavailable
from mercato.messaging.bus import Message

log = logging.getLogger(__name__)

CONFIRM_DEADLINE_S = 10.0
_WRITTEN_AT_ONCE = 256 * 1024
"""Bytes of events, more or less: they are copied once on their way."""

_Confirmation = asyncio.Future[object]
_Frame = Basic.Publish | ContentHeader | ContentBody


class RabbitPublisher:
    """The connection that events are published on, opened when it is needed.

    It is apart from those of consumers: a broker that is short of memory stops reading from publishers.
    """

    def __init__(self, url: str, name: str, consumers: Mapping[str, frozenset[str]]) -> None:
        """`name` is what operators see of the connection; the queues of `consumers` are declared on it."""
        self.unconfirmed = 0
        self.usable = True
        """Whether the last attempt to publish went well."""
        self._url = url
        self._name = name
        self._consumers = consumers
        self._opening = asyncio.Lock()
        self._connection: AbstractConnection | None = None
        self._channel: AbstractChannel | None = None

    async def publish(self, messages: Sequence[Message]) -> list[int]:
        """Publish all at once, and wait for what the broker says to each."""
        channel = await self._open()
        self.unconfirmed += len(messages)
        try:
            failures = await self._send(channel, messages)
        finally:
            self.unconfirmed -= len(messages)
        positions = confirmed_in_order(messages, [error is None for error in failures])
        first = next((error for error in failures if error is not None), None)
        self.usable = first is None
        if first is None:
            return positions
        if not positions:
            raise Unavailable("The broker has not confirmed any event.") from first
        log.warning("events not confirmed", extra={"service": self._name, "cause": repr(first)})
        return positions

    async def _send(
        self, channel: AbstractChannel, messages: Sequence[Message]
    ) -> list[BaseException | None]:
        """Return why each has failed, if it has. A connection on which more than that went wrong is left."""
        confirmations: list[_Confirmation] = []
        late: Exception = TimeoutError("not confirmed in time")
        try:
            async with asyncio.timeout(CONFIRM_DEADLINE_S):
                underlay = await channel.get_underlay_channel()
                assert isinstance(underlay, Channel)  # noqa: S101  the library has no other
                await _write(underlay, messages, confirmations)
                await asyncio.wait(confirmations)
        except TimeoutError:
            pass
        except Exception as error:  # noqa: BLE001  a broker fails in its library's words
            late = error
        failures = [_failure(each, late) for each in confirmations]
        failures += [late] * (len(messages) - len(confirmations))
        if any(error is not None and not isinstance(error, DeliveryError) for error in failures):
            await self.close()
        return failures

    async def _open(self) -> AbstractChannel:
        """Return a channel on a connection that is open as far as is known. Raises Unavailable."""
        async with self._opening:
            if self._channel is not None and not self._channel.is_closed:
                return self._channel
            await self.close()
            try:
                self._connection = await connect(self._url, self._name)
                async with asyncio.timeout(CONNECT_DEADLINE_S):
                    channel = await self._connection.channel(publisher_confirms=True)
                    for consumer, families in self._consumers.items():
                        await declare_queue(channel, consumer, families)
                    await declare_exchange(channel)
            except Exception as error:
                self.usable = False
                await self.close()
                raise Unavailable("The broker cannot be reached.") from error
            self._channel = channel
            return channel

    async def close(self) -> None:
        """Close the connection, if there is one. The next event opens another."""
        connection = self._connection
        self._connection = self._channel = None
        if connection is not None:
            await close(connection)


async def _write(channel: Channel, messages: Sequence[Message], confirmations: list[_Confirmation]) -> None:
    """Write the events, and add what becomes done as each is confirmed."""
    async with channel.lock:
        frames: list[_Frame] = []
        size = 0
        for message in messages:
            channel.delivery_tag += 1
            confirmation = channel.confirmations[channel.delivery_tag] = channel.create_future()
            confirmations.append(confirmation)
            frames += _frames(message, channel.max_content_size)
            size += len(message.body)
            if size > _WRITTEN_AT_ONCE or message is messages[-1]:
                written = ChannelFrame.marshall(channel.number, frames)
                await channel.write_queue.put(written)
                frames, size = [], 0


def _frames(message: Message, most: int) -> Iterator[_Frame]:
    """Return what is sent of an event. One that no queue is for is confirmed too."""
    yield Basic.Publish(exchange=EXCHANGE, routing_key=message.type)
    yield ContentHeader(
        body_size=len(message.body),
        properties=Basic.Properties(
            content_type="application/cloudevents+json",
            delivery_mode=DeliveryMode.PERSISTENT,
            message_type=message.type,
        ),
    )
    for start in range(0, len(message.body), most):
        yield ContentBody(message.body[start : start + most])


def _failure(confirmation: _Confirmation, late: Exception) -> BaseException | None:
    if not confirmation.done():
        confirmation.cancel()
    return late if confirmation.cancelled() else confirmation.exception()


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
