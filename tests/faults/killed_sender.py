"""A service that kills itself at a named point between a change and the note that its event was sent.

`python -m tests.faults.killed_sender URL SYSTEM_URL BROKER_URL POINT RUNS` forks for each run, so that
the imports are paid once. `replica` as the point relays until it is ended from outside, with a lease of
RUNS seconds.
"""

import asyncio
import os
import random
import signal
import sys
from collections.abc import Sequence
from datetime import datetime

from mercato.adapters.bus.rabbitmq import RabbitBus
from mercato.adapters.sql.outbox import SqlOutbox
from mercato.adapters.sql.postgres import PostgresDatabase
from mercato.adapters.sql.postgres_pool import PoolSettings
from mercato.adapters.sql.postgres_replicas import PostgresReplicas
from mercato.kernel.ids import uuid7
from mercato.messaging.bus import Message
from mercato.messaging.replicas import Alone
from tests.pipeline import Sender

POINTS = (
    "commit.before",
    "commit.after",
    "publish.before",
    "publish.after",
    "confirm.after",
    "mark.before",
    "mark.after",
)
THINGS = "abc"
_RUN_DEADLINE_S = 30.0


class Killer:
    """Kills the process when it comes to the point for the nth time."""

    def __init__(self, point: str) -> None:
        self._point = point
        self._left = random.randint(1, 3)

    def at(self, point: str) -> None:
        """Note that the process is at a point."""
        if point == self._point:
            self._left -= 1
            if self._left == 0:
                os.kill(os.getpid(), signal.SIGKILL)


class KilledBus:
    """A bus whose process may die before and while it publishes, and once it is told of the confirms."""

    def __init__(self, bus: RabbitBus, killer: Killer) -> None:
        self._bus = bus
        self._killer = killer

    async def publish(self, messages: Sequence[Message]) -> Sequence[int]:
        self._killer.at("publish.before")
        publishing = asyncio.ensure_future(self._bus.publish(messages))
        while self._bus.state().unconfirmed == 0 and not publishing.done():  # noqa: ASYNC110  turn by turn
            await asyncio.sleep(0)
        # The broker may have all of it, a part, or nothing.
        await asyncio.sleep(random.uniform(0, 0.003))
        self._killer.at("publish.after")
        confirmed = await publishing
        self._killer.at("confirm.after")
        return confirmed


class KilledOutbox(SqlOutbox):
    """An outbox whose process may die around the note that events were sent."""

    killer: Killer

    async def mark_sent(self, positions: Sequence[int], *, at: datetime) -> None:
        self.killer.at("mark.before")
        await super().mark_sent(positions, at=at)
        self.killer.at("mark.after")


async def run(url: str, system_url: str, broker_url: str, point: str) -> None:
    """Change things and relay, until killed."""
    killer = Killer(point)
    db = PostgresDatabase(url, system_url, PoolSettings(4), name="things")
    bus = RabbitBus(broker_url, name="things")
    # Whoever relayed before is dead: its lease need not run out.
    sender = Sender(db, KilledBus(bus, killer), Alone())
    outbox = KilledOutbox(db)
    outbox.killer = killer
    sender.relay._outbox = outbox
    async with asyncio.timeout(_RUN_DEADLINE_S), sender.relaying():
        while True:
            await asyncio.gather(*(_change(sender, random.choice(THINGS), killer) for _ in range(3)))


async def _change(sender: Sender, thing: str, killer: Killer) -> None:
    await sender.change(thing, lambda: killer.at("commit.before"))
    killer.at("commit.after")


async def relay(url: str, system_url: str, broker_url: str, lease_s: float) -> None:
    """Relay what others commit, until SIGTERM, with a lease of so many seconds."""
    stopping = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopping.set)
    db = PostgresDatabase(url, system_url, PoolSettings(4), name="things")
    bus = RabbitBus(broker_url, name="things")
    async with Sender(db, bus, PostgresReplicas(db, uuid7(), lease_s=lease_s)).relaying():
        print("relaying", flush=True)  # noqa: T201  whoever started it waits for this
        await stopping.wait()
    await bus.stop()
    await db.close()


def main() -> None:
    """Relay, or die as often as told."""
    url, system_url, broker_url, point, runs = sys.argv[1:6]
    if point == "replica":
        asyncio.run(relay(url, system_url, broker_url, float(runs)))
        return
    for _ in range(int(runs)):
        child = os.fork()
        if child == 0:
            random.seed()
            asyncio.run(run(url, system_url, broker_url, point))
            os._exit(1)
        _, status = os.waitpid(child, 0)
        if not os.WIFSIGNALED(status) or os.WTERMSIG(status) != signal.SIGKILL:
            sys.exit(f"a run ended by itself: {status}")


if __name__ == "__main__":
    main()
