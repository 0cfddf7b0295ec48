"""Events between processes: through RabbitMQ, from one PostgreSQL database to an effect in another.

The relay is this process, the consumer another. Both databases have every commit on disk.
"""

import asyncio
import os
import resource
import signal
import statistics
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

from bench.figures import Figure, Target
from mercato.adapters.bus.rabbitmq import RabbitBus
from mercato.adapters.sql.database import Tx
from mercato.adapters.sql.schema import Schema
from mercato.adapters.sql.steps import Work
from mercato.contracts.events import Event, Events
from mercato.kernel.cause import BySystem
from tests import rabbitmq_server
from tests.pipeline import Sender, Sink
from tests.postgres_server import PostgresServer
from tests.postgres_server import binaries as postgres_binaries
from tests.rabbitmq_server import RabbitmqServer
from tests.things import changed
from tests.waiting import until

_DEADLINE_S = 300.0
_AT_ONCE = 50
_CONNECTIONS = 24
"""Of each process to its database; half of them are for what the platform does by itself, such as this."""
_PROBES, _PROBE_EVERY_S = 200, 0.02
_NAME = "bench"


def possible() -> bool:
    """Say whether this machine has both servers."""
    return postgres_binaries() is not None and rabbitmq_server.binaries() is not None


def measure_events(count: int) -> list[Figure]:
    """Measure on servers of our own, which are gone afterwards."""
    postgres, rabbitmq = PostgresServer(durable=True), RabbitmqServer()
    try:
        postgres.start()
        rabbitmq.start()
        names = asyncio.run(_databases(postgres))
        asyncio.run(_prepare(postgres, rabbitmq, names, count))
        consumer = os.fork()
        if consumer == 0:
            try:
                asyncio.run(_consume(postgres, rabbitmq, names))
            finally:
                os._exit(0)
        try:
            rate = asyncio.run(_rate(postgres, rabbitmq, names, count))
        finally:
            os.kill(consumer, signal.SIGTERM)
            before = resource.getrusage(resource.RUSAGE_CHILDREN)
            os.waitpid(consumer, 0)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        cpu_us = 1e6 * (after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime) / count
        taken = asyncio.run(_latency(postgres, rabbitmq, names))
    finally:
        rabbitmq.stop()
        postgres.stop()
    p99 = statistics.quantiles(taken, n=100)[98]
    return [
        Figure(
            "events through RabbitMQ, each with an effect",
            rate,
            "/s",
            Target(2_000, at_least=True),
            note=f"{count:,} events of as many keys, one relay, one consumer with a transaction for each"
            f" effect; {cpu_us:.0f} µs of the consumer's CPU each",
        ),
        Figure(
            "time from an event's commit to its effect, p50",
            statistics.median(taken),
            "ms",
            Target(10, at_least=False),
            note=f"{_PROBES} events, {1 / _PROBE_EVERY_S:.0f}/s; p99 {p99:.1f} ms",
        ),
    ]


_Names = tuple[str, str]


async def _databases(postgres: PostgresServer) -> _Names:
    own = await postgres.new_database(Schema("orders", "mercato.orders.migrations"))
    return own, await postgres.new_database(Schema("payments", "mercato.payments.migrations"))


@asynccontextmanager
async def _both(
    postgres: PostgresServer, rabbitmq: RabbitmqServer, names: _Names
) -> AsyncIterator[tuple[Sender, Sink, RabbitBus]]:
    databases = [postgres.open(name, size=_CONNECTIONS) for name in names]
    bus = RabbitBus(rabbitmq.url, name=_NAME)
    sender = Sender(databases[0], bus)
    sink = Sink(databases[1], bus, _NAME, sender)
    try:
        yield sender, sink, bus
    finally:
        await bus.stop()
        for database in databases:
            await database.close()


async def _prepare(postgres: PostgresServer, rabbitmq: RabbitmqServer, names: _Names, count: int) -> None:
    """Make the tables and the queue, and commit the events that will be relayed."""
    async with _both(postgres, rabbitmq, names) as (sender, sink, bus):
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


async def _consume(postgres: PostgresServer, rabbitmq: RabbitmqServer, names: _Names) -> None:
    stopping = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopping.set)
    async with _both(postgres, rabbitmq, names) as (_, sink, bus):
        await bus.start()
        async with sink.sweeping():
            await stopping.wait()


async def _rate(postgres: PostgresServer, rabbitmq: RabbitmqServer, names: _Names, count: int) -> float:
    async with _both(postgres, rabbitmq, names) as (sender, sink, _):
        began = time.perf_counter()

        async def done() -> bool:
            await asyncio.sleep(0.05)
            row = await sink.steps.db.fetch_one("SELECT count(*) FROM effects")
            return row is not None and row[0] >= count

        async with sender.relaying():
            await until(done, within_s=_DEADLINE_S)
        return count / (time.perf_counter() - began)


async def _latency(postgres: PostgresServer, rabbitmq: RabbitmqServer, names: _Names) -> list[float]:
    """Return how many milliseconds each took from its commit to the commit of its effect."""
    async with _both(postgres, rabbitmq, names) as (sender, sink, bus):
        taken: list[float] = []
        committed: dict[str, float] = {}

        def handled(event: Event) -> None:
            taken.append(1000 * (time.perf_counter() - committed[event.subject]))

        sink.handled = handled
        await bus.start()
        async with sender.relaying(), sink.sweeping():
            for n in range(_PROBES):
                # Taken just before the commit: it may be relayed before this task goes on.
                thing = f"probe-{n}"
                await sender.change(thing, partial(_note, committed, thing))
                await asyncio.sleep(_PROBE_EVERY_S)
            await until(lambda: len(taken) >= _PROBES)
        return taken


def _note(moments: dict[str, float], thing: str) -> None:
    moments[thing] = time.perf_counter()
