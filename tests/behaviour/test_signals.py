"""Signals between replicas, through Redis and through its double: caches, lists, stores."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field

import pytest

from mercato.adapters.cache.coherence import UNHEARD_S, Invalidate, coherent
from mercato.adapters.cache.lists import ListCache
from mercato.adapters.cache.memory import MemoryCache
from mercato.adapters.redis.signals import SILENCE_S, RedisSignals
from mercato.adapters.signals.port import Signals
from tests.engines import need
from tests.redis_server import RedisServer
from tests.replicas import Hub, carried, linked
from tests.waiting import until


@dataclass
class Pair:
    """Two replicas, and how the way between them is broken and mended."""

    one: Signals
    other: Signals
    sever: Callable[[], Awaitable[None]]
    mend: Callable[[], Awaitable[None]]
    begin: Callable[[], Awaitable[None]]
    """Lets signals flow, after everybody listens."""


@pytest.fixture(params=["double", "redis"])
async def pair(request: pytest.FixtureRequest) -> AsyncIterator[Pair]:
    async def nothing() -> None:
        pass

    if request.param == "double":
        hub = Hub()

        async def sever() -> None:
            hub.set(whole=False)

        async def mend() -> None:
            hub.set(whole=True)

        yield Pair(hub.join(), hub.join(), sever, mend, nothing)
        return
    need("redis")
    server = RedisServer()
    server.start()
    async with AsyncExitStack() as stack:
        stack.callback(server.stop)
        links = [await stack.enter_async_context(linked(server.url, "m")) for _ in range(2)]
        signals = [RedisSignals(link) for link in links]

        async def begin() -> None:
            await stack.enter_async_context(carried(links[0], *signals))

        async def kill() -> None:
            server.kill()
            await until(lambda: not any(each.hearing for each in signals))

        async def serve() -> None:
            server.serve()
            await until(lambda: all(each.hearing for each in signals) and all(link.up for link in links))

        yield Pair(signals[0], signals[1], kill, serve, begin)


@dataclass
class Ear:
    """Notes what is heard."""

    heard: list[list[str]] = field(default_factory=list)
    gaps: list[bool] = field(default_factory=list)

    def listen(self, signals: Signals, topic: str) -> None:
        signals.listen(topic, lambda words: self.heard.append(list(words)), self.gaps.append)


async def test_the_others_hear_what_one_tells_and_it_does_not(pair: Pair) -> None:
    own, other, elsewhere = Ear(), Ear(), Ear()
    own.listen(pair.one, "products")
    other.listen(pair.other, "products")
    elsewhere.listen(pair.other, "orders")
    await pair.begin()
    pair.one.tell("products", "shop", 'a:b\n,"é')
    pair.one.tell("products", "shop", "2")
    await until(lambda: len(other.heard) == 2)
    assert other.heard == [["shop", 'a:b\n,"é'], ["shop", "2"]]
    assert own.heard == elsewhere.heard == []


async def test_a_break_and_its_end_are_known_on_both_sides(pair: Pair) -> None:
    ears = [Ear(), Ear()]
    for ear, signals in zip(ears, (pair.one, pair.other), strict=True):
        ear.listen(signals, "products")
    await pair.begin()
    for ear in ears:
        ear.gaps.clear()
    await pair.sever()
    await until(lambda: [ear.gaps for ear in ears] == [[False], [False]])
    pair.one.tell("products", "shop", "1")
    await pair.mend()
    await until(lambda: [ear.gaps for ear in ears] == [[False, True]] * 2)


@dataclass
class Replica:
    """The caches of a replica, over one truth."""

    signals: Signals
    truth: dict[str, bytes]
    cache: MemoryCache = field(
        default_factory=lambda: MemoryCache(ttl_s=300, max_entries=100, max_bytes=1 << 20)
    )
    loads: int = 0
    changed: Invalidate = field(init=False)
    lists: ListCache = field(init=False)

    def __post_init__(self) -> None:
        self.lists = ListCache(MemoryCache(ttl_s=300, max_entries=100, max_bytes=1 << 20))

        def invalidate(tenant: str, name: str) -> None:
            self.cache.invalidate((tenant, name))
            self.lists.invalidate(tenant)

        self.changed = coherent("products", self.signals, invalidate, self.cache, self.lists)

    async def _load(self) -> bytes:
        self.loads += 1
        await asyncio.sleep(0)
        return self.truth["p"]

    async def read(self) -> bytes:
        return self.cache.get(("shop", "p")) or await self.cache.load(("shop", "p"), self._load)

    async def list(self) -> bytes:
        return self.lists.get("shop", "q") or await self.lists.load("shop", "q", self._load)

    def write(self, value: bytes) -> None:
        self.truth["p"] = value
        self.changed("shop", "p")


@pytest.fixture
async def replicas(pair: Pair) -> tuple[Replica, Replica]:
    truth = {"p": b"1"}
    made = Replica(pair.one, truth), Replica(pair.other, truth)
    await pair.begin()
    return made


async def test_a_change_reaches_the_other_replicas_and_is_seen_here_at_once(
    replicas: tuple[Replica, Replica],
) -> None:
    one, other = replicas
    assert [await one.read(), await other.read(), await one.list(), await other.list()] == [b"1"] * 4
    took = []
    for value in (b"2", b"3", b"4"):
        one.write(value)
        assert [await one.read(), await one.list()] == [value] * 2
        took.append(await until(lambda: other.cache.get(("shop", "p")) is None))
        assert [await other.read(), await other.list()] == [value] * 2
        loads = other.loads
        assert [await other.read(), await other.list()] == [value] * 2
        assert other.loads == loads
    # The machine may stand still at any one of them.
    assert min(took) < 0.5


async def test_what_was_being_loaded_as_another_changed_it_is_not_kept(
    replicas: tuple[Replica, Replica], pair: Pair
) -> None:
    one, other = replicas
    go_on, ear, begun = asyncio.Event(), Ear(), list[bytes]()
    ear.listen(pair.other, "products")

    async def slow() -> bytes:
        begun.append(one.truth["p"])
        await go_on.wait()
        return begun[0]

    loading = asyncio.create_task(other.cache.load(("shop", "p"), slow))
    listing = asyncio.create_task(other.lists.load("shop", "q", slow))
    await until(lambda: len(begun) == 2)
    one.write(b"2")
    await until(lambda: bool(ear.heard))
    go_on.set()
    assert [await loading, await listing] == [b"1"] * 2
    assert [await other.read(), await other.list()] == [b"2"] * 2


async def test_nothing_old_is_served_beyond_a_second_while_others_are_not_heard(
    replicas: tuple[Replica, Replica], pair: Pair
) -> None:
    one, other = replicas
    assert [await other.read(), await other.list()] == [b"1"] * 2
    await pair.sever()
    one.write(b"2")
    # What was kept before is gone with the way to the others.
    assert [await other.read(), await other.list()] == [b"2"] * 2
    assert other.cache._entries["shop", "p"][1] - time.monotonic() <= UNHEARD_S
    one.write(b"3")
    await until(lambda: other.cache.get(("shop", "p")) is None)
    assert await other.read() == b"3"
    one.write(b"4")
    await pair.mend()
    assert [await other.read(), await other.list()] == [b"4"] * 2
    assert other.cache._ttl_s == 300


async def _hearing(server: RedisServer, count: int, stack: AsyncExitStack) -> list[RedisSignals]:
    link = await stack.enter_async_context(linked(server.url, "m"))
    return [RedisSignals(link, max_waiting=10) for _ in range(count)]


async def test_what_is_too_much_to_tell_is_told_as_everything(own_redis: RedisServer) -> None:
    async with AsyncExitStack() as stack:
        one, other = await _hearing(own_redis, 2, stack)
        ear = Ear()
        ear.listen(other, "products")
        await stack.enter_async_context(carried(one._link, one, other))
        ear.gaps.clear()
        for number in range(25):
            one.tell("products", "shop", str(number))
        assert len(one._waiting) <= 10
        await until(lambda: bool(ear.gaps))
        assert ear.gaps == [True]
        # From then on it goes on as before.
        one.tell("products", "shop", "next")
        await until(lambda: ["shop", "next"] in ear.heard)


async def test_what_was_told_while_redis_was_away_is_heard_when_it_is_back(own_redis: RedisServer) -> None:
    async with AsyncExitStack() as stack:
        (one,), (other,) = [await _hearing(own_redis, 1, stack) for _ in range(2)]
        ear = Ear()
        ear.listen(other, "products")
        await stack.enter_async_context(carried(one._link, one, other))
        own_redis.kill()
        one.tell("products", "shop", "1")
        await until(lambda: not other.hearing)
        own_redis.serve()
        await until(lambda: other.hearing and not one._waiting)
        await until(lambda: bool(ear.heard) or ear.gaps[-1])


async def test_a_redis_that_hangs_is_noticed_within_a_second(own_redis: RedisServer) -> None:
    async with AsyncExitStack() as stack:
        (one,) = await _hearing(own_redis, 1, stack)
        ear = Ear()
        ear.listen(one, "products")
        await stack.enter_async_context(carried(one._link, one))
        took = []
        # The machine may stand still during any one of them.
        for _ in range(3):
            ear.gaps.clear()
            own_redis.freeze()
            try:
                took.append(await until(lambda: ear.gaps == [False]))
            finally:
                own_redis.thaw()
            await until(lambda: one.hearing)
        assert min(took) <= SILENCE_S + 0.6


async def test_a_channel_that_was_cut_is_known_to_have_a_gap(own_redis: RedisServer) -> None:
    async with AsyncExitStack() as stack:
        (one,) = await _hearing(own_redis, 1, stack)
        ear = Ear()
        ear.listen(one, "products")
        await stack.enter_async_context(carried(one._link, one))
        for _ in range(3):
            ear.gaps.clear()
            own_redis.command("CLIENT", "KILL", "TYPE", "pubsub")
            await until(lambda: one.hearing and bool(ear.gaps))


async def test_what_nobody_understands_counts_as_a_gap(own_redis: RedisServer) -> None:
    async with AsyncExitStack() as stack:
        (one,) = await _hearing(own_redis, 1, stack)
        ear = Ear()
        ear.listen(one, "products")
        one.listen("products", lambda words: ear.heard.append([words[1]]), lambda _: None)
        await stack.enter_async_context(carried(one._link, one))
        ear.gaps.clear()
        for words in (b"nonsense", b"{}", b'["x",[[]]]', b'["x",[["products"]]]', b"\xff"):
            await one._link.client.publish(one.channel, words)
        await until(lambda: ear.gaps == [True] * 5)
        assert one.hearing


async def test_signals_flow_once_redis_comes_though_it_was_away_at_the_start(own_redis: RedisServer) -> None:
    own_redis.kill()
    async with AsyncExitStack() as stack:
        one, other = await _hearing(own_redis, 2, stack)
        ear = Ear()
        ear.listen(other, "products")
        await stack.enter_async_context(carried(one._link, one, other))
        one.tell("products", "shop", "1")
        await until(lambda: bool(ear.gaps))
        assert ear.gaps == [False]
        own_redis.serve()
        await until(lambda: ear.gaps[-1])
        one.tell("products", "shop", "2")
        await until(lambda: ["shop", "2"] in ear.heard)
