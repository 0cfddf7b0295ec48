"""The messages of graphql-transport-ws, which is GraphQL over WebSocket (github.com/enisdenjo/graphql-ws).

And those of its forerunner, which is named graphql-ws (github.com/apollographql/subscriptions-transport-ws):
some clients know nothing else, and some speak it although they were answered that the newer one is spoken,
since they look for the header's name in one spelling alone.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import msgspec

from mercato.gateway.live.executes import Operation

FORERUNNER = "graphql-ws"
SUBPROTOCOLS = ("graphql-transport-ws", FORERUNNER)

BAD_REQUEST = 4400
UNAUTHORIZED = 4401
FORBIDDEN = 4403
INIT_TIMEOUT = 4408
TAKEN = 4409
TOO_MANY_INITS = 4429

MAX_ID = 128
"""Characters of an operation's id. Each is sent with every answer."""


class Init(msgspec.Struct, tag="connection_init", frozen=True):
    """A client comes, and may say who it is."""

    payload: dict[str, Any] | None = None


class Ping(msgspec.Struct, tag="ping", frozen=True):
    """The other side is asked whether it is there."""

    payload: dict[str, Any] | None = None


class Pong(msgspec.Struct, tag="pong", frozen=True):
    """It is."""

    payload: dict[str, Any] | None = None


class Subscribe(msgspec.Struct, tag="subscribe", frozen=True):
    """An operation of any kind is asked for."""

    id: str
    payload: Operation


class Complete(msgspec.Struct, tag="complete", frozen=True):
    """An operation is over."""

    id: str


class OldStart(msgspec.Struct, tag="start", frozen=True):
    """The forerunner's Subscribe."""

    id: str
    payload: Operation


class OldStop(msgspec.Struct, tag="stop", frozen=True):
    """The forerunner's Complete."""

    id: str


class OldTerminate(msgspec.Struct, tag="connection_terminate", frozen=True):
    """The forerunner's way to close a socket."""


Message = Init | Ping | Pong | Subscribe | Complete | OldStart | OldStop | OldTerminate

_decoder = msgspec.json.Decoder(Message)
_encode = msgspec.json.Encoder().encode

ACK = b'{"type":"connection_ack"}'
PONG = b'{"type":"pong"}'


def decode(text: str) -> Message:
    """Read a client's message. Raises ValueError, whose words are for the client."""
    if "\\u0000" in text:
        # No database takes it; nor is it of any use where a document escapes it once more.
        raise ValueError("Invalid message: it must not contain NUL")
    try:
        message: Message = _decoder.decode(text)
    except (msgspec.MsgspecError, RecursionError) as error:
        raise ValueError(f"Invalid message: {error}") from None
    return message


@dataclass(frozen=True, slots=True)
class Dialect:
    """How the server says what comes of an operation."""

    next: str
    errors: Callable[[bytes], bytes]
    """Makes of a list of errors, in JSON, what an error message holds."""

    def following(self, operation_id: str, body: bytes) -> bytes:
        """Return the message with an answer, which is JSON already."""
        return _message(operation_id, self.next, body)

    def failed(self, operation_id: str, errors: bytes) -> bytes:
        """Return the message that an operation failed before it was carried out."""
        return _message(operation_id, "error", self.errors(errors))

    def completed(self, operation_id: str) -> bytes:
        """Return the message that an operation is over."""
        return b'{"id":' + _encode(operation_id) + b',"type":"complete"}'


def _message(operation_id: str, kind: str, payload: bytes) -> bytes:
    return b'{"id":' + _encode(operation_id) + b',"type":"' + kind.encode() + b'","payload":' + payload + b"}"


def _first(errors: bytes) -> bytes:
    return bytes(msgspec.json.decode(errors, type=list[msgspec.Raw])[0])


NEW = Dialect("next", lambda errors: errors)
OLD = Dialect("data", _first)
"""Its errors are one."""
