"""The inbox: each event has its effect once and in order, whatever comes how often."""

import asyncio
import logging
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta

import pytest

from mercato.adapters.sql.database import StorageUnavailable
from mercato.adapters.sql.steps import Steps
from mercato.kernel.subject import named
from mercato.messaging import inbox as inbox_module
from mercato.messaging.inbox import Parked, ParkedState
from tests.behaviour.inbox_consumer import ATTEMPTS, BACKOFF, BY, Consumer, consumer_on
from tests.clock import FakeClock
from tests.conftest import OpenDatabase
from tests.engines import SQLITE
from tests.things import ThingSeen, changed, encoded, event_id, key_of


@pytest.fixture
async def consumer(open_database: OpenDatabase) -> Consumer:
    clock = FakeClock()
    return await consumer_on(Steps(await open_database("orders"), source="/mercato/x", clock=clock), clock)


async def test_an_event_has_its_effect(consumer: Consumer) -> None:
    await consumer.take(1)
    await consumer.take(2, 3)
    assert await consumer.effects() == [1, 2, 3]
    assert await consumer.parked() == []


async def test_a_repeated_event_changes_nothing(consumer: Consumer) -> None:
    await consumer.take(1, 1, 2, 1, 2)
    await asyncio.gather(*(consumer.take(1, 2, 3) for _ in range(20)))
    assert await consumer.effects() == [1, 2, 3]
    await consumer.later(hours=1)
    assert await consumer.parked() == []


async def test_an_event_nobody_handles_takes_its_turn(consumer: Consumer) -> None:
    seen = ThingSeen(tenant_id=changed("a", 2).tenant_id, thing="a", n=2)
    await consumer.inbox.receive([encoded(changed("a", 1)), encoded(seen), encoded(changed("a", 3))])
    assert await consumer.effects() == [1, 3]


@pytest.mark.parametrize("seed", range(10))
async def test_shuffled_and_repeated_events_have_their_effect_once_and_in_order(
    consumer: Consumer, seed: int
) -> None:
    order = random.Random(seed)
    deliveries = [(thing, n) for thing in "abc" for n in range(1, 13)] * 3
    order.shuffle(deliveries)
    batches = [deliveries[start : start + 9] for start in range(0, len(deliveries), 9)]
    await asyncio.gather(
        *(consumer.inbox.receive([encoded(changed(*each)) for each in batch]) for batch in batches)
    )
    for _ in range(3):
        await consumer.later(seconds=11)
    for thing in "abc":
        assert await consumer.effects(thing) == list(range(1, 13))
    assert await consumer.parked() == []


async def test_later_events_wait_behind_one_that_fails(consumer: Consumer) -> None:
    consumer.failing.add(event_id("a", 2))
    await consumer.take(1, 2, 3)
    await consumer.take(4)
    await consumer.take(1, thing="b")
    assert await consumer.effects() == [1]
    assert await consumer.effects("b") == [1]
    assert [state for _, state in await consumer.parked()] == ["failed", "waiting", "waiting"]

    consumer.failing.clear()
    await consumer.later(seconds=2)
    assert await consumer.effects() == [1, 2, 3, 4]
    assert await consumer.parked() == []
    assert consumer.asked == []


async def test_a_failing_event_is_tried_ever_more_slowly(consumer: Consumer) -> None:
    consumer.failing.add(event_id("a", 1))
    await consumer.take(1)
    tries: list[int] = []
    for seconds in range(1, 60):
        await consumer.later(seconds=1)
        if consumer.calls[event_id("a", 1)] > len(tries) + 1:
            tries.append(seconds)
    # After 1, 3 and 9 seconds, each give or take a fifth, as seen once a second.
    assert len(tries) == ATTEMPTS - 1
    first, second, third = tries
    assert 1 <= first <= 2
    assert 3 <= second - first <= 4
    assert 8 <= third - second <= 11


async def test_no_secret_is_in_the_reason_and_the_line_names_the_event(
    consumer: Consumer, caplog: pytest.LogCaptureFixture
) -> None:
    told = []

    def note(record: logging.LogRecord) -> bool:
        told.append((record.getMessage(), named()))
        return True

    caplog.handler.addFilter(note)
    consumer.failing.add(event_id("a", 1))
    consumer.words = "no way to amqp://shop:night@broker for ann@lamps.example"
    await consumer.take(1)
    (parked,) = await consumer.store.due(consumer.clock() + timedelta(hours=1), 10)
    assert parked.reason == "LookupError: no way to amqp://shop:[hidden]@broker for [hidden]@lamps.example"
    named_then = {"event_id": event_id("a", 1), "event_type": "thing.changed", "tenant": "shop"}
    assert ("event failed and is parked", named_then) in told
    assert named() == {}


