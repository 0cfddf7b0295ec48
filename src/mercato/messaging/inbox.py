"""The inbox: a consumer's own table is its queue, whatever bus brings the events.

An event is handled when its number is the next of its key. What fails is parked with the
reason and tried again with backoff; later events of the key wait behind it; what keeps
failing is a dead letter, and the key goes on. A gap waits for a while, then the sender is
asked to send again.
"""

import asyncio
import enum
import hashlib
import logging
import random
from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Protocol

import msgspec

from mercato.contracts.events import Event
from mercato.kernel.acting import acting
from mercato.kernel.cause import ByEvent, Cause
from mercato.kernel.clock import Clock
from mercato.kernel.counting import Counter, Histogram, Measure
from mercato.kernel.redaction import without_secrets
from mercato.kernel.subject import concerning
from mercato.kernel.tracing import UNTRACED, Span, SpanKind, Tracing
from mercato.messaging.bus import Refused, decode

log = logging.getLogger(__name__)

Handler = Callable[[Event, ByEvent], Awaitable[None]]
"""Gives an event its effect in one step with `by` as the cause. It may run again."""

Resend = Callable[[str, str, int, int], Awaitable[int]]
"""`(source, key, after, before)`: asks the sender for missed events; how many it still has."""


class AlreadyHandled(Exception):
    """The event has had its effect. Raised out of the step, which is rolled back."""


class OutOfTurn(Exception):
    """Earlier events of the key have not been handled. `expected` is the number due next."""

    def __init__(self, expected: int) -> None:
        super().__init__(expected)
        self.expected = expected


class ParkedState(enum.StrEnum):
    """Why an event is in the inbox table."""

    FAILED = "failed"
    WAITING = "waiting"
    DEAD = "dead"
    REPLAY = "replay"


class Parked(msgspec.Struct, frozen=True):
    """One parked event. `body` is as it came; `key` is empty for bytes that are no event."""

    event_id: str
    tenant_id: str
    type: str
    key: str
    sequence: int
    body: bytes
    state: ParkedState
    attempts: int
    reason: str
    next_try_at: datetime
    first_seen_at: datetime


class _Outcome(enum.Enum):
    """What came of trying an event."""

    BLOCKED = "blocked"
    """It is parked, and its key waits for it."""
    DONE = "done"
    FOLLOWED = "followed"
    """It is out of the way, and others of its key may wait behind it."""


class InboxStore(Protocol):
    """What the inbox needs of a service's database."""

    async def settle(self, by: ByEvent) -> None:
        """Take note of an event that has no effect here. Raises AlreadyHandled, OutOfTurn."""
        ...

    async def settle_all(self, events: Sequence[ByEvent]) -> list[ByEvent]:
        """Take note of those that are in turn, in one step; return the others."""
        ...

    async def position(self, key: str) -> int:
        """Return the number of the last handled event of `key`, 0 before the first."""
        ...

    async def park(self, parked: Parked) -> None:
        """Keep an event for later, or update it, unless it has been handled meanwhile."""
        ...

    async def unpark(self, event_id: str) -> None:
        """Forget a parked event whose turn is past. Dead letters stay."""
        ...

    async def bury(self, parked: Parked) -> None:
        """Make an event a dead letter and let its key go on, in one step; not one handled meanwhile."""
        ...

    async def due(self, now: datetime, limit: int) -> list[Parked]:
        """Return the events whose next try has come, in the order of their keys."""
        ...

    async def next_of(self, key: str) -> Parked | None:
        """Return the parked event of `key` that is first in turn, dead letters apart."""
        ...

    async def skip_to(self, key: str, sequence: int) -> None:
        """Accept that the events of `key` before `sequence` will never come, unless one is parked."""
        ...

    async def dead_letters(self, limit: int, *, after: tuple[datetime, str] | None = None) -> list[Parked]:
        """Return dead letters by when they were first seen and by id; those that follow `after`."""
        ...

    async def dead_letter(self, event_id: str) -> Parked | None:
        """Return one dead letter."""
        ...

    async def replay(self, event_id: str, now: datetime, *, by: Cause) -> bool:
        """Let a dead letter be tried anew; say whether there was one."""
        ...

    async def drop(self, event_id: str, *, by: Cause) -> bool:
        """Delete a dead letter; say whether there was one."""
        ...


class _About(msgspec.Struct, frozen=True):
    """An event, for the lines that are logged while it is handled: see kernel.subject.Subject."""

    event: Event

    def named(self) -> dict[str, str | None]:
        """Return what it can be found by."""
        return {"event_id": self.event.id, "event_type": self.event.type, "tenant": self.event.tenantid}


