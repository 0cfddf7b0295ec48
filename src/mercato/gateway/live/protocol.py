"""The server's side of graphql-transport-ws: what follows from each message. It does nothing by itself."""

import enum
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from mercato.gateway.live import messages
from mercato.gateway.live.executes import Operation
from mercato.gateway.live.messages import (
    NEW,
    OLD,
    Complete,
    Init,
    OldStart,
    OldStop,
    OldTerminate,
    Ping,
    Pong,
    Subscribe,
)
from mercato.kernel.errors import Kind, MercatoError

NORMAL = 1000


class TooManyOperations(MercatoError):
    """A client has as many operations under way as it may."""

    kind = Kind.RATE_LIMITED
    code = "TOO_MANY_OPERATIONS"


class Phase(enum.Enum):
    """How far a client has come."""

    OPEN = "open"
    INITIALISING = "initialising"
    READY = "ready"


@dataclass(frozen=True, slots=True)
class Identify:
    """Find out who it is, and call `acknowledged`."""

    told: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Send:
    """Send a message."""

    message: bytes


@dataclass(frozen=True, slots=True)
class Start:
    """Begin an operation."""

    id: str
    operation: Operation


@dataclass(frozen=True, slots=True)
class Refuse:
    """Tell that an operation is not begun."""

    id: str
    error: MercatoError


@dataclass(frozen=True, slots=True)
class Stop:
    """End an operation; the client hears no more of it."""

    id: str


@dataclass(frozen=True, slots=True)
class Close:
    """Close the socket."""

    code: int
    reason: str


Act: TypeAlias = Identify | Send | Start | Refuse | Stop | Close | None


class Conversation:
    """Where a conversation stands."""

    def __init__(self, most_operations: int, *, may_be_old: bool = False) -> None:
        """`may_be_old` says that the client also speaks the forerunner: whichever it speaks is answered."""
        self.phase = Phase.OPEN
        self.dialect = NEW
        self._may_be_old = may_be_old
        self._most = most_operations
        self._running: set[str] = set()

    def received(self, text: str | bytes) -> Act:
        """Return what is to be done about a client's message."""
        if isinstance(text, bytes):
            return Close(messages.BAD_REQUEST, "Messages are text.")
        try:
            message = messages.decode(text)
        except ValueError as error:
            return Close(messages.BAD_REQUEST, str(error))
        match message:
            case Init(payload):
                return self._init(payload or {})
            case Ping():
                return Send(messages.PONG)
            case Pong():
                return None
            case Subscribe(operation_id, operation):
                return self._subscribe(operation_id, operation)
            case Complete(operation_id):
                return self._complete(operation_id)
            case OldStart() | OldStop() | OldTerminate():
                return self._old(message)

    def _old(self, message: OldStart | OldStop | OldTerminate) -> Act:
        if not self._may_be_old:
            return Close(messages.BAD_REQUEST, "Invalid message: it is of another subprotocol")
        self.dialect = OLD
        match message:
            case OldStart(operation_id, operation):
                return self._subscribe(operation_id, operation)
            case OldStop(operation_id):
                return self._complete(operation_id)
            case OldTerminate():
                return Close(NORMAL, "")

    def _init(self, told: dict[str, Any]) -> Act:
        if self.phase is not Phase.OPEN:
            return Close(messages.TOO_MANY_INITS, "Too many initialisation requests")
        self.phase = Phase.INITIALISING
        return Identify(told)

    def acknowledged(self) -> Act:
        """Say what follows when it is known who the client is."""
        self.phase = Phase.READY
        return Send(messages.ACK)

    def _subscribe(self, operation_id: str, operation: Operation) -> Act:
        if self.phase is not Phase.READY:
            return Close(messages.UNAUTHORIZED, "Unauthorized")
        if not 1 <= len(operation_id) <= messages.MAX_ID:
            return Close(messages.BAD_REQUEST, f"An id has 1 to {messages.MAX_ID} characters.")
        if operation_id in self._running:
            return Close(messages.TAKEN, f"Subscriber for {operation_id} already exists")
        if len(self._running) >= self._most:
            return Refuse(operation_id, TooManyOperations(f"At most {self._most} operations at once."))
        self._running.add(operation_id)
        return Start(operation_id, operation)

    def _complete(self, operation_id: str) -> Act:
        if operation_id not in self._running:
            # It has ended at the same time, which is nobody's mistake.
            return None
        self._running.remove(operation_id)
        return Stop(operation_id)

    def ended(self, operation_id: str) -> None:
        """Take note that an operation is over, so that its id may be used again."""
        self._running.discard(operation_id)
