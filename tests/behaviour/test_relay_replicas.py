"""Of a service's replicas one relays; when it is gone another does, and none doubles or loses anything."""

import asyncio
import statistics
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta

import asyncpg
import pytest

from mercato.adapters.sql.database import Tx
from mercato.adapters.sql.outbox import SqlOutbox
from mercato.adapters.sql.postgres import PostgresDatabase
from mercato.adapters.sql.postgres_replicas import LEASE_S, PostgresReplicas
from mercato.adapters.sql.steps import Steps
from mercato.contracts.events import Events
from mercato.kernel.cause import BySystem
from mercato.kernel.clock import utc_now
from mercato.messaging import relay as relay_module
from mercato.messaging.bus import Message, decode
from mercato.messaging.relay import Relay
from tests import postgres_server
from tests.conftest import OpenDatabase
from tests.engines import POSTGRES
from tests.things import SOURCE, ThingChanged, changed
from tests.waiting import until

pytestmark = POSTGRES
BY = BySystem("test")


class Wire:
    """A bus that all replicas publish on."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, int]] = []
        """Which replica published which number."""

    @property
    def numbers(self) -> list[int]:
        return [n for _, n in self.sent]


class Replica:
    """One process of a service, with a pool of its own."""

    def __init__(self, name: str, db: PostgresDatabase, wire: Wire) -> None:
        self.name = name
        self.db = db
        self.wire = wire
        self.steps = Steps(db, source=SOURCE, clock=utc_now)
        self.replicas = PostgresReplicas(db, name)
        self.relay = Relay(
            name,
            SqlOutbox(db),
            self,
            clock=utc_now,
            retention=timedelta(days=1),
            replicas=self.replicas,
        )
        self.steps.on_events(self.relay.wake)
        self.running: asyncio.Task[None] | None = None

    async def publish(self, messages: Sequence[Message]) -> Sequence[int]:
        """Note what this replica publishes."""
        self.wire.sent += [(self.name, decode(m.body).payload(ThingChanged).n) for m in messages]
        return [message.position for message in messages]

    def start(self) -> None:
        self.running = asyncio.create_task(self.relay.run())

    async def stop(self) -> None:
        await self.relay.stop()
        await self.end()

    async def die(self) -> None:
        """End without a word to the others, as a killed process does."""
        self.relay.leads = False
        assert self.running is not None
        self.running.cancel()
        await self.end()

    async def end(self) -> None:
        if self.running is not None:
            await asyncio.gather(self.running, return_exceptions=True)

    async def commit(self, n: int) -> None:
        async def work(_: Tx) -> tuple[None, Events]:
            return None, (changed("a", n),)

        await self.steps.run(BY, work)


@pytest.fixture
async def replicas(open_database: OpenDatabase) -> AsyncIterator[tuple[Replica, Replica]]:
    wire = Wire()
    made: list[Replica] = []
    for name in ("first", "second"):
        db = await open_database("orders")
        assert isinstance(db, PostgresDatabase)
        made.append(Replica(name, db, wire))
    yield made[0], made[1]
    for each in made:
        await each.stop()


@asynccontextmanager
async def leading(leader: Replica, *others: Replica) -> AsyncIterator[None]:
    """Start them, `leader` as the one that relays."""
    async with AsyncExitStack() as stack:
        leader.start()
        await until(lambda: leader.relay.leads)
        for other in others:
            other.start()
        for each in (leader, *others):
            stack.push_async_callback(each.stop)
        yield


async def test_one_of_them_relays_what_each_commits(replicas: tuple[Replica, Replica]) -> None:
    first, second = replicas
    async with leading(first, second):
        for n in range(1, 101):
            await (first, second)[n % 2].commit(n)
        await until(lambda: len(first.wire.sent) >= 100)
        assert first.wire.sent == [("first", n) for n in range(1, 101)]
        assert not second.relay.leads


async def test_another_takes_over_within_two_seconds_of_a_death(replicas: tuple[Replica, Replica]) -> None:
    assert LEASE_S + relay_module.LEAD_EVERY_S < 2.0
    leader, other = replicas
    taken: list[float] = []
    async with leading(leader, other):
        await leader.commit(1)
        await until(lambda: leader.wire.numbers == [1])
        # A busy machine may be late once, and then another death is looked at.
        while not taken or (len(taken) < 3 and min(taken) >= 2.0):
            await leader.die()
            began, n = asyncio.get_running_loop().time(), len(taken) + 2
            await other.commit(n)
            await until(lambda: len(other.wire.sent) >= n)  # noqa: B023  it is waited for here
            taken.append(asyncio.get_running_loop().time() - began)
            assert other.wire.numbers == list(range(1, n + 1))
            leader.start()
            leader, other = other, leader
    assert min(taken) < 2.0


async def test_a_clean_stop_hands_over_without_waiting_for_the_lease(
    replicas: tuple[Replica, Replica], monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = replicas
    first.replicas._lease = 3_600_000_000
    async with leading(first, second):
        await first.stop()
        await until(lambda: second.relay.leads)
        assert not first.relay.leads


async def test_a_leader_that_slept_publishes_nothing_before_it_knows_who_leads(
    replicas: tuple[Replica, Replica], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its tasks stand still while the other takes over, and it wakes with events to send."""
    first, second = replicas
    monkeypatch.setattr(relay_module, "LEAD_EVERY_S", 3_600.0)
    async with leading(first):
        await until(first.relay._idle.is_set)
        monkeypatch.setattr(relay_module, "LEAD_EVERY_S", 0.05)
        second.start()
        await until(lambda: second.relay.leads)
        assert first.relay.leads, "it does not know yet"
        await first.commit(1)
        await until(lambda: first.wire.numbers == [1])
        await until(lambda: not first.relay.leads)
        assert first.wire.sent == [("second", 1)]
        await second.stop()


