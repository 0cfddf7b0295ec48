"""The opening handshake of a WebSocket, as a server checks it (RFC 6455, section 4.2)."""

import base64
import hashlib
import re

from mercato.kernel.errors import BadRequest
from mercato.web.http import Request

_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_key = re.compile(r"[A-Za-z0-9+/]{22}==").fullmatch
"""Sixteen bytes in base64."""


def asks_for_socket(request: Request) -> bool:
    """Say whether a request asks for its connection to become a WebSocket."""
    headers = request.headers
    return (
        request.method == "GET"
        and "websocket" in _listed(headers.get("upgrade", ""))
        and "upgrade" in _listed(headers.get("connection", ""))
    )


def check_handshake(request: Request) -> str:
    """Return the answer to the handshake's key. Raises BadRequest."""
    headers = request.headers
    if headers.get("sec-websocket-version") != "13":
        raise BadRequest("The version of WebSocket here is 13.")
    key = headers.get("sec-websocket-key", "")
    if not _key(key):
        raise BadRequest("Sec-WebSocket-Key must be 16 bytes in base64.")
    if headers.get("content-length", "0") != "0" or "transfer-encoding" in headers:
        raise BadRequest("A handshake has no body.")
    digest = hashlib.sha1(key.encode() + _GUID, usedforsecurity=False).digest()
    return base64.b64encode(digest).decode()


def offered(request: Request) -> list[str]:
    """Return the subprotocols that a client can speak."""
    return [each.strip() for each in request.headers.get("sec-websocket-protocol", "").split(",")]


def _listed(header: str) -> list[str]:
    return [each.strip().lower() for each in header.split(",")]
