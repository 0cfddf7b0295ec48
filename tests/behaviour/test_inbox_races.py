"""What may happen between an event's arrival, its failure and its turn."""

import asyncio
import logging

import pytest

from mercato.adapters.sql.steps import Steps
from mercato.contracts.events import Event
from mercato.kernel.cause import ByEvent
from mercato.messaging import inbox as inbox_module
from mercato.messaging.inbox import AlreadyHandled, Inbox, Parked
from tests.behaviour.inbox_consumer import ATTEMPTS, BACKOFF, BY, Consumer, consumer_on
from tests.clock import FakeClock
from tests.conftest import OpenDatabase
from tests.things import changed, encoded, event_id, key_of


@pytest.fixture
async def consumer(open_database: OpenDatabase) -> Consumer:
    clock = FakeClock()
    return await consumer_on(Steps(await open_database("orders"), source="/mercato/x", clock=clock), clock)


def unreadable(consumer: Consumer, *numbers: int) -> None:
    """Let the handler fail on these before it comes to its step, as on data it cannot read."""
    read = {event_id("a", n) for n in numbers}

    async def handle(event: Event, by: ByEvent) -> None:
        if event.id in read:
            raise ValueError("cannot be read")
        await consumer.handle(event, by)

    consumer.inbox = Inbox(
        "consumer",
        consumer.store,
        {"thing.changed": handle},
        resend=consumer.resend,
        clock=consumer.clock,
        backoff=BACKOFF,
    )


async def test_an_event_that_cannot_be_read_waits_for_its_turn_and_then_dies_alone(
    consumer: Consumer,
) -> None:
    unreadable(consumer, 2)
    consumer.sender_away = True
    await consumer.take(2, 3)
    for _ in range(2 * ATTEMPTS):
        await consumer.later(hours=1)
    assert await consumer.store.dead_letters(10) == []

    await consumer.take(1)
    for _ in range(ATTEMPTS):
        await consumer.later(hours=1)
    assert await consumer.effects() == [1, 3]
    assert (await consumer.only_dead_letter()).event_id == event_id("a", 2)


async def test_an_event_that_cannot_be_read_after_a_gap_asks_for_what_is_missing(consumer: Consumer) -> None:
    unreadable(consumer, 2)
    await consumer.take(2)
    await consumer.later(seconds=11)
    assert consumer.asked == [(key_of("a"), 0, 2)]


async def test_an_event_that_comes_while_its_gap_is_given_up_is_not_skipped(consumer: Consumer) -> None:
    consumer.failing.add(event_id("a", 1))
    resend = consumer.resend

    async def comes_at_last(source: str, key: str, after: int, before: int) -> int:
        await consumer.take(1)
        return await resend(source, key, after, before)

    consumer.inbox._resend = comes_at_last
    await consumer.take(3)
    await consumer.later(seconds=11)
    consumer.failing.clear()
    for _ in range(3):
        await consumer.later(seconds=11)
    assert await consumer.effects() == [1, 3]
    assert await consumer.parked() == []


async def test_a_replay_that_was_handled_meanwhile_is_not_parked_again(consumer: Consumer) -> None:
    """Of two who try a replay at once, one may succeed while the other fails."""
    consumer.failing.add(event_id("a", 1))
    await consumer.take(1)
    await consumer.give_up_on(1)
    consumer.failing.clear()
    await consumer.store.replay(event_id("a", 1), consumer.clock(), by=BY)
    (late,) = await consumer.store.due(consumer.clock(), 10)
    await consumer.inbox.sweep()
    await consumer.store.park(late)
    await consumer.store.bury(late)
    assert await consumer.effects() == [1]
    assert await consumer.parked() == []


async def test_an_event_whose_turn_comes_while_it_is_being_parked_is_handled_at_once(
    consumer: Consumer, monkeypatch: pytest.MonkeyPatch
) -> None:
    park = consumer.store.park

    async def first_comes_the_one_before(parked: Parked) -> None:
        monkeypatch.undo()
        await consumer.take(1)
        await park(parked)

    monkeypatch.setattr(consumer.store, "park", first_comes_the_one_before)
    await consumer.take(2)
    assert await consumer.effects() == [1, 2]
    assert await consumer.parked() == []


async def test_a_failure_in_turn_is_no_gap(consumer: Consumer, caplog: pytest.LogCaptureFixture) -> None:
    await consumer.take(2)
    consumer.failing.update({event_id("a", 1), event_id("a", 2)})
    await consumer.take(1)
    consumer.failing.discard(event_id("a", 1))
    with caplog.at_level(logging.ERROR):
        for _ in range(ATTEMPTS - 1):
            await consumer.later(seconds=11)
    assert await consumer.effects() == [1]
    assert consumer.asked == []
    assert "gap" not in caplog.text


async def test_the_inbox_outlives_a_sender_that_cannot_even_be_asked(
    consumer: Consumer, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def unknown(*_: object) -> int:
        raise KeyError("/mercato/nobody")

    monkeypatch.setattr(inbox_module, "SWEEP_S", 0.001)
    consumer.inbox._resend = unknown
    await consumer.take(2)
    consumer.clock.forward(seconds=15)
    consumer.failing.add(event_id("b", 1))
    await consumer.inbox.receive([encoded(changed("b", 1))])
    consumer.failing.clear()
    consumer.clock.forward(seconds=60)
    running = asyncio.create_task(consumer.inbox.run())
    async with asyncio.timeout(10):
        assert await consumer.took_effect.get() == event_id("b", 1)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_a_repeated_delivery_does_not_begin_the_count_of_failures_anew(consumer: Consumer) -> None:
    consumer.failing.add(event_id("a", 1))
    for _ in range(ATTEMPTS):
        await consumer.take(1)
        await consumer.later(hours=1)
    assert (await consumer.only_dead_letter()).attempts == ATTEMPTS


async def test_a_gap_that_closed_meanwhile_is_not_skipped_backwards(consumer: Consumer) -> None:
    await consumer.take(1, 2, 3)
    await consumer.store.skip_to(key_of("a"), 2)
    await consumer.take(2, 3, 4)
    assert await consumer.effects() == [1, 2, 3, 4]


async def test_only_a_dead_letter_that_is_to_be_replayed_can_be(consumer: Consumer) -> None:
    await consumer.take(1)
    replay = ByEvent(event_id("a", 1), key_of("a"), 1, "event", replay=True)
    with pytest.raises(AlreadyHandled):
        await consumer.store.settle(replay)
