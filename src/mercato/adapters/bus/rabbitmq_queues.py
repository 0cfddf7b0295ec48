"""How a service's queues on RabbitMQ stand, for whoever looks after them."""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass

from aio_pika.exceptions import ChannelNotFoundEntity

from mercato.adapters.bus.rabbitmq_link import connection_to, dead_queue_of, queue_of


@dataclass(frozen=True, slots=True)
class Queue:
    """One service's queue."""

    events: int
    """How many wait in it, and are not under way."""
    consumers: int
    refused: int
    """How many its service has refused for good."""


async def queues_of(url: str, consumers: Iterable[str], deadline_s: float) -> dict[str, Queue | None]:
    """Return how each service's queue stands, None for one that is not there. Nothing is made.

    Raises what the library raises, and TimeoutError.
    """
    async with asyncio.timeout(deadline_s), connection_to(url, "doctor") as connection:

        async def standing(name: str) -> tuple[int, int] | None:
            # Asking for a queue that is not there closes the channel.
            async with connection.channel() as channel:
                try:
                    queue = await channel.declare_queue(name, passive=True)
                except ChannelNotFoundEntity:
                    return None
                told = queue.declaration_result
                return told.message_count or 0, told.consumer_count or 0

        found: dict[str, Queue | None] = {}
        for consumer in consumers:
            queue, dead = await standing(queue_of(consumer)), await standing(dead_queue_of(consumer))
            found[consumer] = None if queue is None else Queue(*queue, 0 if dead is None else dead[0])
        return found
