"""Which headers are passed on. Those that are about one connection are not (RFC 9110, section 7.6.1)."""

from collections.abc import Iterable, Mapping

from mercato.adapters.http.client import DEADLINE_HEADER
from mercato.adapters.identity.service_tokens import FORWARDED_HEADER
from mercato.gateway.origin import Origin
from mercato.web.http import Header

_HOP_BY_HOP = frozenset(
    {
        "connection",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)
_TOLD_BY_US = frozenset(
    {
        "forwarded",
        "x-forwarded-for",
        "x-forwarded-host",
        "x-forwarded-port",
        "x-forwarded-proto",
        "x-real-ip",
        "host",
        "x-request-id",
        "traceparent",
        "tracestate",
        "expect",
        DEADLINE_HEADER,
        FORWARDED_HEADER,
    }
)
"""What a client says of these is not passed on: the gateway says it itself, or nobody does."""
_KEPT = frozenset({"authorization", "content-type", "content-length", "host"})
"""What no Connection header can take away: without it a request would be another one."""
_SERVERS_OWN = frozenset({"server", "date", "content-length", "content-type"})
"""What the gateway's own server says of an answer."""


def to_service(headers: Mapping[str, str], origin: Origin, *, with_length: bool) -> list[Header]:
    """Return the headers of a request as a service gets them."""
    dropped = _HOP_BY_HOP | _TOLD_BY_US | _named(headers.get("connection", ""))
    if not with_length:
        dropped |= {"content-length"}
    passed = [(name, value) for name, value in headers.items() if name not in dropped]
    passed += [
        ("x-forwarded-for", origin.path),
        ("x-forwarded-proto", "https" if origin.secure else "http"),
    ]
    if origin.host:
        passed += [("host", origin.host), ("x-forwarded-host", origin.host)]
    return passed


def to_client(headers: Iterable[Header]) -> list[Header]:
    """Return the headers of an answer as the client gets them, but for what the server adds."""
    told = list(headers)
    named = _named(", ".join(value for name, value in told if name == "connection"))
    dropped = _HOP_BY_HOP | _SERVERS_OWN | named
    return [(name, value) for name, value in told if name not in dropped]


def _named(connection: str) -> frozenset[str]:
    """Return the headers that a Connection header says are about the connection."""
    return frozenset(name.strip().lower() for name in connection.split(",")) - _KEPT