class Backoff(msgspec.Struct, frozen=True):
    """When a failing event is tried again: delays grow by `factor` with jitter."""

    first: timedelta = timedelta(milliseconds=200)
    factor: float = 3.0
    most: timedelta = timedelta(minutes=5)
    attempts: int = 8
    gap: timedelta = timedelta(seconds=5)
    """How long a gap waits before the sender is asked; after each time twice as long."""
    gap_asks: int = 24
    """How often a sender that still has the events is asked: with these delays, over an hour."""

    def delay(self, attempts: int) -> timedelta:
        """Return how long to wait after that many failures."""
        full = min(self.first * self.factor ** (attempts - 1), self.most)
        return full * random.uniform(0.8, 1.2)  # noqa: S311  spreads load, guards nothing

    def gap_delay(self, asked: int) -> timedelta:
        """Return how long a gap waits after its sender was asked that often."""
        return min(self.gap * 2.0**asked, self.most)


OUTCOMES = ("handled", "passed", "duplicate", "waiting", "failed", "dead", "refused")
"""What may become of an event: it had its effect; it has none here and took its turn; it had been handled;
it waits for earlier ones; it failed and is tried again; it is given up; its bytes cannot be used."""
SWEEP_S = 0.2
_DUE_BATCH = 128
BODY_MOST = 8 << 20
"""Bytes of an event. Ours are far smaller; the database is no place for what anybody sends to the broker."""


_DELAYS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0)


class _Counts:
    """What is told of one consumer's events."""

    def __init__(self, consumer: str) -> None:
        self._consumer = consumer
        self._events = Counter(
            "mercato_inbox_events",
            "What became of events that were delivered or tried again.",
            ("service", "outcome"),
            [(consumer, outcome) for outcome in OUTCOMES],
        )
        self._delay = Histogram(
            "mercato_event_delay_seconds",
            "Time from an event's commit at its sender to the commit of its effect here.",
            labels=("service",),
            values=(consumer,),
            bounds=_DELAYS,
        )
        self.measures: tuple[Measure, ...] = (self._events, self._delay)

    def add(self, outcome: str, by: int = 1) -> None:
        """Count what became of an event."""
        self._events.add(self._consumer, outcome, by=by)

    def had_effect(self, event: Event, now: datetime) -> None:
        """Count an event that has had its effect, and how long that took."""
        self.add("handled")
        # The sender's clock may be ahead.
        self._delay.observe(max((now - event.time).total_seconds(), 0.0))