async def test_what_keeps_failing_is_a_dead_letter_and_its_key_goes_on(consumer: Consumer) -> None:
    await consumer.take(1)
    consumer.failing.add(event_id("a", 2))
    await consumer.take(2, 3)
    await consumer.give_up_on(2)
    assert consumer.calls[event_id("a", 2)] == ATTEMPTS
    assert await consumer.effects() == [1, 3]
    dead = await consumer.only_dead_letter()
    assert (dead.event_id, dead.type, dead.tenant_id) == (event_id("a", 2), "thing.changed", "shop")
    assert dead.attempts == ATTEMPTS
    assert dead.reason == "LookupError: not yet"
    assert dead.first_seen_at < consumer.clock()
    assert await consumer.store.dead_letter(dead.event_id) == dead

    await consumer.take(2)
    await consumer.later(hours=1)
    assert consumer.calls[event_id("a", 2)] == ATTEMPTS
    assert (await consumer.only_dead_letter()).state is ParkedState.DEAD


async def test_a_dead_letter_is_replayed_once(consumer: Consumer) -> None:
    consumer.failing.add(event_id("a", 1))
    await consumer.take(1, 2)
    await consumer.give_up_on(1)
    consumer.failing.clear()
    assert await consumer.store.replay(event_id("a", 1), consumer.clock(), by=BY)
    assert not await consumer.store.replay(event_id("a", 1), consumer.clock(), by=BY)
    await asyncio.gather(*(consumer.inbox.sweep() for _ in range(20)))
    assert await consumer.effects() == [2, 1]
    assert consumer.calls[event_id("a", 1)] == ATTEMPTS + 1
    assert await consumer.parked() == []
    await consumer.take(1, 2, 3)
    assert await consumer.effects() == [2, 1, 3]
    assert not await consumer.store.replay(event_id("a", 1), consumer.clock(), by=BY)


async def test_a_replay_that_fails_is_a_dead_letter_again(consumer: Consumer) -> None:
    consumer.failing.add(event_id("a", 1))
    await consumer.take(1, 2)
    await consumer.give_up_on(1)
    await consumer.store.replay(event_id("a", 1), consumer.clock(), by=BY)
    for _ in range(ATTEMPTS):
        await consumer.later(hours=1)
    assert consumer.calls[event_id("a", 1)] == 2 * ATTEMPTS
    assert (await consumer.only_dead_letter()).attempts == ATTEMPTS
    await consumer.take(3)
    assert await consumer.effects() == [2, 3]


async def test_a_dead_letter_can_be_dropped_and_a_living_one_not(consumer: Consumer) -> None:
    consumer.failing.add(event_id("a", 1))
    await consumer.take(1)
    assert not await consumer.store.drop(event_id("a", 1), by=BY)
    await consumer.give_up_on(1)
    assert await consumer.store.drop(event_id("a", 1), by=BY)
    assert not await consumer.store.drop(event_id("a", 1), by=BY)
    assert await consumer.parked() == []
    assert await consumer.store.dead_letter(event_id("a", 1)) is None


async def test_a_gap_waits_and_then_the_sender_is_asked(consumer: Consumer) -> None:
    key = key_of("a")
    consumer.kept_by_sender[key] = [encoded(changed("a", 2)), encoded(changed("a", 3))]
    await consumer.take(1, 4, 5)
    await consumer.later(seconds=9)
    assert consumer.asked == []
    await consumer.later(seconds=2)
    assert consumer.asked == [(key, 1, 4)]
    assert await consumer.effects() == [1]

    await consumer.inbox.receive(consumer.kept_by_sender[key])
    assert await consumer.effects() == [1, 2, 3, 4, 5]
    assert await consumer.parked() == []


async def test_a_gap_is_accepted_when_the_sender_no_longer_has_the_events(consumer: Consumer) -> None:
    await consumer.take(3, 4)
    await consumer.take(7)
    await consumer.later(seconds=11)
    await consumer.later(seconds=11)
    assert await consumer.effects() == [3, 4, 7]
    assert consumer.asked == [(key_of("a"), 0, 3), (key_of("a"), 4, 7)]
    await consumer.take(1, 2, 5, 8)
    assert await consumer.effects() == [3, 4, 7, 8]


