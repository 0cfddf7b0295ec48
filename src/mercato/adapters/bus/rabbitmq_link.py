"""What both sides of RabbitMQ share: connections, names, and how exchange and queues are declared."""

import asyncio
import logging
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from urllib.parse import parse_qs, urlsplit

import aio_pika
from aio_pika.abc import AbstractChannel, AbstractConnection, AbstractExchange, AbstractQueue
from aio_pika.connection import make_url

# Whatever goes wrong is told here, with its cause; the libraries would tell each of it once more.
for library in ("aio_pika", "aiormq"):
    logging.getLogger(library).setLevel(logging.CRITICAL)

EXCHANGE = "mercato.events"
CONNECT_DEADLINE_S = 10.0
"""For a connection, and for what is declared on it."""
CLOSE_DEADLINE_S = 3.0
HEARTBEAT_S = 10
_PAUSE_FIRST_S, _PAUSE_MOST_S = 0.05, 5.0
# Bounds nothing in practice: being delivered again is no fault of an event, such as when the
# consumer's database is away. Newer brokers would give an event up after 20 deliveries by themselves.
_DELIVERIES = 1_000_000_000


class Pause:
    """How long to wait before the next try: ever longer, with jitter, so that replicas come apart."""

    def __init__(self) -> None:
        self._next = _PAUSE_FIRST_S

    def reset(self) -> None:
        """Begin anew: it works."""
        self._next = _PAUSE_FIRST_S

    def take(self) -> float:
        """Return how many seconds to wait."""
        pause = self._next * random.uniform(0.5, 1.0)  # noqa: S311  spreads load, guards nothing
        self._next = min(self._next * 2, _PAUSE_MOST_S)
        return pause


@asynccontextmanager
async def connection_to(url: str, name: str) -> AsyncIterator[AbstractConnection]:
    """Connect for a while. `name` is what operators see. Raises what the library raises, and TimeoutError."""
    connection = await connect(url, name)
    try:
        yield connection
    finally:
        await close(connection)


async def connect(url: str, name: str) -> AbstractConnection:
    """Connect within the deadline."""
    connection = aio_pika.Connection(make_url(_beating(url)), client_properties={"connection_name": name})
    try:
        async with asyncio.timeout(CONNECT_DEADLINE_S):
            await connection.connect()
    except BaseException:
        # Left to the garbage collector, it would begin to close itself in a loop that may be gone.
        await close(connection)
        raise
    return connection


async def close(connection: AbstractConnection) -> None:
    """Close a connection, whose other side may be gone or frozen."""
    with suppress(Exception):
        async with asyncio.timeout(CLOSE_DEADLINE_S):
            await connection.close()


def _beating(url: str) -> str:
    """Return the URL with a heartbeat that tells within half a minute that the broker is frozen."""
    query = urlsplit(url).query
    if "heartbeat" in parse_qs(query):
        return url
    return f"{url}{'&' if query else '?'}heartbeat={HEARTBEAT_S}"


async def declare_exchange(channel: AbstractChannel) -> AbstractExchange:
    """Declare where all events are published, with their type as the routing key. Idempotent."""
    return await channel.declare_exchange(EXCHANGE, aio_pika.ExchangeType.TOPIC, durable=True)


async def declare_queue(channel: AbstractChannel, consumer: str, families: frozenset[str]) -> AbstractQueue:
    """Declare a service's queue, bound to its families, and the queue of what it refuses. Idempotent.

    Both are replicated. What is refused stays in the first until it is in the second.
    """
    exchange = await declare_exchange(channel)
    dead = dead_queue_of(consumer)
    await channel.declare_queue(dead, durable=True, arguments={"x-queue-type": "quorum"})
    queue = await channel.declare_queue(
        queue_of(consumer),
        durable=True,
        arguments={
            "x-queue-type": "quorum",
            "x-delivery-limit": _DELIVERIES,
            "x-dead-letter-exchange": "",
            "x-dead-letter-routing-key": dead,
            "x-dead-letter-strategy": "at-least-once",
            "x-overflow": "reject-publish",
        },
    )
    await _bind(queue, exchange, families)
    return queue


async def declare_own_queue(channel: AbstractChannel, families: frozenset[str], most: int) -> AbstractQueue:
    """Declare a queue of this process alone, which is gone with it; the oldest of too many are dropped."""
    exchange = await declare_exchange(channel)
    queue = await channel.declare_queue(
        None, exclusive=True, auto_delete=True, arguments={"x-max-length": most}
    )
    await _bind(queue, exchange, families)
    return queue


async def _bind(queue: AbstractQueue, exchange: AbstractExchange, families: frozenset[str]) -> None:
    for family in sorted(families):
        await queue.bind(exchange, f"{family}.#")


def queue_of(consumer: str) -> str:
    """Return the name of a service's queue."""
    return f"mercato.{consumer}"


def dead_queue_of(consumer: str) -> str:
    """Return the name of the queue of what a service refused."""
    return f"mercato.{consumer}.dead"
