"""Replicas of a consumer share an inbox: whichever takes an event, it has its effect once and in order."""

import asyncio
import random
from collections.abc import Awaitable, Callable

import pytest

from mercato.adapters.sql.database import Tx
from mercato.adapters.sql.steps import Steps
from mercato.contracts.events import Event, Events
from mercato.kernel.cause import ByEvent, BySystem
from mercato.messaging.bus import Refused
from mercato.messaging.inbox import BODY_MOST, ParkedState
from tests.behaviour.inbox_consumer import Consumer, consumer_on
from tests.clock import FakeClock
from tests.conftest import OpenDatabase
from tests.engines import POSTGRES
from tests.things import ThingSeen, changed, encoded, event_id, key_of

Replicas = list[Consumer]


@pytest.fixture
async def replicas(open_database: OpenDatabase) -> Replicas:
    """Three replicas, each with connections of its own where the engine knows several processes."""
    clock = FakeClock()
    first = await open_database("orders")
    databases = [first, *([first] * 2 if first.dialect == "sqlite" else [])]
    while len(databases) < 3:
        databases.append(await open_database("orders"))
    made = [await consumer_on(Steps(databases[0], source="/mercato/x", clock=clock), clock)]
    made += [Consumer(Steps(db, source="/mercato/x", clock=clock), clock) for db in databases[1:]]
    for each in made[1:]:
        each.failing = made[0].failing
    return made


async def until_settled(replicas: Replicas, rounds: int = 60) -> None:
    """Let time pass and all of them sweep at once, until nothing is parked."""
    for _ in range(rounds):
        if not [state for _, state in await replicas[0].parked() if state != "dead"]:
            return
        replicas[0].clock.forward(seconds=11)
        await asyncio.gather(*(each.inbox.sweep() for each in replicas))
    raise AssertionError(f"still parked: {await replicas[0].parked()}")


@pytest.mark.parametrize("seed", range(8))
async def test_shuffled_repeated_and_failing_events_have_their_effect_once_and_in_order(
    replicas: Replicas, seed: int
) -> None:
    order = random.Random(seed)
    deliveries = [(thing, n) for thing in "abcd" for n in range(1, 11)] * 3
    order.shuffle(deliveries)
    kind = {(thing, n): order.random() < 0.3 for thing in "abcd" for n in range(1, 11)}
    failing_once = {event_id(thing, n) for thing in "abcd" for n in range(1, 11) if order.random() < 0.2}
    replicas[0].failing.update(failing_once)

    def body(thing: str, n: int) -> bytes:
        if kind[thing, n]:
            return encoded(ThingSeen(tenant_id=changed("a", 1).tenant_id, thing=thing, n=n))
        return encoded(changed(thing, n))

    batches = [deliveries[start : start + 7] for start in range(0, len(deliveries), 7)]
    turns: list[Awaitable[None]] = []
    for batch in batches:
        turns.append(order.choice(replicas).inbox.receive([body(*each) for each in batch]))
        if order.random() < 0.3:
            turns.append(order.choice(replicas).inbox.sweep())
    await asyncio.gather(*turns)
    replicas[0].failing.clear()
    await until_settled(replicas)
    for thing in "abcd":
        expected = [n for n in range(1, 11) if not kind[thing, n]]
        assert await replicas[0].effects(thing) == expected
        assert await replicas[0].store.position(key_of(thing)) == 10
    assert await replicas[0].store.dead_letters(10) == []


async def test_an_event_whose_predecessor_another_replica_handles_does_not_wait_for_a_sweep(
    replicas: Replicas,
) -> None:
    things = [f"thing-{n}" for n in range(40)]
    one, two, three = replicas
    await asyncio.gather(
        *(each.take(n, thing=thing) for thing in things for each, n in ((one, 1), (two, 2), (three, 3)))
    )
    for thing in things:
        assert await one.effects(thing) == [1, 2, 3]
    assert await one.parked() == []


async def test_what_another_replica_parked_is_taken_along_when_its_turn_comes(replicas: Replicas) -> None:
    one, two, _ = replicas
    await two.take(2, 3)
    await one.take(1)
    assert await one.effects() == [1, 2, 3]
    seen = ThingSeen(tenant_id=changed("b", 1).tenant_id, thing="b", n=1)
    await two.take(2, thing="b")
    await one.inbox.receive([encoded(seen)])
    assert await one.effects("b") == [2]
    assert await one.parked() == []


async def test_however_many_sweep_a_failing_event_is_given_up_after_its_attempts(replicas: Replicas) -> None:
    one = replicas[0]
    one.failing.add(event_id("a", 1))
    await one.take(1, 2)
    for attempt in range(2, 5):
        one.clock.forward(hours=1)
        await asyncio.gather(*(each.inbox.sweep() for each in replicas))
        rows = await one.steps.db.fetch_all(
            "SELECT attempts FROM inbox_parked WHERE event_id = ?", (event_id("a", 1),)
        )
        assert rows == [(attempt,)]
    assert await one.effects() == [2]
    dead = await one.only_dead_letter()
    assert dead.state is ParkedState.DEAD