async def test_a_gap_that_the_sender_promises_and_never_fills_is_accepted_in_the_end(
    consumer: Consumer,
) -> None:
    consumer.kept_by_sender[key_of("a")] = [encoded(changed("a", 1))]
    await consumer.take(2)
    for asked in range(BACKOFF.gap_asks):
        assert await consumer.effects() == []
        # The sender is asked after twice as long each time, and not before.
        await consumer.later(seconds=BACKOFF.gap_delay(asked).total_seconds() - 1)
        assert await consumer.effects() == []
        await consumer.later(seconds=2)
    assert await consumer.effects() == [2]


async def test_a_sender_that_is_away_is_asked_later_and_holds_up_nobody_else(consumer: Consumer) -> None:
    consumer.sender_away = True
    await consumer.take(2)
    consumer.clock.forward(seconds=1)
    consumer.failing.add(event_id("b", 1))
    await consumer.take(1, thing="b")
    consumer.failing.clear()
    for _ in range(5):
        await consumer.later(seconds=11)
    assert await consumer.effects("b") == [1]
    assert await consumer.effects() == []

    consumer.sender_away = False
    await consumer.later(seconds=11)
    assert await consumer.effects() == [2]


async def test_bytes_that_are_no_event_are_a_dead_letter_and_hold_up_nobody(consumer: Consumer) -> None:
    bad = [b"", b"\xff\x00", b'{"data":' + b"[" * 100_000, encoded(changed("a", 1), sequence=0)[:-1]]
    await consumer.inbox.receive([*bad, encoded(changed("a", 1))])
    assert await consumer.effects() == [1]
    dead = await consumer.store.dead_letters(10)
    assert sorted(each.body for each in dead) == sorted(bad)
    assert all(each.reason for each in dead)
    assert not await consumer.store.replay(dead[0].event_id, consumer.clock(), by=BY)
    assert await consumer.store.drop(dead[0].event_id, by=BY)


async def test_parked_events_survive_a_restart(open_database: OpenDatabase, consumer: Consumer) -> None:
    consumer.failing.add(event_id("a", 1))
    await consumer.take(1, 2, 3)
    await consumer.steps.db.close()

    steps = Steps(await open_database("orders"), source="/mercato/x", clock=consumer.clock)
    again = await consumer_on(steps, consumer.clock)
    await again.later(seconds=2)
    assert await again.effects() == [1, 2, 3]
    assert await again.parked() == []


async def test_an_event_handled_meanwhile_is_not_parked_for_ever(consumer: Consumer) -> None:
    """A delivery that found its turn not come may park when another has handled the event."""
    await consumer.take(3, 2)
    waiting = await consumer.store.due(consumer.clock() + timedelta(hours=1), 10)
    assert len(waiting) == 2
    await consumer.take(1)
    assert await consumer.effects() == [1, 2, 3]
    for late in waiting:
        await consumer.store.park(late)
        await consumer.store.bury(late)
    assert await consumer.parked() == []
    await consumer.take(4)
    assert await consumer.effects() == [1, 2, 3, 4]


async def test_an_inbox_without_its_database_takes_nothing(consumer: Consumer) -> None:
    await consumer.steps.db.close()
    with pytest.raises(StorageUnavailable):
        await consumer.take(1)


@asynccontextmanager
async def running(consumer: Consumer) -> AsyncIterator[None]:
    task = asyncio.create_task(consumer.inbox.run())
    try:
        async with asyncio.timeout(10):
            yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_the_inbox_tries_again_by_itself_and_outlives_what_fails(
    consumer: Consumer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inbox_module, "SWEEP_S", 0.001)
    consumer.failing.add(event_id("a", 1))
    await consumer.take(1, 2)
    consumer.failing.clear()
    consumer.clock.forward(seconds=2)
    due, failures = consumer.store.due, [StorageUnavailable("away"), ValueError("a defect")]

    async def failing_first(*args: object) -> list[Parked]:
        if failures:
            raise failures.pop()
        return await due(consumer.clock(), 10)

    monkeypatch.setattr(consumer.store, "due", failing_first)
    async with running(consumer):
        assert [await consumer.took_effect.get() for _ in range(2)] == [event_id("a", 1), event_id("a", 2)]


@SQLITE
async def test_who_came_first_is_served_first(consumer: Consumer) -> None:
    things = [f"thing-{n}" for n in range(40)]
    await consumer.inbox.receive([encoded(changed(thing, 1)) for thing in things])
    rows = await consumer.steps.db.fetch_all("SELECT thing FROM effects ORDER BY at")
    assert [thing for (thing,) in rows] == things
