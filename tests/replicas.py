"""Replicas in one process, which share what replicas share: through Redis, or a double of it."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TypeVar

from redis.asyncio import Redis

from mercato.adapters.redis.connection import RedisLink
from mercato.adapters.redis.signals import RedisSignals
from mercato.adapters.signals.port import Gap, Heard
from tests.waiting import until

T = TypeVar("T")

WAIT_S = 10.0


@dataclass
class DoubleSignals:
    """See adapters.signals.port.Signals: one replica on a hub."""

    hub: "Hub"
    listeners: list[tuple[str, Heard, Gap]] = field(default_factory=list)

    def tell(self, topic: str, *words: str) -> None:
        for other in self.hub.replicas:
            if other is not self and self.hub.whole:
                other.hear(topic, words)

    def hear(self, topic: str, words: tuple[str, ...]) -> None:
        for wanted, heard, _ in self.listeners:
            if wanted == topic:
                heard(words)

    def listen(self, topic: str, heard: Heard, gap: Gap) -> None:
        self.listeners.append((topic, heard, gap))


@dataclass
class Hub:
    """Connects replicas in one process, until it is told not to."""

    replicas: list[DoubleSignals] = field(default_factory=list)
    whole: bool = True

    def join(self) -> DoubleSignals:
        self.replicas.append(DoubleSignals(self))
        return self.replicas[-1]

    def set(self, *, whole: bool) -> None:
        self.whole = whole
        for replica in self.replicas:
            for _, _, gap in replica.listeners:
                gap(whole)


class PatientLink(RedisLink):
    """Waits for Redis as long as a test may: for those of what is counted, not of when Redis is away."""

    def __init__(self, url: str, *, prefix: str) -> None:
        super().__init__(url, prefix=prefix)
        # Of a crowd each makes a connection of its own.
        self.client.connection_pool.connection_kwargs["socket_connect_timeout"] = WAIT_S

    async def _ask(self, ask: Callable[[Redis], Awaitable[T]], deadline_s: float) -> T:
        return await super()._ask(ask, max(deadline_s, WAIT_S))


@asynccontextmanager
async def linked(url: str, prefix: str, kind: type[RedisLink] = RedisLink) -> AsyncIterator[RedisLink]:
    """Connect to Redis, and keep looking for it."""
    link = kind(url, prefix=prefix)
    await link.probe()
    watching = asyncio.create_task(link.watch())
    try:
        yield link
    finally:
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)
        await link.close()


@asynccontextmanager
async def carried(link: RedisLink, *signals: RedisSignals) -> AsyncIterator[None]:
    """Carry signals, once those who listen to them are known."""
    tasks = [asyncio.create_task(each.run()) for each in signals]
    try:
        if link.up:
            await until(lambda: all(each.hearing for each in signals))
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
