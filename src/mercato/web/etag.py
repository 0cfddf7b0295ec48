"""Entity tags and the preconditions that name them (RFC 9110, sections 8.8.3 and 13.1).

A tag is the object's version, and after a dot what else its representation depends on:
`"7"`, `"7.in"`. A read's If-None-Match compares all of it, a write's If-Match the version: it
guards what the write replaces.
"""

import re
from collections.abc import Mapping

from mercato.kernel.versions import ANY_VERSION, Expected

_strong = re.compile(r'"([0-9]{1,18})(?:\.[!-~]*?)?"').fullmatch


def tag(version: int, variant: str = "") -> str:
    """Return the entity tag of an object's representation."""
    return f'"{version}.{variant}"' if variant else f'"{version}"'


def tag_of(view: object, variant: str = "") -> str | None:
    """Return a view's entity tag: its `etag`, or made from its `version`; None if it has neither."""
    own = getattr(view, "etag", None)
    if own is not None:
        return str(own)
    version = getattr(view, "version", None)
    return None if version is None else tag(version, variant)


def expected(headers: Mapping[str, str]) -> Expected:
    """Return what If-Match allows a write to meet. Weak and foreign tags match nothing."""
    given = headers.get("if-match")
    if given is None or given.strip() == "*":
        return ANY_VERSION
    found = (_strong(each.strip()) for each in given.split(","))
    return Expected(frozenset(int(match[1]) for match in found if match))


def is_known(headers: Mapping[str, str], etag: str) -> bool:
    """Say whether If-None-Match names what would be answered: the client has it already."""
    given = headers.get("if-none-match")
    if given is None:
        return False
    return given.strip() == "*" or any(each.strip().removeprefix("W/") == etag for each in given.split(","))
