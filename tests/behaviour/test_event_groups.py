"""Events that have their effects in one transaction are as independent of each other as in many."""

import asyncio

import pytest

from mercato.adapters.sql.database import Tx
from mercato.adapters.sql.event_groups import MOST
from mercato.adapters.sql.steps import Steps
from mercato.contracts.events import Event, Events
from mercato.kernel.cause import ByEvent
from mercato.kernel.tenancy import TenantId
from tests.behaviour.inbox_consumer import Consumer, consumer_on
from tests.clock import FakeClock
from tests.conftest import OpenDatabase
from tests.engines import POSTGRES
from tests.things import changed, encoded, event_id, key_of

pytestmark = POSTGRES


@pytest.fixture
async def consumer(open_database: OpenDatabase) -> Consumer:
    clock = FakeClock()
    return await consumer_on(Steps(await open_database("orders"), source="/mercato/x", clock=clock), clock)


async def commits(consumer: Consumer) -> list[list[str]]:
    """Return the things whose effects were committed together, in order."""
    rows = await consumer.steps.db.fetch_all("SELECT xmin::text, thing FROM effects ORDER BY at")
    together: dict[str, list[str]] = {}
    for transaction, thing in rows:
        together.setdefault(transaction, []).append(thing)
    return list(together.values())


async def take(consumer: Consumer, *things: str, n: int = 1) -> None:
    await consumer.inbox.receive([encoded(changed(thing, n)) for thing in things])


async def test_events_of_different_keys_share_a_commit_in_the_order_they_came(consumer: Consumer) -> None:
    things = [f"thing-{number}" for number in range(2 * MOST)]
    await take(consumer, *things)
    assert await commits(consumer) == [things[:MOST], things[MOST:]]


async def test_one_that_fails_is_parked_and_keeps_no_other_from_its_effect(consumer: Consumer) -> None:
    consumer.failing.add(event_id("b", 1))
    await take(consumer, "a", "b", "c", "d")
    assert await commits(consumer) == [["a", "c", "d"]]
    assert await consumer.parked() == [(event_id("b", 1), "failed")]
    assert [await consumer.store.position(key_of(each)) for each in "abcd"] == [1, 0, 1, 1]


async def test_those_whose_turn_is_past_or_has_not_come_are_left_out(consumer: Consumer) -> None:
    await take(consumer, "past")
    await take(consumer, "early", n=2)
    await consumer.inbox.receive(
        [encoded(changed(thing, n)) for thing, n in (("past", 1), ("new", 1), ("gap", 3), ("other", 1))]
    )
    assert await commits(consumer) == [["past"], ["new", "other"]]
    assert await consumer.parked() == [(event_id("early", 2), "waiting"), (event_id("gap", 3), "waiting")]
    await take(consumer, "early")
    assert await consumer.effects("early") == [1, 2]


async def test_if_most_of_them_fail_each_is_judged_by_itself(consumer: Consumer) -> None:
    bad = [f"bad-{number}" for number in range(10)]
    consumer.failing.update(event_id(thing, 1) for thing in bad)
    await take(consumer, *bad, "good")
    assert await consumer.effects("good") == [1]
    assert len(await consumer.parked()) == len(bad)


async def test_what_fails_at_the_commit_fails_alone(consumer: Consumer) -> None:
    """Its effect is only put, so nothing shows what is wrong with it before all are sent."""

    async def handle(event: Event, by: ByEvent) -> None:
        async def work(tx: Tx) -> tuple[None, Events]:
            number = 1 if event.subject == "twice" else None
            for n in (1, number or 2):
                await tx.put("INSERT INTO effects (thing, n) VALUES (?, ?)", (event.subject, n))
            return None, ()

        await consumer.steps.run(by, work)

    consumer.inbox._handlers["thing.changed"] = handle
    await take(consumer, *(f"once-{number}" for number in range(6)), "twice")
    assert await consumer.parked() == [(event_id("twice", 1), "failed")]
    for number in range(6):
        assert await consumer.effects(f"once-{number}") == [1, 2]


async def test_a_step_of_one_event_is_refused_as_its_statements_say(consumer: Consumer) -> None:
    class NotThere(Exception):
        pass

    async def handle(event: Event, by: ByEvent) -> None:
        async def work(tx: Tx) -> tuple[None, Events]:
            await tx.put("INSERT INTO effects (thing, n) VALUES (?, 1)", (event.subject,))
            await tx.put("DELETE FROM effects WHERE thing = ?", ("nothing",), otherwise=NotThere)
            return None, ()

        await consumer.steps.run(by, work)

    consumer.inbox._handlers["thing.changed"] = handle
    await take(consumer, "a")
    (reason,) = await consumer.steps.db.fetch_all("SELECT reason FROM inbox_parked")
    assert reason[0].startswith("NotThere")
    assert await consumer.effects() == []


async def test_one_that_others_keep_waiting_keeps_no_other_waiting(consumer: Consumer) -> None:
    held, go_on = asyncio.Event(), asyncio.Event()

    async def hold(tx: Tx) -> None:
        await tx.execute("INSERT INTO effects (thing, n) VALUES ('b', 1)")
        held.set()
        await go_on.wait()

    holding = asyncio.create_task(consumer.steps.db.transact(hold))
    await held.wait()
    taking = asyncio.create_task(take(consumer, "a", "b", "c"))
    assert {await consumer.took_effect.get() for _ in range(2)} == {event_id("a", 1), event_id("c", 1)}
    assert not taking.done()
    go_on.set()
    await asyncio.gather(holding, taking)
    # What was waited for is there now, so the effect is refused.
    assert await consumer.parked() == [(event_id("b", 1), "failed")]


async def test_stores_have_groups_of_their_own(consumer: Consumer) -> None:
    bodies = [encoded(changed(f"{store}-{n}", 1, TenantId(store))) for n in range(3) for store in "xy"]
    await consumer.inbox.receive(bodies)
    assert sorted(await commits(consumer)) == [["x-0", "x-1", "x-2"], ["y-0", "y-1", "y-2"]]
