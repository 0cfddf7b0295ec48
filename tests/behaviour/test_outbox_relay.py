"""Events leave with their change, in order, and until they are confirmed."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, closing
from datetime import timedelta
from pathlib import Path

import pytest

from mercato.adapters.bus.inprocess import InProcessBus
from mercato.adapters.sql.database import Tx
from mercato.adapters.sql.outbox import SqlOutbox
from mercato.adapters.sql.steps import Steps
from mercato.contracts.events import Events
from mercato.kernel.cause import BySystem
from mercato.kernel.tenancy import TenantId
from mercato.messaging import relay as relay_module
from mercato.messaging.bus import Message, Receive, decode
from mercato.messaging.relay import Relay
from tests.clock import FakeClock
from tests.conftest import OpenDatabase
from tests.engines import SQLITE
from tests.measured import figures
from tests.things import SOURCE, ThingChanged, changed, key_of
from tests.waiting import until

BY = BySystem("test")


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
async def steps(open_database: OpenDatabase, clock: FakeClock) -> Steps:
    return Steps(await open_database("orders"), source=SOURCE, clock=clock)


@pytest.fixture
def outbox(steps: Steps) -> SqlOutbox:
    return SqlOutbox(steps.db)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relay_module, "_RETRY_FIRST_S", 0.001)


class Wire:
    """A bus that remembers what it was given and confirms what it is told to."""

    def __init__(self) -> None:
        self.batches: list[list[Message]] = []
        self.confirm: Callable[[Sequence[Message]], Sequence[Message]] = lambda batch: batch

    async def publish(self, messages: Sequence[Message]) -> Sequence[int]:
        self.batches.append(list(messages))
        return [message.position for message in self.confirm(messages)]

    def subscribe(self, consumer: str, families: frozenset[str], receive: Receive) -> None:
        raise NotImplementedError

    @property
    def numbers(self) -> list[int]:
        return [decode(m.body).payload(ThingChanged).n for batch in self.batches for m in batch]


async def commit(steps: Steps, *payloads: ThingChanged) -> None:
    async def work(_: Tx) -> tuple[None, Events]:
        return None, payloads

    await steps.run(BY, work)


@asynccontextmanager
async def relaying(steps: Steps, bus: Wire | InProcessBus, clock: FakeClock) -> AsyncIterator[Relay]:
    relay = Relay("things", SqlOutbox(steps.db), bus, clock=clock, retention=timedelta(days=1))
    steps.on_events(relay.wake)
    running = asyncio.create_task(relay.run())
    try:
        async with asyncio.timeout(60):
            yield relay
    finally:
        await relay.stop()
        await running


async def sequences(steps: Steps, thing: str) -> list[int]:
    rows = await steps.db.fetch_all(
        "SELECT sequence FROM outbox WHERE key = ? ORDER BY position", (key_of(thing),)
    )
    return [sequence for (sequence,) in rows]


async def test_events_of_a_key_are_numbered_without_gaps_whatever_races_and_fails(steps: Steps) -> None:
    async def fails(_: Tx) -> tuple[None, Events]:
        raise LookupError

    racing = [commit(steps, changed("a", 0), changed("b", 0), changed("a", 0)) for _ in range(20)]
    failing = [steps.run(BY, fails) for _ in range(5)]
    await asyncio.gather(*racing, *failing, return_exceptions=True)
    assert await sequences(steps, "a") == list(range(1, 41))
    assert await sequences(steps, "b") == list(range(1, 21))


async def test_a_step_that_fails_publishes_nothing_and_uses_no_number(
    steps: Steps, outbox: SqlOutbox
) -> None:
    class Unencodable(ThingChanged, frozen=True, kw_only=True):
        what: object

    broken = Unencodable(tenant_id=TenantId("shop"), thing="a", n=2, what=object())
    with pytest.raises(TypeError):
        await commit(steps, changed("a", 1), broken)
    assert await outbox.unsent(10) == []
    await commit(steps, changed("a", 1))
    assert await sequences(steps, "a") == [1]


async def test_events_are_handed_over_in_commit_order(
    steps: Steps, outbox: SqlOutbox, clock: FakeClock
) -> None:
    wire = Wire()
    async with relaying(steps, wire, clock) as relay:
        for n in range(1, 301):
            await commit(steps, changed("a", n))
        await relay.settled()
    assert wire.numbers == list(range(1, 301))
    assert (await outbox.lag()).unsent == 0


async def test_a_stop_hands_over_all_that_was_committed_before_it(
    steps: Steps, outbox: SqlOutbox, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(relay_module, "BATCH", 2)
    wire = Wire()
    async with relaying(steps, wire, clock):
        await commit(steps, *(changed("a", n) for n in range(1, 8)))
    assert wire.numbers == list(range(1, 8))
    assert (await outbox.lag()).unsent == 0


async def test_a_stop_waits_for_no_bus_that_fails(steps: Steps, outbox: SqlOutbox, clock: FakeClock) -> None:
    wire = Wire()
    wire.confirm = lambda _: ()
    async with relaying(steps, wire, clock):
        await commit(steps, changed("a", 1))
        await until(lambda: len(wire.batches) > 2)
    tried = len(wire.batches)
    assert ((await outbox.lag()).unsent, len(wire.batches)) == (1, tried)


async def test_only_what_the_bus_confirmed_counts_as_sent(
    steps: Steps, outbox: SqlOutbox, clock: FakeClock
) -> None:
    for n in range(1, 6):
        await commit(steps, changed("a", n))
    wire = Wire()
    wire.confirm = lambda batch: batch[1:2] if len(wire.batches) == 1 else batch
    async with relaying(steps, wire, clock) as relay:
        await relay.settled()
        leads = figures(relay.measures)["mercato_relay_leads", "things"]
    assert wire.numbers == [1, 2, 3, 4, 5, 1, 3, 4, 5]
    assert await outbox.unsent(10) == []
    counted = figures(relay.measures)
    assert counted == {("mercato_relay_batches", "things"): 2, ("mercato_relay_events", "things"): 5}
    assert leads == 1


@pytest.mark.parametrize("failure", [ConnectionError("gone"), TimeoutError(), RuntimeError("a defect")])
async def test_a_bus_that_fails_is_tried_until_it_works(
    steps: Steps, clock: FakeClock, failure: Exception
) -> None:
    wire = Wire()

    def fail_thrice(batch: Sequence[Message]) -> Sequence[Message]:
        if len(wire.batches) <= 3:
            raise failure
        return batch

    wire.confirm = fail_thrice
    await commit(steps, changed("a", 1))
    async with relaying(steps, wire, clock) as relay:
        await relay.settled()
    assert wire.numbers == [1, 1, 1, 1]


async def test_a_bus_that_confirms_nothing_is_asked_again(steps: Steps, clock: FakeClock) -> None:
    wire = Wire()
    wire.confirm = lambda batch: batch if len(wire.batches) > 2 else []
    await commit(steps, changed("a", 1))
    async with relaying(steps, wire, clock) as relay:
        await relay.settled()
    assert wire.numbers == [1, 1, 1]


async def test_what_was_not_confirmed_is_sent_after_a_restart(
    open_database: OpenDatabase, steps: Steps, clock: FakeClock
) -> None:
    await commit(steps, changed("a", 1), changed("b", 1))
    await steps.db.close()

    again = Steps(await open_database("orders"), source=SOURCE, clock=clock)
    wire = Wire()
    async with relaying(again, wire, clock) as relay:
        await relay.settled()
        await commit(again, changed("a", 2))
        await relay.settled()
    assert wire.numbers == [1, 1, 2]
    assert await sequences(again, "a") == [1, 2]


@SQLITE
async def test_the_relay_is_woken_once_the_events_are_durable(steps: Steps, tmp_path: Path) -> None:
    seen: list[int] = []

    def look() -> None:
        with closing(sqlite3.connect(tmp_path / "orders.db")) as other:
            seen.extend(other.execute("SELECT count(*) FROM outbox").fetchone())

    steps.on_events(look)
    await commit(steps, changed("a", 1))
    assert seen == [1]


async def test_a_bus_that_hangs_or_confirms_nothing_is_asked_again_after_a_while(
    steps: Steps, clock: FakeClock, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(relay_module, "PUBLISH_DEADLINE_S", 0.01)
    wire = Wire()
    publish = wire.publish

    async def first_hanging(messages: Sequence[Message]) -> Sequence[int]:
        if not wire.batches:
            wire.batches.append([])
            await asyncio.Event().wait()
        if len(wire.batches) == 1:
            wire.batches.append([])
            return []
        return await publish(messages)

    monkeypatch.setattr(wire, "publish", first_hanging)
    await commit(steps, changed("a", 1))
    async with relaying(steps, wire, clock) as relay:
        await relay.settled()
    assert wire.numbers == [1]
    assert [record.message for record in caplog.records] == ["relay cannot go on"] * 2


async def test_missed_events_are_sent_again_while_they_are_kept(
    steps: Steps, outbox: SqlOutbox, clock: FakeClock
) -> None:
    for n in range(1, 6):
        await commit(steps, changed("a", n), changed("b", n))
    await outbox.mark_sent([message.position for message in await outbox.unsent(100)], at=clock())
    assert await outbox.resend(key_of("a"), after=1, before=4) == 2
    again = [decode(message.body) for message in await outbox.unsent(100)]
    assert [(event.subject, int(event.sequence)) for event in again] == [("a", 2), ("a", 3)]
    assert await outbox.resend(key_of("nobody"), after=0, before=9) == 0


async def test_only_sent_events_that_are_old_enough_are_purged_and_numbers_go_on(
    steps: Steps, outbox: SqlOutbox, clock: FakeClock
) -> None:
    await commit(steps, changed("a", 1), changed("a", 2))
    first, _ = await outbox.unsent(10)
    await outbox.mark_sent([first.position], at=clock())
    later = clock.forward(days=2)
    await commit(steps, changed("a", 3))
    assert await outbox.purge(before=later, limit=100) == 1
    assert await sequences(steps, "a") == [2, 3]

    await outbox.mark_sent([message.position for message in await outbox.unsent(10)], at=clock())
    assert await outbox.purge(before=clock.forward(days=2), limit=100) == 2
    await commit(steps, changed("a", 4))
    assert await sequences(steps, "a") == [4]


async def test_the_lag_says_how_much_waits_and_since_when(
    steps: Steps, outbox: SqlOutbox, clock: FakeClock
) -> None:
    assert (await outbox.lag()).oldest is None
    since = clock()
    await commit(steps, changed("a", 1))
    clock.forward(minutes=5)
    await commit(steps, changed("a", 2))
    lag = await outbox.lag()
    assert (lag.unsent, lag.oldest) == (2, since)
    assert (await outbox.lag(1)).unsent == 1


async def test_the_in_process_bus_confirms_only_what_is_durable_in_every_inbox() -> None:
    bus = InProcessBus()
    seen: dict[str, list[bytes]] = {"one": [], "two": []}

    async def one(bodies: Sequence[bytes]) -> None:
        seen["one"] += bodies

    async def two(bodies: Sequence[bytes]) -> None:
        seen["two"] += bodies
        if len(seen["two"]) == 1:
            raise ConnectionError

    bus.subscribe("one", frozenset({"thing", "other"}), one)
    bus.subscribe("two", frozenset({"thing"}), two)
    messages = [
        Message(1, "thing.changed", b"1"),
        Message(2, "other.changed", b"2"),
        Message(3, "none.at", b"3"),
    ]
    with pytest.raises(ConnectionError):
        await bus.publish(messages)
    assert await bus.publish(messages) == [1, 2, 3]
    assert seen == {"one": [b"1", b"2"] * 2, "two": [b"1"] * 2}
