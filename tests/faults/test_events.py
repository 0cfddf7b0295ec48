"""Events between processes: whatever is killed or frozen, each has its effect once and in order."""

import asyncio
import os
import random
import signal
import statistics
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from mercato.adapters.bus.rabbitmq import RabbitBus
from mercato.adapters.sql.postgres import PostgresDatabase
from mercato.adapters.sql.postgres_replicas import LEASE_S
from mercato.kernel.cause import BySystem
from mercato.messaging.inbox import ParkedState
from mercato.messaging.relay import LEAD_EVERY_S
from tests import postgres_server, rabbitmq_server
from tests.brokers import Names
from tests.conftest import OpenDatabase
from tests.engines import POSTGRES, need
from tests.faults.killed_sender import POINTS, THINGS
from tests.pipeline import Sender, Sink
from tests.waiting import until

pytestmark = POSTGRES

RUNS = int(os.environ.get("OUTBOX_KILLS", "20"))
"""How often the sender is killed at each point."""
BROKER_KILLS = int(os.environ.get("BROKER_KILLS", "3"))
HANDOVER_S = 2.0


@dataclass
class World:
    """A sender's and a consumer's database, and a bus between them."""

    names: Names
    broker_url: str
    database: PostgresDatabase
    sender: Sender
    sink: Sink
    bus: RabbitBus
    stack: AsyncExitStack

    async def process(self, point: str, runs: float) -> Process:
        """Start the sender in a process of its own."""
        server = postgres_server.shared()
        urls = (server.url(self.database.name, role) for role in ("mercato_app", "mercato_system"))
        return await asyncio.create_subprocess_exec(
            sys.executable,
            *("-m", "tests.faults.killed_sender", *urls, self.broker_url, point, str(runs)),
            cwd=Path(__file__).parents[2],
            stdout=PIPE,
        )

    async def replica(self, lease_s: float = LEASE_S) -> Process:
        """Start a process that relays, and wait until it tries to."""
        process = await self.process("replica", lease_s)
        self.stack.push_async_callback(_end, process)
        assert process.stdout is not None
        assert await process.stdout.readline() == b"relaying\n"
        return process

    @asynccontextmanager
    async def consuming(self) -> AsyncIterator[None]:
        """Consume for a while, here; once this is entered, the queue is there."""
        await self.bus.start()
        try:
            async with self.sink.sweeping():
                await until(lambda: all(each.connected for each in self.bus._consumers))
                yield
        finally:
            await self.bus.stop()


async def _end(process: Process) -> None:
    if process.returncode is None:
        process.send_signal(signal.SIGCONT)
        process.kill()
    await process.communicate()


@asynccontextmanager
async def _world(broker_url: str, open_database: OpenDatabase) -> AsyncIterator[World]:
    names = Names(broker_url)
    async with AsyncExitStack() as stack:
        own, others = await open_database("orders"), await open_database("payments")
        assert isinstance(own, PostgresDatabase)
        bus = names.bus()
        sender = Sender(own, names.bus())
        sink = Sink(others, bus, names("sink"), sender)
        await sender.prepare()
        await sink.prepare()
        stack.push_async_callback(names.delete)
        assert isinstance(sender.relay._bus, RabbitBus)
        stack.push_async_callback(sender.relay._bus.stop)
        yield World(names, broker_url, own, sender, sink, bus, stack)


@pytest.fixture
async def world(open_database: OpenDatabase) -> AsyncIterator[World]:
    need("rabbitmq")
    async with _world(rabbitmq_server.shared().url, open_database) as made:
        yield made


@pytest.mark.parametrize("point", POINTS)
async def test_a_sender_killed_at_any_point_loses_and_doubles_nothing(world: World, point: str) -> None:
    async with world.consuming():
        killed = await world.process(point, RUNS)
        told, _ = await killed.communicate()
        assert (killed.returncode, told) == (0, b"")
        async with world.sender.relaying():
            await until(world.sink.has_all, within_s=60)
    changes = await world.sender.changes()
    assert sum(changes.values()) >= RUNS or point == "commit.before"
    await world.sink.assert_each_once_in_order()


@pytest.mark.parametrize("way", ["killed", "frozen"])
async def test_another_replica_relays_within_two_seconds_when_the_leader_is(world: World, way: str) -> None:
    assert LEASE_S + LEAD_EVERY_S < HANDOVER_S
    async with world.consuming():
        leader = await world.replica()
        await _relayed(world)
        await world.replica()
        changing, stopping = asyncio.Event(), asyncio.Event()
        load = asyncio.create_task(_change_until(world.sender, stopping.is_set, changing))
        await changing.wait()
        before = await _usual(world)
        leader.send_signal(signal.SIGKILL if way == "killed" else signal.SIGSTOP)
        taken = await _taken(world)
        # What comes on top is what this machine makes of an event at such a load.
        assert taken < HANDOVER_S + 10 * max(before, await _usual(world))
        if way == "frozen":
            leader.send_signal(signal.SIGCONT)
            await asyncio.sleep(0.5)
        stopping.set()
        await load
        await until(world.sink.has_all, within_s=30)
    await world.sink.assert_each_once_in_order()
    assert await world.sink.store.dead_letters(10) == []