async def test_never_do_two_lead_whatever_races(replicas: tuple[Replica, Replica]) -> None:
    first, second = replicas
    for each in replicas:
        # Longer than anybody here races.
        each.replicas._lease = 3_600_000_000
    for _ in range(20):
        took = await asyncio.gather(*(each.replicas.lead() for _ in range(4) for each in (first, second)))
        assert sorted([any(took[::2]), any(took[1::2])]) == [False, True]
        await asyncio.gather(first.replicas.resign(), second.replicas.resign())


async def test_an_event_of_another_replica_wakes_the_one_that_relays(
    replicas: tuple[Replica, Replica], monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = replicas
    monkeypatch.setattr(relay_module, "SWEEP_S", 3_600.0)
    async with leading(first, second):
        await second.commit(1)
        await until(lambda: first.wire.numbers == [1])
        taken: dict[str, list[float]] = {"first": [], "second": []}
        loop = asyncio.get_running_loop()
        for n in range(2, 102):
            who = replicas[n % 2]
            began = loop.time()
            await who.commit(n)
            while len(first.wire.sent) < n:  # noqa: ASYNC110  the time until then is what is measured
                await asyncio.sleep(0)
            taken[who.name].append(loop.time() - began)
        own, others = statistics.median(taken["first"]), statistics.median(taken["second"])
        assert others < 5 * own + 0.005, taken


async def test_a_listener_whose_connection_is_cut_listens_again(
    replicas: tuple[Replica, Replica], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    first, second = replicas
    monkeypatch.setattr(relay_module, "SWEEP_S", 3_600.0)
    async with leading(first, second):
        await second.commit(1)
        await until(lambda: first.wire.numbers == [1])
        admin = await asyncpg.connect(postgres_server.shared().url("postgres"))
        listeners = "FROM pg_stat_activity WHERE application_name = 'mercato listener' AND datname = $1"

        async def both_listen() -> bool:
            return bool(await admin.fetchval(f"SELECT count(*) = 2 {listeners}", first.db.name))

        await until(both_listen)
        cut = await admin.fetchval(f"SELECT count(pg_terminate_backend(pid)) {listeners}", first.db.name)
        await admin.close()
        assert cut == 2
        await second.commit(2)
        await until(lambda: first.wire.numbers == [1, 2])
        assert "other replicas are not heard" in caplog.text


async def test_what_commits_late_with_a_lower_position_is_sent_too(
    replicas: tuple[Replica, Replica],
) -> None:
    """A relay that remembered how far it came would never look back."""
    first, second = replicas
    async with leading(first, second):
        holding, go_on = asyncio.Event(), asyncio.Event()

        async def held(tx: Tx) -> None:
            await first.steps._append(tx, [(changed("slow", 1), None)])
            # Whatever is asked for has what was put run before it.
            assert await tx.fetch_one("SELECT count(*) FROM outbox") == (1,)
            holding.set()
            await go_on.wait()

        late = asyncio.create_task(first.db.transact(held))
        await holding.wait()
        await second.commit(2)
        await until(lambda: first.wire.numbers == [2])
        go_on.set()
        await late
        await until(lambda: first.wire.numbers == [2, 1])
    rows = await first.db.fetch_all("SELECT position FROM outbox ORDER BY created_at")
    assert rows == sorted(rows)


async def test_while_the_database_is_away_the_lead_is_kept_and_it_is_said_once(
    replicas: tuple[Replica, Replica], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    first, _ = replicas
    monkeypatch.setattr(relay_module, "LEAD_EVERY_S", 0.01)
    async with leading(first):
        lead, failures = first.replicas.lead, 0

        async def failing() -> bool:
            nonlocal failures
            failures += 1
            if failures < 5:
                raise ConnectionError
            return await lead()

        monkeypatch.setattr(first.replicas, "lead", failing)
        await until(lambda: failures > 5)
        await first.commit(1)
        await until(lambda: first.wire.numbers == [1])
    assert [r.message for r in caplog.records].count("lead cannot be renewed") == 1
