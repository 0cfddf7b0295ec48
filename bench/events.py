"""Events between processes: through RabbitMQ, from one PostgreSQL database to an effect in another.

The relay is this process, the consumer another. Both databases have every commit on disk.
"""

import asyncio
import contextlib
import os
import signal
import statistics
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from typing import NamedTuple

from bench.figures import Figure, Target
from bench.servers import cpu_s
from mercato.adapters.bus.rabbitmq import RabbitBus
from mercato.adapters.sql.database import Tx
from mercato.adapters.sql.schema import Schema
from mercato.adapters.sql.steps import Work
from mercato.contracts.events import Event, Events
from mercato.kernel.cause import BySystem
from tests.pipeline import Sender, Sink
from tests.postgres_server import PostgresServer
from tests.rabbitmq_server import RabbitmqServer
from tests.things import changed
from tests.waiting import until

_DEADLINE_S = 300.0
_AT_ONCE = 50
_CONNECTIONS = 24
"""Of each process to its database; half of them are for what the platform does by itself, such as this."""
_PROBES, _PROBE_EVERY_S = 800, 0.005
_PROBE = "probe-"
_NAME = "bench"


class _Servers(NamedTuple):
    """The servers, and the databases of the sender and the consumer."""

    postgres: PostgresServer
    rabbitmq: RabbitmqServer
    sender: str
    sink: str


def measure_events(count: int) -> list[Figure]:
    """Measure on servers of our own, which are gone afterwards."""
    postgres, rabbitmq = PostgresServer(durable=True), RabbitmqServer()
    try:
        postgres.start()
        rabbitmq.start()
        servers = _Servers(postgres, rabbitmq, *asyncio.run(_databases(postgres)))
        asyncio.run(_prepare(servers, count))
        with _consumer(servers) as (consumer, effects):
            rate, costs = asyncio.run(_rate(servers, consumer, count))
            taken = asyncio.run(_latency(servers, effects))
    finally:
        rabbitmq.stop()
        postgres.stop()
    p99 = statistics.quantiles(taken, n=100)[98]
    told = ", ".join(f"{name} {1e6 * used / count:.0f}" for name, used in costs.items())
    return [
        Figure(
            "events through RabbitMQ, each with an effect",
            rate,
            "/s",
            Target(2_000, at_least=True),
            note=f"{count:,} events of as many keys, a relay and a consumer; µs of CPU each: {told}",
        ),
        Figure(
            "time from an event's commit to its effect, p50",
            statistics.median(taken),
            "ms",
            Target(10, at_least=False),
            note=f"{_PROBES} events, {1 / _PROBE_EVERY_S:.0f}/s; p99 {p99:.1f} ms",
        ),
    ]


async def _databases(postgres: PostgresServer) -> tuple[str, str]:
    own = await postgres.new_database(Schema("orders", "mercato.orders.migrations"))
    return own, await postgres.new_database(Schema("payments", "mercato.payments.migrations"))


@asynccontextmanager
async def _both(servers: _Servers) -> AsyncIterator[tuple[Sender, Sink, RabbitBus]]:
    databases = [servers.postgres.open(name, size=_CONNECTIONS) for name in (servers.sender, servers.sink)]
    bus = RabbitBus(servers.rabbitmq.url, name=_NAME)
    sender = Sender(databases[0], bus)
    sink = Sink(databases[1], bus, _NAME, sender)
    try:
        yield sender, sink, bus
    finally:
        await bus.stop()
        for database in databases:
            await database.close()


async def _prepare(servers: _Servers, count: int) -> None:
    """Make the tables and the queue, and commit the events that will be relayed."""
    async with _both(servers) as (sender, sink, bus):
        await sender.prepare()
        await sink.prepare()
        await bus.start()
        await until(lambda: all(each.connected for each in bus._consumers))  # noqa: SLF001  the queue is there
        for start in range(0, count, _AT_ONCE):
            await sender.steps.run(BySystem(_NAME), _changing(range(start, start + _AT_ONCE)))


def _changing(numbers: range) -> Work[None]:
    async def work(_: Tx) -> tuple[None, Events]:
        return None, tuple(changed(f"thing-{n}", 1) for n in numbers)

    return work


@contextmanager
def _consumer(servers: _Servers) -> Iterator[tuple[int, int]]:
    """Run the consumer in a process of its own; its id, and where it tells when each probe had its effect."""
    ours, its = os.pipe()
    process = os.fork()
    if process == 0:
        try:
            os.close(ours)
            asyncio.run(_consume(servers, its))
        finally:
            os._exit(0)
    os.close(its)
    try:
        yield process, ours
    finally:
        os.kill(process, signal.SIGTERM)
        os.waitpid(process, 0)
        os.close(ours)


async def _consume(servers: _Servers, told: int) -> None:
    stopping = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopping.set)

    def handled(event: Event) -> None:
        if event.subject.startswith(_PROBE):
            os.write(told, f"{event.subject} {time.perf_counter()}\n".encode())

    async with _both(servers) as (_, sink, bus):
        sink.handled = handled
        await bus.start()
        async with sink.sweeping():
            await stopping.wait()


async def _rate(servers: _Servers, consumer: int, count: int) -> tuple[float, dict[str, float]]:
    """Return effects per second, and the CPU in seconds that each of those that take part has used."""
    assert servers.postgres.process is not None
    parts: dict[str, Callable[[], float]] = {
        # This process; the others are its children, which are not to be counted twice.
        "relay": time.process_time,
        "consumer": partial(cpu_s, consumer),
        "RabbitMQ": partial(cpu_s, servers.rabbitmq.pid),
        "PostgreSQL": partial(cpu_s, servers.postgres.process.pid),
    }
    async with _both(servers) as (sender, sink, _):
        before = {name: used() for name, used in parts.items()}
        began = time.perf_counter()

        async def done() -> bool:
            await asyncio.sleep(0.05)
            row = await sink.steps.db.fetch_one("SELECT count(*) FROM effects")
            return row is not None and row[0] >= count

        async with sender.relaying():
            await until(done, within_s=_DEADLINE_S)
            took = time.perf_counter() - began
            return count / took, {name: used() - before[name] for name, used in parts.items()}


async def _latency(servers: _Servers, effects: int) -> list[float]:
    """Return how many milliseconds each took from its commit to the commit of its effect."""
    committed: dict[str, float] = {}
    async with _both(servers) as (sender, _, _), sender.relaying():
        # The relay leads, and its connections are there.
        await until(lambda: sender.relay.leads)
        await sender.change(f"{_PROBE}first")
        changing = []
        for n in range(_PROBES):
            thing = f"{_PROBE}{n}"
            changing.append(asyncio.create_task(sender.change(thing, partial(_note, committed, thing))))
            await asyncio.sleep(_PROBE_EVERY_S)
        await asyncio.gather(*changing)
        effective = await asyncio.wait_for(asyncio.to_thread(_told, effects, set(committed)), _DEADLINE_S)
    return [1000 * (effective[thing] - committed[thing]) for thing in committed]


def _note(moments: dict[str, float], thing: str) -> None:
    moments[thing] = time.perf_counter()


def _told(effects: int, things: set[str]) -> dict[str, float]:
    """Read what the consumer tells until it has told of all these things."""
    moments: dict[str, float] = {}
    with open(effects, closefd=False) as lines:
        while not things <= moments.keys():
            thing, _, at = lines.readline().partition(" ")
            with contextlib.suppress(ValueError):
                moments[thing] = float(at)
    return moments
