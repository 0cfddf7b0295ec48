"""The trace of whoever caused an event goes with it, whoever else shares a commit or a batch."""

import asyncio
from collections.abc import Sequence
from datetime import timedelta

import msgspec
import pytest

from mercato.adapters.sql.database import Tx
from mercato.adapters.sql.inbox import SqlInbox
from mercato.adapters.sql.outbox import SqlOutbox
from mercato.adapters.sql.steps import Steps
from mercato.contracts.events import Event, Events
from mercato.kernel.cause import ByEvent, BySystem
from mercato.kernel.clock import utc_now
from mercato.kernel.errors import Unavailable
from mercato.kernel.tracing import Recorded, TraceContext, Tracing, enter
from mercato.messaging.bus import Message, decode
from mercato.messaging.inbox import Backoff, Handler, Inbox
from mercato.messaging.relay import Relay
from mercato.messaging.sending import told_by
from tests.conftest import OpenDatabase
from tests.spans import Kept
from tests.things import SOURCE, ThingChanged, changed, encoded
from tests.waiting import until

MANY = 12


def place(number: int, *, sampled: bool = True) -> TraceContext:
    return TraceContext(f"{number + 1:032x}", f"{number + 1:016x}", sampled=sampled, state=f"at={number}")


def within(body: bytes, trace: TraceContext) -> bytes:
    """Return an event as it would be, had it been made there."""
    event = decode(body)
    return msgspec.json.encode(
        msgspec.structs.replace(event, traceparent=trace.traceparent, tracestate=trace.state)
    )


async def unsent(steps: Steps) -> dict[str, Event]:
    """Return the events of an outbox, by their subjects."""
    return {event.subject: event for event in map(_event, await SqlOutbox(steps.db).unsent(100))}


def _event(message: Message) -> Event:
    return decode(message.body)


async def change(steps: Steps, trace: TraceContext | None, thing: str) -> None:
    """Change a thing, as part of a trace."""

    async def work(_: Tx) -> tuple[None, Events]:
        return None, (changed(thing, 1),)

    enter(trace)
    await steps.run(BySystem("test"), work)


async def test_events_carry_the_trace_of_whoever_made_them(open_database: OpenDatabase) -> None:
    steps = Steps(await open_database("orders"), source=SOURCE, clock=utc_now)
    changes = [change(steps, place(number), f"thing-{number}") for number in range(MANY)]
    await asyncio.gather(*changes, change(steps, None, "alone"))
    events = await unsent(steps)
    for number in range(MANY):
        event = events[f"thing-{number}"]
        assert (event.traceparent, event.tracestate) == (place(number).traceparent, f"at={number}")
    assert events["alone"].traceparent is msgspec.UNSET
    assert b"trace" not in msgspec.json.encode(events["alone"])


async def test_what_an_event_brings_about_is_part_of_its_trace(open_database: OpenDatabase) -> None:
    steps, kept = Steps(await open_database("orders"), source=SOURCE, clock=utc_now), Kept()

    async def follow(event: Event, by: ByEvent) -> None:
        async def work(_: Tx) -> tuple[None, Events]:
            return None, (changed(f"after-{event.subject}", 1),)

        await steps.run(by, work)

    await inbox(steps, kept, follow).receive(
        [within(encoded(changed(f"thing-{number}", 1)), place(number)) for number in range(MANY)]
    )

    events, spans = await unsent(steps), processed(kept)
    for number in range(MANY):
        (span,) = [each for each in spans if each.context.trace_id == place(number).trace_id]
        assert span.parent_id == place(number).span_id
        assert events[f"after-thing-{number}"].traceparent == span.context.traceparent
        # Its transaction is told within it, though it may have shared that with others.
        parts = [each for each in kept.spans if each.parent_id == span.context.span_id]
        assert [each.name.partition(" ")[0] for each in parts] == ["TRANSACTION"]


async def test_a_parked_event_keeps_its_trace(open_database: OpenDatabase) -> None:
    steps, kept = Steps(await open_database("orders"), source=SOURCE, clock=utc_now), Kept()
    fails = [True]

    async def handle(event: Event, by: ByEvent) -> None:
        if fails.pop():
            fails.append(False)
            raise LookupError("canary-words")
        await steps.settle(by)

    consumer = inbox(steps, kept, handle)
    await consumer.receive([within(encoded(changed("a", 1)), place(0))])

    async def tried_again() -> bool:
        await consumer.sweep()
        return len(processed(kept)) == 2

    await until(tried_again)
    failed, done = processed(kept)
    assert {each.parent_id for each in (failed, done)} == {place(0).span_id}
    assert (failed.error_type, done.error_type) == ("LookupError", "")
    assert "canary" not in repr([each.attributes for each in kept.spans])


async def test_an_event_that_nobody_records_is_handled_without_a_span(open_database: OpenDatabase) -> None:
    steps, kept = Steps(await open_database("orders"), source=SOURCE, clock=utc_now), Kept()
    seen: list[str] = []

    async def handle(event: Event, by: ByEvent) -> None:
        seen.append(event.id)

    hostile = msgspec.json.decode(encoded(changed("b", 1))) | {"traceparent": "00-zz", "tracestate": "é"}
    bodies = [within(encoded(changed("a", 1)), place(0, sampled=False)), msgspec.json.encode(hostile)]
    await inbox(steps, kept, handle, share=0.0).receive(bodies)
    assert len(seen) == 2
    assert kept.spans == []


@pytest.mark.parametrize("away", [False, True], ids=["taken", "away"])
async def test_sending_is_told_of_recorded_events_and_no_others(
    open_database: OpenDatabase,
    away: bool,  # noqa: FBT001  it is a parameter of the test
) -> None:
    steps, kept = Steps(await open_database("orders"), source=SOURCE, clock=utc_now), Kept()
    await change(steps, place(0), "recorded")
    await change(steps, place(1, sampled=False), "not")
    await change(steps, None, "alone")

    class Bus:
        async def publish(self, messages: Sequence[Message]) -> Sequence[int]:
            if away:
                raise Unavailable("The broker is away.")
            return [each.position for each in messages]

    relay = Relay(
        "things",
        SqlOutbox(steps.db),
        Bus(),
        clock=utc_now,
        retention=timedelta(days=1),
        sending=told_by(Tracing(kept, 0.0), "rabbitmq"),
    )
    enter(None)
    running = asyncio.create_task(relay.run())
    await until(lambda: bool(kept.spans))
    await relay.stop()
    await running
    first = kept.spans[0]
    assert {each.context.trace_id for each in kept.spans} == {place(0).trace_id}
    assert (first.name, first.parent_id) == ("send thing.changed", place(0).span_id)
    assert first.error_type == ("Unavailable" if away else "")


def inbox(steps: Steps, kept: Kept, handle: Handler, share: float = 1.0) -> Inbox:
    async def resend(_: str, __: str, ___: int, ____: int) -> int:
        return 0

    return Inbox(
        "orders",
        SqlInbox(steps),
        {ThingChanged.type: handle},
        resend=resend,
        clock=utc_now,
        backoff=Backoff(first=timedelta(milliseconds=1)),
        traces=Tracing(kept, share),
    )


def processed(kept: Kept) -> list[Recorded]:
    return [each for each in kept.spans if each.name == "process thing.changed"]
