"""Events into a service's outbox, each with the next number of its key, in the step that they tell of."""

from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime

import msgspec

from mercato.adapters.sql.database import Dialect, Tx
from mercato.contracts.events import Event, Payload, Traced, ordering_key
from mercato.kernel.clock import to_micros
from mercato.kernel.ids import uuid7
from mercato.kernel.tracing import TraceContext

Append = Callable[[Tx, str, Sequence[Traced], datetime], Awaitable[None]]
"""`(tx, source, events, at)`: publishes what has happened at a moment."""

_UNNUMBERED = "0" * 20
_SEQUENCE = b'"sequence":"'
"""What stands before an event's number, and nowhere in what comes before that: texts have quotes escaped."""

_NUMBERED = (
    "numbered AS (INSERT INTO outbox_sequences (key, last)"
    " SELECT k, n FROM unnest(?::text[], ?::bigint[]) AS u (k, n)"
    " ON CONFLICT (key) DO UPDATE SET last = outbox_sequences.last + excluded.last RETURNING key, last)"
)
_INSERT = (
    "INSERT INTO outbox (event_id, key, sequence, type, tenant_id, body, created_at)"
    " SELECT e.id, e.key, n.last - e.back, e.type, e.tenant,"
    " overlay(e.body PLACING convert_to(lpad((n.last - e.back)::text, 20, '0'), 'UTF8') FROM e.at FOR 20),"
    " ?::bigint FROM unnest(?::text[], ?::text[], ?::bigint[], ?::text[], ?::text[], ?::bytea[], ?::int[])"
    " WITH ORDINALITY AS e (id, key, back, type, tenant, body, at, place)"
    " JOIN numbered n ON n.key = e.key ORDER BY e.place"
)


async def _one_by_one(tx: Tx, source: str, events: Sequence[Traced], at: datetime) -> None:
    for payload, trace in events:
        key = ordering_key(payload)
        row = await tx.fetch_one(
            "INSERT INTO outbox_sequences (key, last) VALUES (?, 1)"
            " ON CONFLICT (key) DO UPDATE SET last = outbox_sequences.last + 1 RETURNING last",
            (key,),
        )
        assert row is not None  # noqa: S101  INSERT … RETURNING has a row
        event = _event(payload, source, key, f"{row[0]:020}", at, trace)
        await tx.execute(
            "INSERT INTO outbox (event_id, key, sequence, type, tenant_id, body, created_at)"
            " VALUES (?, ?, ?, ?, ?, ?, ?)",
            (event.id, key, row[0], event.type, event.tenantid, msgspec.json.encode(event), to_micros(at)),
        )


async def _at_once(tx: Tx, source: str, events: Sequence[Traced], at: datetime) -> None:
    """Put all with one statement, which writes their numbers into them."""
    made = [
        _event(payload, source, ordering_key(payload), _UNNUMBERED, at, trace) for payload, trace in events
    ]
    # In the order of the keys, so that two steps can never wait for each other.
    counts = dict(sorted(Counter(event.partitionkey for event in made).items()))
    left = counts.copy()
    backs = []
    for event in made:
        left[event.partitionkey] -= 1
        backs.append(left[event.partitionkey])
    tenants: list[str] = [event.tenantid for event in made]
    bodies = [msgspec.json.encode(event) for event in made]
    await tx.put(
        _INSERT,
        (
            [*counts],
            [*counts.values()],
            to_micros(at),
            [event.id for event in made],
            [event.partitionkey for event in made],
            backs,
            [event.type for event in made],
            tenants,
            bodies,
            # Its places are counted from one.
            [body.index(_SEQUENCE) + len(_SEQUENCE) + 1 for body in bodies],
        ),
        given=_NUMBERED,
    )


def _event(
    payload: Payload, source: str, key: str, sequence: str, at: datetime, trace: TraceContext | None
) -> Event:
    return Event(
        id=uuid7(),
        source=source,
        type=payload.type,
        subject=payload.subject,
        time=at,
        tenantid=payload.tenant_id,
        partitionkey=key,
        sequence=sequence,
        traceparent=msgspec.UNSET if trace is None else trace.traceparent,
        tracestate=msgspec.UNSET if trace is None or not trace.state else trace.state,
        data=msgspec.Raw(msgspec.json.encode(payload)),
    )


APPEND: dict[Dialect, Append] = {"sqlite": _one_by_one, "postgres": _at_once}
