"""RabbitMQ in tests: names that no other test uses, and what a queue holds."""

import aio_pika

from mercato.adapters.bus.rabbitmq import RabbitBus
from mercato.adapters.bus.rabbitmq_link import dead_queue_of, queue_of
from mercato.kernel.ids import uuid7


class Names:
    """Names of consumers, whose queues are deleted in the end."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._suffix = uuid7()[-12:]
        self._used: set[str] = set()

    def __call__(self, name: str) -> str:
        """Return the test's own name for a consumer."""
        own = f"{name}-{self._suffix}"
        self._used.add(own)
        return own

    def bus(self) -> RabbitBus:
        """Return the bus of a process of its own."""
        return RabbitBus(self.url, name="test")

    async def delete(self) -> None:
        """Delete the queues of all consumers."""
        async with await aio_pika.connect(self.url) as connection:
            channel = await connection.channel()
            for name in self._used:
                await channel.queue_delete(queue_of(name))
                await channel.queue_delete(dead_queue_of(name))


async def queue_length(url: str, name: str) -> int:
    """Return how many events wait in a queue, those apart that are delivered."""
    async with await aio_pika.connect(url) as connection:
        channel = await connection.channel()
        queue = await channel.declare_queue(name, passive=True)
        return int(queue.declaration_result.message_count or 0)
