"""The messages of graphql-transport-ws, which is GraphQL over WebSocket (github.com/enisdenjo/graphql-ws)."""

from typing import Any

import msgspec

from mercato.gateway.live.executes import Operation

SUBPROTOCOL = "graphql-transport-ws"

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


Message = Init | Ping | Pong | Subscribe | Complete

_decoder = msgspec.json.Decoder(Message)
_encode = msgspec.json.Encoder().encode

ACK = b'{"type":"connection_ack"}'
PONG = b'{"type":"pong"}'


def decode(text: str) -> Message:
    """Read a client's message. Raises ValueError, whose words are for the client."""
    try:
        message: Message = _decoder.decode(text)
    except (msgspec.MsgspecError, RecursionError) as error:
        raise ValueError(f"Invalid message: {error}") from None
    return message


def following(operation_id: str, body: bytes) -> bytes:
    """Return the message with an answer, which is JSON already."""
    return b'{"id":' + _encode(operation_id) + b',"type":"next","payload":' + body + b"}"


def failed(operation_id: str, errors: bytes) -> bytes:
    """Return the message that an operation failed before it was carried out. `errors` is a list in JSON."""
    return b'{"id":' + _encode(operation_id) + b',"type":"error","payload":' + errors + b"}"


def completed(operation_id: str) -> bytes:
    """Return the message that an operation is over."""
    return b'{"id":' + _encode(operation_id) + b',"type":"complete"}'
