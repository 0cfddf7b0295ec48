"""A service that tells of changes, and one on which they have an effect, with a bus between them."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import timedelta

from mercato.adapters.sql.database import Database, Tx
from mercato.adapters.sql.inbox import SqlInbox
from mercato.adapters.sql.outbox import SqlOutbox
from mercato.adapters.sql.postgres import PostgresDatabase
from mercato.adapters.sql.postgres_replicas import PostgresReplicas
from mercato.adapters.sql.steps import Steps
from mercato.contracts.events import Event, Events
from mercato.kernel.cause import ByEvent, BySystem
from mercato.kernel.clock import utc_now
from mercato.kernel.ids import uuid7
from mercato.messaging.bus import Bus, Publisher
from mercato.messaging.inbox import Backoff, Inbox
from mercato.messaging.relay import Relay
from mercato.messaging.replicas import Alone, Replicas
from tests.things import NUMBERED, SOURCE, ThingChanged, changed

FAMILIES = frozenset({"thing"})
QUICK = Backoff(
    first=timedelta(milliseconds=20), attempts=4, most=timedelta(seconds=1), gap=timedelta(milliseconds=500)
)
_BY = BySystem("test")


class Sender:
    """Changes things, and tells of each change."""

    def __init__(self, db: Database, bus: Publisher, replicas: Replicas | None = None) -> None:
        """Without `replicas` it is one of several if its database allows it."""
        if replicas is None:
            replicas = PostgresReplicas(db, uuid7()) if isinstance(db, PostgresDatabase) else Alone()
        self.steps = Steps(db, source=SOURCE, clock=utc_now)
        self.outbox = SqlOutbox(db)
        self.relay = Relay(
            "things",
            self.outbox,
            bus,
            clock=utc_now,
            retention=timedelta(days=1),
            replicas=replicas,
        )
        self.steps.on_events(self.relay.wake)

    async def prepare(self) -> None:
        """Make the table of changes."""

        async def step(tx: Tx) -> None:
            await tx.execute("CREATE TABLE IF NOT EXISTS changes (thing TEXT, n INTEGER, UNIQUE (thing, n))")

        await self.steps.db.transact(step)

    async def change(self, thing: str, committed: Callable[[], None] = lambda: None) -> int:
        """Change a thing once more; return for which time. `committed` is called before the relay is."""

        async def work(tx: Tx) -> tuple[int, Events]:
            await tx.lock_name(thing)
            row = await tx.fetch_one("SELECT coalesce(max(n), 0) + 1 FROM changes WHERE thing = ?", (thing,))
            assert row is not None
            await tx.execute("INSERT INTO changes (thing, n) VALUES (?, ?)", (thing, row[0]))
            tx.after_commit(committed)
            return row[0], (changed(thing, row[0]),)

        return await self.steps.run(_BY, work)

    async def changes(self) -> Counter[str]:
        """Return how often each thing was changed."""
        rows = await self.steps.db.fetch_all("SELECT thing, count(*) FROM changes GROUP BY thing")
        return Counter(dict(rows))

    @asynccontextmanager
    async def relaying(self) -> AsyncIterator[None]:
        """Relay for a while."""
        running = asyncio.create_task(self.relay.run())
        try:
            yield
        finally:
            await self.relay.stop()
            await running


class Sink:
    """Notes each change, unless it fails."""

    def __init__(self, db: Database, bus: Bus, name: str, sender: Sender) -> None:
        self.steps = Steps(db, source="/mercato/sink", clock=utc_now)
        self.store = SqlInbox(self.steps)
        self.sender = sender
        self.fails: Callable[[Event], bool] = lambda _: False
        self.handled: Callable[[Event], None] = lambda _: None
        self.inbox = Inbox(
            name,
            self.store,
            {ThingChanged.type: self._handle},
            resend=self._resend,
            clock=utc_now,
            backoff=QUICK,
        )
        bus.subscribe(name, FAMILIES, self.inbox.receive)

    async def prepare(self) -> None:
        """Make the table of effects."""

        async def step(tx: Tx) -> None:
            await tx.execute(
                f"CREATE TABLE IF NOT EXISTS effects (at {NUMBERED[tx.dialect]}, thing TEXT, n INTEGER)"
            )
            await tx.execute("CREATE INDEX IF NOT EXISTS effects_thing ON effects (thing, at)")

        await self.steps.db.transact(step)

    async def _handle(self, event: Event, by: ByEvent) -> None:
        async def work(tx: Tx) -> tuple[None, Events]:
            if self.fails(event):
                raise LookupError("it cannot be handled")
            change = event.payload(ThingChanged)
            await tx.execute("INSERT INTO effects (thing, n) VALUES (?, ?)", (change.thing, change.n))
            return None, ()

        await self.steps.run(by, work)
        self.handled(event)

    async def _resend(self, source: str, key: str, after: int, before: int) -> int:
        assert source == SOURCE
        still_there = await self.sender.outbox.resend(key, after=after, before=before)
        self.sender.relay.wake()
        return still_there

    async def effects(self) -> dict[str, list[int]]:
        """Return which changes had an effect on which thing, in order."""
        found: dict[str, list[int]] = {}
        for thing, n in await self.steps.db.search("SELECT thing, n FROM effects ORDER BY at"):
            found.setdefault(thing, []).append(n)
        return found

    async def has_all(self) -> bool:
        """Say whether every change has had its effect, at least once."""
        effects = await self.effects()
        return all(len(effects.get(thing, [])) >= n for thing, n in (await self.sender.changes()).items())

    async def assert_each_once_in_order(self) -> None:
        """Assert that what was committed had its effect, once and in order, and nothing else had."""
        expected = {thing: list(range(1, n + 1)) for thing, n in (await self.sender.changes()).items()}
        assert await self.effects() == expected

    @asynccontextmanager
    async def sweeping(self) -> AsyncIterator[None]:
        """Try parked events for a while."""
        running = asyncio.create_task(self.inbox.run())
        try:
            yield
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