class Inbox:
    """One consumer's inbox."""

    def __init__(  # noqa: PLR0913  all but the first three are named
        self,
        consumer: str,
        store: InboxStore,
        handlers: Mapping[str, Handler],
        *,
        resend: Resend,
        clock: Clock,
        backoff: Backoff | None = None,
        traces: Tracing = UNTRACED,
    ) -> None:
        """`handlers` is by event type; other types only take their turn."""
        self._traces = traces
        self._consumer = consumer
        self._store = store
        self._handlers = dict(handlers)
        self._resend = resend
        self._clock = clock
        self._backoff = backoff or Backoff()
        self._counts = _Counts(consumer)

    @property
    def measures(self) -> tuple[Measure, ...]:
        """Return what is told of it."""
        return self._counts.measures

    async def receive(self, bodies: Sequence[bytes]) -> None:
        """Take events in. Returns once each is durable here; see bus.Receive."""
        by_key: dict[str, list[tuple[Event, bytes]]] = defaultdict(list)
        too_large = [body for body in bodies if len(body) > BODY_MOST]
        for body in bodies:
            if len(body) > BODY_MOST:
                continue
            try:
                event = decode(body)
            except msgspec.MsgspecError as error:
                await self._bury_bytes(body, str(error))
                continue
            by_key[event.partitionkey].append((event, body))
        settled: list[tuple[Event, bytes]] = []
        turns = []
        # In the order they came: who ordered first is to be served first.
        for key, events in by_key.items():
            if not any(event.type in self._handlers for event, _ in events):
                settled += events
            else:
                turns.append(self._take_in_turn(key, events))
        if settled:
            turns.append(self._settle(settled))
        for outcome in await asyncio.gather(*turns, return_exceptions=True):
            if outcome is not None:
                raise outcome
        if too_large:
            self._counts.add("refused", len(too_large))
            raise Refused(too_large, f"an event has more than {BODY_MOST} bytes")

    async def run(self) -> None:
        """Try parked events when they are due, until cancelled."""
        while True:
            try:
                await self.sweep()
            except Exception:
                log.exception("parked events cannot be tried now", extra={"consumer": self._consumer})
            # Replicas share the table. They sweep apart, so that one finds done what another did.
            await asyncio.sleep(SWEEP_S * random.uniform(0.5, 1.5))  # noqa: S311  spreads load

    async def sweep(self) -> None:
        """Try every parked event that is due, once."""
        for parked in await self._store.due(self._clock(), _DUE_BATCH):
            if parked.state is ParkedState.WAITING:
                await self._ask_for_missed(parked)
            else:
                await self._try(decode(parked.body), parked.body, parked)
                await self._go_on(parked.key)

    async def _settle(self, events: list[tuple[Event, bytes]]) -> None:
        """Take note, in one step, of events that have no effect here; those out of turn wait."""
        by_id = {event.id: (event, body) for event, body in events}
        causes = [_cause(event) for event, _ in events]
        others = await self._store.settle_all(causes)
        self._counts.add("passed", len(causes) - len(others))
        for by in others:
            await self._take_in_turn(by.key, [by_id[by.event_id]])
        for key in {by.key for by in causes if by.followed}:
            await self._go_on(key)

    async def _take_in_turn(self, key: str, events: list[tuple[Event, bytes]]) -> None:
        outcomes = [await self._try(event, body, None) for event, body in events]
        if _Outcome.FOLLOWED in outcomes:
            await self._go_on(key)

    async def _go_on(self, key: str) -> None:
        """Handle what waited behind an event that is out of the way now."""
        while (parked := await self._store.next_of(key)) is not None:
            if parked.state is not ParkedState.WAITING:
                return
            if await self._try(decode(parked.body), parked.body, parked) is _Outcome.BLOCKED:
                return

    async def _try(self, event: Event, body: bytes, parked: Parked | None) -> _Outcome:
        """Handle one event, or park it, as part of the trace that it was made in."""
        traced = self._traces.begin(f"process {event.type}", SpanKind.CONSUMER, event.trace, trusted=True)
        with concerning(_About(event)), traced as span:
            if span.recorded:
                span.set("messaging.operation.type", "process")
                span.set("messaging.destination.name", event.type)
                span.set("messaging.consumer.group.name", self._consumer)
                span.set("messaging.message.id", event.id)
                span.set("mercato.tenant", event.tenantid)
            return await self._try_now(span, event, body, parked)

    async def _try_now(self, span: Span, event: Event, body: bytes, parked: Parked | None) -> _Outcome:
        by = _cause(event, replay=parked is not None and parked.state is ParkedState.REPLAY)
        try:
            handler = self._handlers.get(event.type)
            with acting(event.tenantid):
                if handler is not None:
                    await handler(event, by)
                if not by.recorded:
                    await self._store.settle(by)
        except AlreadyHandled:
            span.set("mercato.outcome", "duplicate")
            if parked is None:
                self._counts.add("duplicate")
            else:
                # Somebody else handled it while it was being parked.
                await self._store.unpark(event.id)
            return _Outcome.DONE
        except OutOfTurn as turn:
            span.set("mercato.outcome", "out_of_turn")
            return await self._wait_for_turn(event, body, parked, turn.expected)
        except Exception as error:  # noqa: BLE001  whatever fails is parked with its reason
            span.fail(type(error).__name__)
            expected = await self._store.position(by.key) + 1
            if expected < by.sequence and not by.replay:
                # It failed before its step could say so. Giving it up would skip those before it.
                return await self._wait_for_turn(event, body, parked, expected)
            return await self._park_failure(event, body, parked, error)
        if handler is None:
            self._counts.add("passed")
        else:
            self._counts.had_effect(event, self._clock())
        return _Outcome.FOLLOWED if by.followed else _Outcome.DONE

    async def _wait_for_turn(
        self, event: Event, body: bytes, parked: Parked | None, expected: int
    ) -> _Outcome:
        """Park an event until its turn; handle it if that came while it was being parked."""
        if parked is not None:
            return _Outcome.BLOCKED
        now = self._clock()
        reason = f"waits for number {expected} of its key"
        row = _row(event, body, ParkedState.WAITING, 0, reason, now + self._backoff.gap, now)
        await self._store.park(row)
        self._counts.add("waiting")
        if await self._store.position(row.key) + 1 < row.sequence:
            return _Outcome.BLOCKED
        return await self._try(event, body, row)

    async def _park_failure(
        self, event: Event, body: bytes, parked: Parked | None, error: Exception
    ) -> _Outcome:
        """Park a failed event or, after the last attempt, bury it."""
        now = self._clock()
        attempts = (parked.attempts if parked else 0) + 1
        state = ParkedState.FAILED
        if parked is not None and parked.state is ParkedState.REPLAY:
            state = ParkedState.REPLAY
        first = parked.first_seen_at if parked else now
        reason = _storable(f"{type(error).__name__}: {error}")
        retry_at = now + self._backoff.delay(attempts)
        row = _row(event, body, state, attempts, reason, retry_at, first)
        details = {"consumer": self._consumer, "attempts": attempts}
        if attempts >= self._backoff.attempts:
            log.error("event became a dead letter", extra=details, exc_info=error)
            await self._store.bury(row)
            self._counts.add("dead")
            return _Outcome.FOLLOWED
        log.warning("event failed and is parked", extra=details | {"cause": reason})
        await self._store.park(row)
        self._counts.add("failed")
        return _Outcome.BLOCKED

    async def _ask_for_missed(self, parked: Parked) -> None:
        """Ask the sender about a gap that lasts, or go on if it no longer has the events."""
        event = decode(parked.body)
        if await self._try(event, parked.body, parked) is not _Outcome.BLOCKED:
            await self._go_on(parked.key)
            return
        handled = await self._store.position(parked.key)
        if handled + 1 >= parked.sequence:
            # There is no gap any more: it has failed in its turn.
            return
        first = await self._store.next_of(parked.key)
        if first is not None and first.event_id != parked.event_id:
            # An earlier one is parked too: it will come to the gap's end first.
            await self._put_off(parked)
            return
        try:
            still_there = await self._resend(event.source, parked.key, handled, parked.sequence)
        except Exception as error:  # noqa: BLE001  a sender is asked in its own library's words
            # Only this sender is away: it is asked again, and nobody else waits for it.
            away = {"consumer": self._consumer, "source": event.source, "cause": repr(error)}
            log.warning("sender cannot be asked for missed events", extra=away)
            await self._put_off(parked)
            return
        if still_there == 0 or parked.attempts + 1 >= self._backoff.gap_asks:
            details = {"consumer": self._consumer, "key": parked.key, "sequence": parked.sequence}
            log.error("gap in events accepted", extra=details)
            await self._store.skip_to(parked.key, parked.sequence)
            await self._go_on(parked.key)
            return
        await self._put_off(msgspec.structs.replace(parked, attempts=parked.attempts + 1))

    async def _put_off(self, parked: Parked) -> None:
        later = self._clock() + self._backoff.gap_delay(parked.attempts)
        await self._store.park(msgspec.structs.replace(parked, next_try_at=later))

    async def _bury_bytes(self, body: bytes, reason: str) -> None:
        """Bytes that are no event can never be handled."""
        now = self._clock()
        log.error("undecodable event", extra={"consumer": self._consumer, "cause": reason})
        await self._store.park(
            Parked(
                # The same bytes once more are the same dead letter.
                event_id=hashlib.sha256(body).hexdigest()[:32],
                tenant_id="",
                type="",
                key="",
                sequence=0,
                body=body,
                state=ParkedState.DEAD,
                attempts=1,
                reason=_storable(reason),
                next_try_at=now,
                first_seen_at=now,
            )
        )
        self._counts.add("refused")


def _storable(reason: str) -> str:
    """Return a reason as it may be told and every database can keep it, whatever an event has put into it."""
    told = without_secrets(reason)
    return told.encode("utf-8", "replace").decode().replace("\0", "\ufffd")[:500]


def _cause(event: Event, *, replay: bool = False) -> ByEvent:
    return ByEvent(event.id, event.partitionkey, int(event.sequence), f"event:{event.type}", replay)


def _row(  # noqa: PLR0913, PLR0917  one argument per column
    event: Event,
    body: bytes,
    state: ParkedState,
    attempts: int,
    reason: str,
    next_try_at: datetime,
    first_seen_at: datetime,
) -> Parked:
    return Parked(
        event_id=event.id,
        tenant_id=event.tenantid,
        type=event.type,
        key=event.partitionkey,
        sequence=int(event.sequence),
        body=body,
        state=state,
        attempts=attempts,
        reason=reason,
        next_try_at=next_try_at,
        first_seen_at=first_seen_at,
    )
