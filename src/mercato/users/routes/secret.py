"""Answers that hold secrets."""

from typing import TypeVar

from mercato.web.envelope import Reply
from mercato.web.http import Header

T = TypeVar("T")

_NO_STORE: Header = ("cache-control", "no-store")


def secret(data: T) -> Reply[T]:
    """Answer with tokens, which nothing between here and the client may keep (RFC 6749, 5.1)."""
    return Reply(data, headers=(_NO_STORE,))
