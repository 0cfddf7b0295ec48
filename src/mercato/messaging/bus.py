"""The port to whatever carries events between services."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol

import msgspec

from mercato.contracts.events import Event


class Message(msgspec.Struct, frozen=True):
    """One encoded event on its way. `position` is the sender's own name for it."""

    position: int
    type: str
    body: bytes


Receive = Callable[[Sequence[bytes]], Awaitable[None]]
"""Takes encoded events into a consumer's inbox. Returns once each is durable there: handled,
parked or known. Raises Unavailable if it cannot keep them; they will come again."""


class Bus(Protocol):
    """Carries events at least once, in the order published, to every subscriber."""

    async def publish(self, messages: Sequence[Message]) -> Sequence[int]:
        """Publish and return the positions that the bus has taken over for good."""
        ...

    def subscribe(self, consumer: str, families: frozenset[str], receive: Receive) -> None:
        """Deliver every event of these families to `consumer`, named once per service."""
        ...


def decode(body: bytes) -> Event:
    """Decode an encoded event. Raises msgspec.MsgspecError for bytes that are none."""
    try:
        return msgspec.json.decode(body, type=Event)
    except (RecursionError, UnicodeDecodeError) as error:
        raise msgspec.DecodeError(str(error)) from error
