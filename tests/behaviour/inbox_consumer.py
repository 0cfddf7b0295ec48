"""A service that consumes events of things, and fails when told to."""

import asyncio
from collections import Counter
from dataclasses import dataclass, field
from datetime import timedelta

from mercato.adapters.sql.database import Tx
from mercato.adapters.sql.inbox import SqlInbox
from mercato.adapters.sql.steps import Steps
from mercato.contracts.events import Event, Events
from mercato.kernel.cause import ByEvent, BySystem
from mercato.kernel.errors import Unavailable
from mercato.messaging.inbox import Backoff, Inbox, Parked
from tests.clock import FakeClock
from tests.things import NUMBERED, SOURCE, ThingChanged, changed, encoded, event_id

BY = BySystem("test")
ATTEMPTS = 4
BACKOFF = Backoff(first=timedelta(seconds=1), attempts=ATTEMPTS, gap=timedelta(seconds=10), gap_asks=3)


@dataclass
class Consumer:
    """A service that notes each event's effect, and fails when told to."""

    steps: Steps
    clock: FakeClock
    kept_by_sender: dict[str, list[bytes]] = field(default_factory=dict)
    """By key, what the sender would send again."""
    failing: set[str] = field(default_factory=set)
    words: str = "not yet"
    """Of what fails."""
    calls: Counter[str] = field(default_factory=Counter)
    asked: list[tuple[str, int, int]] = field(default_factory=list)
    sender_away: bool = False
    took_effect: asyncio.Queue[str] = field(default_factory=asyncio.Queue)

    def __post_init__(self) -> None:
        self.store = SqlInbox(self.steps)
        self.inbox = Inbox(
            "consumer",
            self.store,
            {"thing.changed": self.handle},
            resend=self.resend,
            clock=self.clock,
            backoff=BACKOFF,
        )

    async def handle(self, event: Event, by: ByEvent) -> None:
        async def work(tx: Tx) -> tuple[None, Events]:
            await tx.execute(
                "INSERT INTO effects (thing, n) VALUES (?, ?)",
                (event.subject, event.payload(ThingChanged).n),
            )
            self.calls[event.id] += 1
            if event.id in self.failing:
                raise LookupError(self.words)
            return None, ()

        await self.steps.run(by, work)
        self.took_effect.put_nowait(event.id)

    async def resend(self, source: str, key: str, after: int, before: int) -> int:
        assert source == SOURCE
        if self.sender_away:
            raise Unavailable("The sender is away.")
        self.asked.append((key, after, before))
        return len(self.kept_by_sender.get(key, []))

    async def effects(self, thing: str = "a") -> list[int]:
        rows = await self.steps.db.fetch_all("SELECT n FROM effects WHERE thing = ? ORDER BY at", (thing,))
        return [n for (n,) in rows]

    async def parked(self) -> list[tuple[str, str]]:
        rows = await self.steps.db.fetch_all(
            "SELECT event_id, state FROM inbox_parked ORDER BY key, sequence"
        )
        return [(name, state) for name, state in rows]

    async def take(self, *numbers: int, thing: str = "a") -> None:
        await self.inbox.receive([encoded(changed(thing, n)) for n in numbers])

    async def later(self, **span: float) -> None:
        self.clock.forward(**span)
        await self.inbox.sweep()

    async def give_up_on(self, n: int) -> None:
        """Let number `n` of thing a fail until it is a dead letter."""
        self.failing.add(event_id("a", n))
        for _ in range(ATTEMPTS - 1):
            await self.later(hours=1)

    async def only_dead_letter(self) -> Parked:
        (dead,) = await self.store.dead_letters(10)
        return dead


async def consumer_on(steps: Steps, clock: FakeClock) -> Consumer:
    async def table(tx: Tx) -> None:
        await tx.execute(
            f"CREATE TABLE IF NOT EXISTS effects (at {NUMBERED[tx.dialect]}, thing TEXT, n INTEGER,"
            " UNIQUE (thing, n))"
        )

    await steps.db.transact(table)
    return Consumer(steps, clock)
