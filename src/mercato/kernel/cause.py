"""What made a change happen. Every change in a store names its cause.

The cause's own record is written in the commit of the change: a call's idempotency claim
gets its answer, an event its place in the inbox. So neither can take effect twice.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from mercato.kernel.tenancy import TenantId


@dataclass(frozen=True, slots=True)
class Claim:
    """A keyed call's exclusive right, for the time of a lease, to do one operation.

    `object_id` was minted with the claim, so an operation taken up again after a crash works
    on the same object. `attempt` fences off a holder whose lease ran out.
    """

    tenant: TenantId
    principal: str
    route: str
    key: str
    object_id: str
    attempt: int


@dataclass(slots=True)
class Note:
    """What is to be told of an act by its first change: who did what to which object, from where.

    Never what was said: of a body it has the fields' names alone.
    """

    tenant: TenantId
    """The store whose admins may read it."""
    actor: str
    role: str
    action: str
    """The stable name of the operation."""
    object_kind: str
    object_id: str
    fields: tuple[str, ...] = ()
    address: str = ""
    request_id: str = ""
    written: bool = False
    """It is committed, so later steps of the same act do not tell it again."""

    def mark_written(self) -> None:
        """Take note that it is committed."""
        self.written = True


@dataclass(slots=True)
class ByCall:
    """A request. With a claim, `answer` renders the response from what was saved."""

    actor: str
    claim: Claim | None = None
    answer: Callable[[Any], bytes] | None = None
    stored: bytes | None = None
    """The answer as it was stored with the effect, once that is committed."""
    note: Note | None = None
    """What is told of the call, if somebody answers for it."""


@dataclass(slots=True)
class ByEvent:
    """A consumed event: number `sequence` of those with the same `key`.

    A `replay` is an event that had been given up: its turn is past, so it is known by its id.
    """

    event_id: str
    key: str
    sequence: int
    actor: str
    replay: bool = False
    recorded: bool = field(default=False)
    """Set once a step has committed this event's place in the inbox."""
    followed: bool = field(default=False)
    """Set when it takes its turn while later events of its key wait for theirs."""


@dataclass(frozen=True, slots=True)
class BySystem:
    """Mercato's own clockwork: an expiry, a reconciliation, an operator's command."""

    actor: str
    note: Note | None = field(default=None, compare=False)


Cause = ByCall | ByEvent | BySystem
