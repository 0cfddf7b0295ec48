"""Which of the types that can be answered a client wants (RFC 9110, section 12.5.1)."""

from collections.abc import Sequence

GRAPHQL = "application/graphql-response+json"
JSON = "application/json"
EVENTS = "text/event-stream"
HTML = "text/html"
_MOST_RANGES = 50
"""What is said beyond these is not looked at."""


def wanted(accept: str | None, offered: Sequence[str]) -> list[str]:
    """Return those of the `offered` that are accepted, best first; of equal ones the order offered decides.

    A header that is not there, or says nothing, accepts all.
    """
    ranges = [_range(each) for each in (accept or "*/*").split(",")[:_MOST_RANGES] if each.strip()]
    told = {kind: _quality(kind, ranges) for kind in offered}
    return sorted((kind for kind in offered if told[kind] > 0), key=lambda kind: -told[kind])


def names(accept: str | None, *kinds: str) -> bool:
    """Say whether the header names one of the types itself, not by a wildcard."""
    return any(_range(each)[0] in kinds for each in (accept or "").split(",")[:_MOST_RANGES])


def _range(text: str) -> tuple[str, float]:
    kind, *parameters = text.split(";")
    quality = 1.0
    for parameter in parameters:
        name, _, value = parameter.strip().partition("=")
        if name.strip().lower() == "q":
            try:
                quality = min(max(float(value), 0.0), 1.0)
            except ValueError:
                quality = 0.0
    return kind.strip().lower(), quality


def _quality(kind: str, ranges: Sequence[tuple[str, float]]) -> float:
    """Return how much a type is wanted: what is said of it most exactly counts."""
    for pattern in (kind, f"{kind.partition('/')[0]}/*", "*/*"):
        found = [quality for told, quality in ranges if told == pattern]
        if found:
            return max(found)
    return 0.0