_made = iter(range(1, 1_000_000))


async def _relayed(world: World, within_s: float = 20.0) -> str:
    """Change a thing of its own, and wait until that has its effect elsewhere."""
    thing = f"probe-{next(_made)}"
    await world.sender.change(thing)

    async def has_effect() -> bool:
        row = await world.sink.steps.db.fetch_one("SELECT 1 FROM effects WHERE thing = ?", (thing,))
        return row is not None

    await until(has_effect, within_s=within_s)
    return thing


async def _taken(world: World) -> float:
    """Return how many seconds a change took to have its effect elsewhere."""
    began = asyncio.get_running_loop().time()
    await _relayed(world)
    return asyncio.get_running_loop().time() - began


async def _usual(world: World) -> float:
    """Return how many seconds a change takes while nothing happens."""
    return statistics.median([await _taken(world) for _ in range(5)])


async def _change_until(sender: Sender, stop: Callable[[], bool], changing: asyncio.Event) -> None:
    while not stop():
        await asyncio.gather(*(sender.change(thing) for thing in THINGS))
        changing.set()
        # What the bus misses while it is away has to be made up for.
        await asyncio.sleep(0.02)


async def test_a_clean_stop_of_the_leader_hands_over_at_once(world: World) -> None:
    async with world.consuming():
        # Longer than anybody here waits: it is given up, or nobody else leads.
        leader = await world.replica(lease_s=600.0)
        await _relayed(world)
        await world.replica()
        leader.send_signal(signal.SIGTERM)
        assert await leader.wait() == 0
        await _relayed(world)
    await world.sink.assert_each_once_in_order()


async def test_one_bad_event_in_a_thousand_is_a_dead_letter_and_can_be_replayed(world: World) -> None:
    world.sink.fails = lambda event: event.subject == "t-500"
    async with world.consuming(), world.sender.relaying():
        for start in range(0, 1000, 50):
            await asyncio.gather(*(world.sender.change(f"t-{n}") for n in range(start, start + 50)))

        async def given_up() -> bool:
            counts = await world.sink.store.counts(1_000)
            return counts[ParkedState.DEAD] == 1 and len(await world.sink.effects()) == 999

        await until(given_up, within_s=60)
        (dead,) = await world.sink.store.dead_letters(10)
        assert dead.key.endswith("t-500")
        assert dead.reason == "LookupError: it cannot be handled"
        world.sink.fails = lambda _: False
        await world.sink.store.replay(dead.event_id, world.sink.steps._clock(), by=BySystem("operator"))
        await until(world.sink.has_all)
    await world.sink.assert_each_once_in_order()


async def test_a_broker_killed_again_and_again_loses_and_doubles_nothing(open_database: OpenDatabase) -> None:
    need("rabbitmq")
    server = rabbitmq_server.RabbitmqServer()
    await asyncio.to_thread(server.start)
    try:
        async with _world(server.url, open_database) as world, world.consuming(), world.sender.relaying():
            stopping, changing = asyncio.Event(), asyncio.Event()
            load = asyncio.create_task(_change_until(world.sender, stopping.is_set, changing))
            for _ in range(BROKER_KILLS):
                # RabbitMQ 3.10 loses a queue that was declared just before.
                await until(server.has_saved_queues)
                await asyncio.sleep(random.uniform(0.1, 0.5))
                await asyncio.to_thread(server.kill)
                await asyncio.to_thread(server.serve)
                await _relayed(world, within_s=60)
            stopping.set()
            await load
            await until(world.sink.has_all, within_s=60)
            await world.sink.assert_each_once_in_order()
            assert sum((await world.sender.changes()).values()) > 10 * BROKER_KILLS
    finally:
        await asyncio.to_thread(server.stop)


async def test_a_frozen_broker_is_left_alone_and_joined_again(open_database: OpenDatabase) -> None:
    need("rabbitmq")
    server = rabbitmq_server.RabbitmqServer()
    await asyncio.to_thread(server.start)
    try:
        async with _world(server.url, open_database) as world, world.consuming(), world.sender.relaying():
            await _relayed(world)
            server.signal(signal.SIGSTOP)
            await world.sender.change("a")
            publisher = world.sender.relay._bus
            assert isinstance(publisher, RabbitBus)
            await until(lambda: not publisher.state().connected, within_s=20)
            server.signal(signal.SIGCONT)
            await until(world.sink.has_all, within_s=40)
            await world.sink.assert_each_once_in_order()
    finally:
        await asyncio.to_thread(server.stop)