@POSTGRES
async def test_a_replay_that_succeeds_here_and_fails_there_has_its_effect_once(replicas: Replicas) -> None:
    """The one that fails would park it again while the other has not committed yet."""
    one, two, _ = replicas
    one.failing.add(event_id("a", 1))
    await one.take(1)
    for _ in range(3):
        await one.later(hours=1)
    one.failing.clear()
    await one.store.replay(event_id("a", 1), one.clock(), by=BySystem("operator"))
    (parked,) = await one.store.due(one.clock(), 10)

    working, go_on = asyncio.Event(), asyncio.Event()
    handling = asyncio.create_task(_replaying(one, working, go_on))
    await working.wait()
    late = asyncio.create_task(two.store.park(parked))
    while not await _waits_for_a_lock(one):  # noqa: ASYNC110  another connection's state has no event
        await asyncio.sleep(0.005)
    go_on.set()
    await asyncio.gather(handling, late)
    await until_settled(replicas)
    assert await one.effects() == [1]
    assert await one.parked() == []


@POSTGRES
async def test_a_gap_is_not_given_up_beside_the_event_that_closes_it(replicas: Replicas) -> None:
    one, two, _ = replicas
    one.failing.add(event_id("a", 1))
    await one.take(3)
    await asyncio.gather(one.store.skip_to(key_of("a"), 3), two.take(1))
    one.failing.clear()
    await until_settled(replicas)
    assert await one.effects() in ([1, 3], [3])
    if await one.effects() == [3]:
        # The gap was given up first: the event's turn was past when it came.
        assert await one.parked() == []


async def test_what_is_too_large_to_be_kept_is_refused_and_the_others_are_handled(replicas: Replicas) -> None:
    large = b"x" * (BODY_MOST + 1)
    with pytest.raises(Refused, match=str(BODY_MOST)) as refused:
        await replicas[0].inbox.receive([large, encoded(changed("a", 1))])
    assert refused.value.bodies == (large,)
    assert await replicas[0].effects() == [1]


@pytest.mark.parametrize(
    "spoil",
    [
        lambda body: body.replace(event_id("a", 1).encode(), b"x" * 37),
        lambda body: body.replace(event_id("a", 1).encode(), b"\\u0000"),
        lambda body: body.replace(event_id("a", 1).encode(), b"\\ud800"),
        lambda body: body.replace(b"shop/thing/a", b"k" * 161),
        lambda body: body.replace(b"shop/thing/a", b"shop\\u0000/thing/a"),
        lambda body: body.replace(b"thing.changed", b"t" * 65),
        lambda body: body.replace(b'"tenantid":"shop"', b'"tenantid":"sh\\u0000p"'),
    ],
    ids=["long id", "NUL in id", "half a character", "long key", "NUL in key", "long type", "NUL in tenant"],
)
async def test_events_that_fit_into_no_column_are_dead_letters_and_hold_up_nobody(
    replicas: Replicas, spoil: Callable[[bytes], bytes]
) -> None:
    one = replicas[0]
    bad = spoil(encoded(changed("a", 1)))
    assert bad != encoded(changed("a", 1))
    await one.inbox.receive([bad, encoded(changed("b", 1))])
    assert await one.effects("b") == [1]
    dead = await one.only_dead_letter()
    assert dead.body == bad
    assert dead.reason


async def test_a_failure_whose_words_no_column_takes_is_parked_all_the_same(replicas: Replicas) -> None:
    one = replicas[0]

    async def handle(event: Event, by: ByEvent) -> None:
        raise LookupError("\0 and \ud800")

    one.inbox._handlers["thing.changed"] = handle
    await one.take(1)
    assert [state for _, state in await one.parked()] == ["failed"]


async def _replaying(consumer: Consumer, working: asyncio.Event, go_on: asyncio.Event) -> None:
    """Handle the replay of the first event, and stand still in the middle of its step."""

    async def work(tx: Tx) -> tuple[None, Events]:
        await tx.execute("INSERT INTO effects (thing, n) VALUES (?, ?)", ("a", 1))
        working.set()
        await go_on.wait()
        return None, ()

    await consumer.steps.run(ByEvent(event_id("a", 1), key_of("a"), 1, "event", replay=True), work)


async def _waits_for_a_lock(consumer: Consumer) -> bool:
    row = await consumer.steps.db.fetch_one(
        "SELECT count(*) FROM pg_stat_activity"
        " WHERE wait_event_type = 'Lock' AND datname = current_database()"
    )
    return row is not None and row[0] > 0
