"""The port to whatever carries events between services."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Protocol

import msgspec

from mercato.contracts.events import Event


class Message(msgspec.Struct, frozen=True):
    """One encoded event on its way. `position` is the sender's own name for it."""

    position: int
    type: str
    body: bytes
    key: str = ""
    """Within which order is kept. Those without one are ordered among themselves."""


Receive = Callable[[Sequence[bytes]], Awaitable[None]]
"""Takes encoded events into a consumer's inbox. Returns once each is durable there: handled,
parked or known. Raises Unavailable if it cannot keep them; they will come again. Raises Refused
for those that it can never keep, once the others are durable."""

Hear = Callable[[Sequence[bytes]], Awaitable[None]]
"""Takes note of encoded events that one process is interested in, such as for its cache."""


class Refused(Exception):
    """A consumer's database can never keep these bytes, not even as a dead letter."""

    def __init__(self, bodies: Sequence[bytes], reason: str) -> None:
        super().__init__(reason)
        self.bodies = tuple(bodies)


class BusState(msgspec.Struct, frozen=True):
    """How a process's part of the bus is."""

    connected: bool
    unconfirmed: int = 0
    """Events published that the bus has not taken over yet."""
    unacknowledged: int = 0
    """Events delivered that are not durable in an inbox yet."""
    redelivered: int = 0
    """Deliveries, since the start, of which the bus says that they may have been made before."""


class Publisher(Protocol):
    """What a relay needs of a bus."""

    async def publish(self, messages: Sequence[Message]) -> Sequence[int]:
        """Publish and return the positions that the bus has taken over for good.

        A position is returned only if those before it of the same key are. Raises Unavailable, or
        what its library raises, if the bus has taken over none.
        """
        ...


class Bus(Publisher, Protocol):
    """Carries events at least once, in the order published, to every subscriber."""

    @property
    def system(self) -> str:
        """What OpenTelemetry's conventions call it."""
        ...

    def subscribe(self, consumer: str, families: frozenset[str], receive: Receive) -> None:
        """Deliver every event of these families to `consumer`, named once per service.

        The replicas of a service share its events. Called before `start`.
        """
        ...

    def listen(self, families: frozenset[str], hear: Hear, missed: Callable[[], None]) -> None:
        """Let this very process hear every event of these families, each at most once.

        `missed` is called when some may have been missed, such as while the bus was away. Called
        before `start`.
        """
        ...

    async def start(self) -> None:
        """Begin to deliver. A bus that is away is joined when it is back."""
        ...

    async def stop(self) -> None:
        """Finish what is being delivered, take nothing more, and close."""
        ...

    def state(self) -> BusState:
        """Return how it is."""
        ...

    @property
    def has_queues(self) -> bool:
        """Whether events wait in queues of the broker for consumers of this process."""
        ...

    async def depths(self) -> Mapping[str, int]:
        """Return how many events wait in each of those queues.

        Raises Unavailable, or what its library raises.
        """
        ...


def decode(body: bytes) -> Event:
    """Decode an encoded event. Raises msgspec.MsgspecError for bytes that are none."""
    try:
        return msgspec.json.decode(body, type=Event)
    except (RecursionError, UnicodeDecodeError) as error:
        raise msgspec.DecodeError(str(error)) from error
