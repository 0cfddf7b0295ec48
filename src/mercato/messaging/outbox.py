"""The port to a service's outbox: events committed with the change that caused them."""

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol

import msgspec

from mercato.messaging.bus import Message

UNCOUNTED = 2**63 - 1
"""More events than there can be."""


class OutboxLag(msgspec.Struct, frozen=True):
    """How far the relay is behind."""

    unsent: int
    oldest: datetime | None


class Outbox(Protocol):
    """What the relay needs of one service's outbox."""

    async def unsent(self, limit: int) -> list[Message]:
        """Return up to `limit` events that no bus has confirmed, in commit order."""
        ...

    async def mark_sent(self, positions: Sequence[int], *, at: datetime) -> None:
        """Note that the bus has these. Idempotent."""
        ...

    async def resend(self, key: str, *, after: int, before: int) -> int:
        """Publish anew the events of `key` numbered between the two, exclusive.

        Returns how many of them there still are.
        """
        ...

    async def lag(self, most: int = UNCOUNTED) -> OutboxLag:
        """Return how much waits and since when; no more than `most` are counted."""
        ...

    async def purge(self, *, before: datetime, limit: int) -> int:
        """Delete up to `limit` events sent before that moment; return how many."""
        ...
