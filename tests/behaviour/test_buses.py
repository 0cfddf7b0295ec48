"""The bus: what is published reaches every consumer at least once, whatever carries it."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from functools import partial

import pytest

from mercato.adapters.bus.inprocess import InProcessBus
from mercato.adapters.bus.rabbitmq import RabbitBus
from mercato.adapters.bus.rabbitmq_consumer import PREFETCH
from mercato.adapters.bus.rabbitmq_link import dead_queue_of, queue_of
from mercato.adapters.bus.rabbitmq_publisher import confirmed_in_order
from mercato.kernel.errors import Unavailable
from mercato.messaging.bus import Bus, Message, Receive, Refused
from tests import rabbitmq_server
from tests.brokers import Names, queue_length
from tests.engines import need
from tests.waiting import until

THINGS = frozenset({"thing"})


@dataclass
class Reader:
    """A consumer that notes what it takes, and refuses when told to."""

    taken: list[bytes] = field(default_factory=list)
    fail: Callable[[Sequence[bytes]], None] = lambda _: None
    batches: list[int] = field(default_factory=list)

    async def receive(self, bodies: Sequence[bytes]) -> None:
        """Take the events, unless told to fail."""
        self.fail(bodies)
        self.batches.append(len(bodies))
        self.taken += bodies

    async def until(self, count: int) -> None:
        """Wait until it has taken that many."""
        await until(lambda: len(self.taken) >= count)


@dataclass
class World:
    """Buses of one broker, and names of consumers that no other test uses."""

    kind: str
    names: Names
    stack: AsyncExitStack
    bus: Bus

    def another(self) -> Bus:
        """Return the bus of another process."""
        return self.bus if self.kind == "inprocess" else self.names.bus()

    async def start(self, *buses: Bus) -> None:
        """Start buses, which are stopped when the test ends, and wait until they consume."""
        for bus in buses:
            await bus.start()
            self.stack.push_async_callback(bus.stop)
        await until(lambda: all(bus.state().connected for bus in buses))


@asynccontextmanager
async def _world(kind: str) -> AsyncIterator[World]:
    names = Names(rabbitmq_server.shared().url if kind == "rabbitmq" else "")
    async with AsyncExitStack() as stack:
        bus: Bus = names.bus() if kind == "rabbitmq" else InProcessBus()
        if kind == "rabbitmq":
            stack.push_async_callback(names.delete)
        yield World(kind, names, stack, bus)


@pytest.fixture(params=["inprocess", "rabbitmq"])
async def world(request: pytest.FixtureRequest) -> AsyncIterator[World]:
    if request.param == "rabbitmq":
        need("rabbitmq")
    async with _world(request.param) as made:
        yield made


@pytest.fixture
async def rabbit() -> AsyncIterator[World]:
    need("rabbitmq")
    async with _world("rabbitmq") as made:
        yield made


def message(n: int, key: str = "k", kind: str = "thing.changed") -> Message:
    return Message(n, kind, f"{key}:{n}".encode(), key)


async def publish_all(bus: Bus, messages: Sequence[Message]) -> None:
    """Publish as a relay does: until each is confirmed, in order."""
    left = list(messages)
    async with asyncio.timeout(30):
        while left:
            try:
                confirmed = set(await bus.publish(left))
            except (Unavailable, LookupError):
                await asyncio.sleep(0.01)
                continue
            left = [each for each in left if each.position not in confirmed]


async def test_every_consumer_gets_the_events_of_its_families_in_the_order_published(world: World) -> None:
    one, two = Reader(), Reader()
    world.bus.subscribe(world.names("one"), THINGS | {"other"}, one.receive)
    world.bus.subscribe(world.names("two"), THINGS, two.receive)
    await world.start(world.bus)
    sent = [message(n, key=f"k{n % 7}") for n in range(1, 601)]
    sent += [message(601, kind="other.changed"), message(602, kind="nobodys.changed")]
    for start in range(0, len(sent), 256):
        batch = sent[start : start + 256]
        assert await world.bus.publish(batch) == [each.position for each in batch]
    await one.until(601)
    await two.until(600)
    assert one.taken == [each.body for each in sent[:601]]
    assert two.taken == [each.body for each in sent[:600]]


async def test_an_event_that_nobody_consumes_is_taken_over_all_the_same(world: World) -> None:
    await world.start(world.bus)
    assert await world.bus.publish([message(1, kind="nobodys.changed")]) == [1]


async def test_what_a_consumer_could_not_keep_comes_again(world: World) -> None:
    reader, failures = Reader(), [Unavailable("away"), LookupError("a defect"), Unavailable("away")]

    def fail(_: Sequence[bytes]) -> None:
        if failures:
            raise failures.pop()

    reader.fail = fail
    world.bus.subscribe(world.names("one"), THINGS, reader.receive)
    await world.start(world.bus)
    sent = [message(n) for n in range(1, 31)]
    await publish_all(world.bus, sent)
    await reader.until(30)
    assert reader.taken == [each.body for each in sent]
    assert failures == []


async def test_a_consumer_that_fails_holds_up_no_other(world: World) -> None:
    bad, good = Reader(), Reader()
    refusing = True

    def fail(_: Sequence[bytes]) -> None:
        if refusing:
            raise Unavailable("away")

    bad.fail = fail
    world.bus.subscribe(world.names("bad"), THINGS, bad.receive)
    world.bus.subscribe(world.names("good"), THINGS, good.receive)
    await world.start(world.bus)
    publishing = asyncio.create_task(publish_all(world.bus, [message(n) for n in range(1, 11)]))
    await until(lambda: set(good.taken) >= {f"k:{n}".encode() for n in range(1, 11)})
    assert bad.taken == []
    refusing = False
    await publishing
    await bad.until(10)
    assert bad.taken == [f"k:{n}".encode() for n in range(1, 11)]


async def test_what_is_heard_is_heard_by_each_process_and_never_held_up(world: World) -> None:
    heard: list[tuple[str, bytes]] = []
    missed: list[str] = []

    async def hear(bodies: Sequence[bytes], name: str) -> None:
        heard.extend((name, body) for body in bodies)
        raise LookupError("a defect")

    other = world.another()
    for bus, name in ((world.bus, "a"), (other, "b")):
        bus.listen(THINGS, partial(hear, name=name), partial(missed.append, name))
    await world.start(world.bus, other)
    await world.bus.publish([message(1), message(2, kind="other.changed")])
    await until(lambda: len(heard) == 2)
    assert sorted(heard) == [("a", b"k:1"), ("b", b"k:1")]
    assert sorted(missed) == (["a", "b"] if world.kind == "rabbitmq" else [])


async def test_stopping_lets_the_batch_in_hand_end(world: World) -> None:
    going_on, taken = asyncio.Event(), asyncio.Event()
    reader = Reader()

    async def slowly(bodies: Sequence[bytes]) -> None:
        taken.set()
        await going_on.wait()
        await reader.receive(bodies)

    world.bus.subscribe(world.names("slow"), THINGS, slowly)
    await world.start(world.bus)
    publishing = asyncio.create_task(world.bus.publish([message(1)]))
    await taken.wait()
    stopping = asyncio.create_task(world.bus.stop())
    going_on.set()
    await stopping
    assert reader.taken == [b"k:1"]
    assert await publishing == [1]
    if world.kind == "rabbitmq":
        assert await queue_length(world.names.url, queue_of(world.names("slow"))) == 0


async def test_replicas_of_a_consumer_share_its_events(rabbit: World) -> None:
    other = rabbit.another()
    readers = [Reader(), Reader()]
    for bus, reader in zip((rabbit.bus, other), readers, strict=True):
        bus.subscribe(rabbit.names("shared"), THINGS, reader.receive)
    await rabbit.start(rabbit.bus, other)
    sent = [message(n) for n in range(1, 2001)]
    await publish_all(rabbit.bus, sent)
    await until(lambda: sum(len(reader.taken) for reader in readers) >= len(sent))
    assert all(reader.taken for reader in readers)
    assert Counter(body for reader in readers for body in reader.taken) == Counter(each.body for each in sent)


async def test_what_a_replica_has_in_hand_when_it_dies_goes_to_another(rabbit: World) -> None:
    other = rabbit.another()
    came, taking = asyncio.Event(), Reader()

    async def hang(_: Sequence[bytes]) -> None:
        came.set()
        await asyncio.Event().wait()

    other.subscribe(rabbit.names("shared"), THINGS, hang)
    await rabbit.start(other)
    await publish_all(rabbit.bus, [message(n) for n in range(1, 11)])
    await came.wait()
    rabbit.bus.subscribe(rabbit.names("shared"), THINGS, taking.receive)
    await rabbit.start(rabbit.bus)
    assert isinstance(other, RabbitBus)
    for task in other._running:
        task.cancel()
    await taking.until(10)
    assert taking.taken == [f"k:{n}".encode() for n in range(1, 11)]
    assert rabbit.bus.state().redelivered > 0


async def test_bytes_that_can_never_be_kept_are_put_aside_and_the_others_go_on(rabbit: World) -> None:
    reader = Reader()

    async def receive(bodies: Sequence[bytes]) -> None:
        bad = [body for body in bodies if body == b"k:500"]
        await reader.receive([body for body in bodies if body not in bad])
        if bad:
            raise Refused(bad, "it holds what no column can")

    name = rabbit.names("picky")
    rabbit.bus.subscribe(name, THINGS, receive)
    await rabbit.start(rabbit.bus)
    await publish_all(rabbit.bus, [message(n) for n in range(1, 1001)])
    await reader.until(999)
    assert len(reader.taken) == 999

    async def put_aside() -> bool:
        return await queue_length(rabbit.names.url, dead_queue_of(name)) == 1

    await until(put_aside)
    await rabbit.bus.stop()
    assert await queue_length(rabbit.names.url, queue_of(name)) == 0


async def test_a_consumer_without_its_database_asks_ever_more_slowly(
    rabbit: World, caplog: pytest.LogCaptureFixture
) -> None:
    reader, tries = Reader(), 0

    def fail(_: Sequence[bytes]) -> None:
        nonlocal tries
        tries += 1
        raise Unavailable("away")

    reader.fail = fail
    rabbit.bus.subscribe(rabbit.names("away"), THINGS, reader.receive)
    await rabbit.start(rabbit.bus)
    await publish_all(rabbit.bus, [message(1)])
    began = asyncio.get_running_loop().time()
    await until(lambda: tries >= 5)
    # At least half of 50, 100, 200 and 400 ms.
    assert asyncio.get_running_loop().time() - began > 0.3
    reader.fail = lambda _: None
    await until(lambda: reader.taken == [b"k:1"])
    told = {record.message for record in caplog.records if record.name.startswith("mercato.")}
    assert told == {"events cannot be consumed now"}


async def test_a_queue_that_is_deleted_is_made_anew(rabbit: World) -> None:
    reader = Reader()
    name = rabbit.names("deleted")
    rabbit.bus.subscribe(name, THINGS, reader.receive)
    await rabbit.start(rabbit.bus)
    # RabbitMQ 3.10 mixes up a queue that is deleted within the moment in which it was made.
    await publish_all(rabbit.bus, [message(1)])
    await reader.until(1)
    await rabbit.names.delete()
    async with asyncio.timeout(30):
        n = 1
        while len(reader.taken) < 2:
            n += 1
            await publish_all(rabbit.bus, [message(n)])
            await asyncio.sleep(0.05)


async def test_events_wait_for_a_consumer_that_has_never_been_started(rabbit: World) -> None:
    name = rabbit.names("later")
    sender = RabbitBus(rabbit.names.url, name="test", consumers={name: THINGS})
    await publish_all(sender, [message(n) for n in range(1, 11)])
    await sender.stop()
    reader = Reader()
    rabbit.bus.subscribe(name, THINGS, reader.receive)
    await rabbit.start(rabbit.bus)
    await reader.until(10)
    assert reader.taken == [f"k:{n}".encode() for n in range(1, 11)]


def test_of_a_key_nothing_counts_as_sent_after_what_was_not_confirmed() -> None:
    sent = [message(1, "a"), message(2, "b"), message(3, "a"), message(4, "b"), message(5, "c")]
    assert confirmed_in_order(sent, [True, False, True, True, True]) == [1, 3, 5]
    assert confirmed_in_order(sent, [False] * 5) == []


async def test_without_a_broker_nothing_is_confirmed_and_it_is_said_so(
    caplog: pytest.LogCaptureFixture,
) -> None:
    bus = RabbitBus("amqp://guest:secret-word@127.0.0.1:9/", name="test")
    reader = Reader()
    receive: Receive = reader.receive
    bus.subscribe("nobody", THINGS, receive)
    await bus.start()
    with pytest.raises(Unavailable):
        await bus.publish([message(1)])
    await until(lambda: bool(caplog.records))
    assert not bus.state().connected
    await bus.stop()
    assert "secret-word" not in caplog.text


async def test_the_bus_tells_how_much_waits_in_its_queues(rabbit: World) -> None:
    name, going_on = rabbit.names("slow"), asyncio.Event()

    async def receive(bodies: Sequence[bytes]) -> None:
        if b"k:0" in bodies:
            raise Refused([b"k:0"], "too much")
        await going_on.wait()

    rabbit.bus.subscribe(name, THINGS, receive)
    with pytest.raises(Unavailable):
        await rabbit.bus.depths()
    await rabbit.start(rabbit.bus)
    own, dead = queue_of(name), dead_queue_of(name)
    assert await rabbit.bus.depths() == {own: 0, dead: 0}
    await publish_all(rabbit.bus, [message(0)])
    await eventually(rabbit.bus.depths, {own: 0, dead: 1})
    await publish_all(rabbit.bus, [message(n) for n in range(1, PREFETCH + 51)])
    # What is delivered waits no more in the queue.
    await eventually(rabbit.bus.depths, {own: 50, dead: 1})
    going_on.set()
    await eventually(rabbit.bus.depths, {own: 0, dead: 1})


async def eventually(read: Callable[[], Awaitable[Mapping[str, int]]], wanted: Mapping[str, int]) -> None:
    async def holds() -> bool:
        return await read() == wanted

    await until(holds)
