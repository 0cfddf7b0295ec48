"""Events as a service tells them."""

from collections import Counter

import msgspec

from mercato.contracts.events import Event, Payload, ordering_key
from mercato.kernel.clock import Clock
from mercato.kernel.ids import uuid7


def event_of(payload: Payload, sequence: int, clock: Clock) -> Event:
    """Return an event, the `sequence`th of its key."""
    return Event(
        id=uuid7(),
        source="/mercato/orders",
        type=payload.type,
        subject=payload.subject,
        time=clock(),
        tenantid=payload.tenant_id,
        partitionkey=ordering_key(payload),
        sequence=f"{sequence:020}",
        data=msgspec.Raw(msgspec.json.encode(payload)),
    )


class Teller:
    """Tells events, each the next of its key."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._told: Counter[str] = Counter()

    def encoded(self, payload: Payload) -> bytes:
        """Return the next event of its key as it travels."""
        key = ordering_key(payload)
        self._told[key] += 1
        return msgspec.json.encode(event_of(payload, self._told[key], self._clock))
