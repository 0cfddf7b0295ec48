"""The documents of trusted-documents mode, as build tools of clients write them.

A folder of `.graphql` files, each known by its name without the ending; a JSON object of texts by id, as
GraphQL Code Generator and Relay write; or a manifest of operations, as Apollo's tools write. Each document
is known by the SHA-256 of its text, too.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from mercato.gateway.graphql_http.documents import sha256

MOST_DOCUMENTS = 10_000
MOST_BYTES = 32 * 1024 * 1024
_ENDINGS = (".graphql", ".gql")
_MANIFEST = "apollo-persisted-query-manifest"


class BadDocuments(Exception):
    """The documents cannot be used; the message says why, after their path."""


def load(path: Path) -> dict[str, str]:
    """Return the documents' texts, by hash and by id. Raises BadDocuments."""
    known: dict[str, str] = {}
    count = size = 0
    try:
        for name, text in _of_folder(path) if path.is_dir() else _of_file(path):
            count, size = count + 1, size + len(text)
            if count > MOST_DOCUMENTS or size > MOST_BYTES:
                raise BadDocuments(f"holds more than {MOST_DOCUMENTS} documents, or {MOST_BYTES} characters")
            if known.setdefault(name, text) != text:
                raise BadDocuments(f"has two documents named {name}")
            known[sha256(text)] = text
    except (OSError, UnicodeDecodeError) as error:
        raise BadDocuments(f"cannot be read: {error}") from None
    if not known:
        raise BadDocuments("holds no documents")
    return known


def _of_folder(folder: Path) -> Iterator[tuple[str, str]]:
    for path in sorted(folder.rglob("*")):
        if path.suffix in _ENDINGS and path.is_file():
            yield path.stem, path.read_text(encoding="utf-8")


def _of_file(path: Path) -> Iterator[tuple[str, str]]:
    if path.stat().st_size > MOST_BYTES:
        raise BadDocuments(f"is larger than {MOST_BYTES} bytes")
    try:
        held: Any = msgspec.json.decode(path.read_bytes())
        if isinstance(held, dict) and held.get("format") == _MANIFEST:
            held = {each["id"]: each["body"] for each in held["operations"]}
        yield from msgspec.convert(held, dict[str, str]).items()
    except (msgspec.MsgspecError, RecursionError, KeyError, TypeError):
        raise BadDocuments("is no JSON object of texts by id, and no manifest of operations") from None
