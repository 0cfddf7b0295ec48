"""Where a document comes from: sent along, sent before (automatic persisted queries), or trusted.

Automatic persisted queries are Apollo's: a client sends the SHA-256 of a document instead of it, and the
document too where the server does not know it (yet, or any more). So they may be forgotten at any time.
"""

import hashlib
import re
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

from mercato.gateway.graphql.answer import refused
from mercato.gateway.graphql_http.asked import Asked
from mercato.kernel.errors import BadRequest

MOST_BYTES = 4 * 1024 * 1024
"""Of all documents that are remembered."""
MOST_BYTES_OF_ONE = 64 * 1024
_OVERHEAD = 256
"""What a short one takes besides its text."""
_VERSION = 1
_PREFIX = "sha256:"
_sha256 = re.compile(r"[0-9a-f]{64}").fullmatch


class Documents:
    """The documents that this process knows by their hashes or ids."""

    def __init__(self, trusted: Mapping[str, str] | None = None, *, persisted: bool = True) -> None:
        """With `trusted`, texts by hash and id, there are no others; else, if `persisted`, some are kept."""
        self._trusted = trusted
        self._persisted = persisted
        self._known: OrderedDict[str, str] = OrderedDict()
        self._bytes = 0

    def find(self, asked: Asked) -> str:
        """Return the document that is asked for.

        Raises Refused where its hash or id is not known, BadRequest where none is asked for, or two are.
        """
        digest = _persisted_hash(asked)
        if asked.query is not None:
            if digest is not None and digest != sha256(asked.query):
                raise BadRequest("The sha256Hash is not the query's.")
            # Whether the text is a trusted one is the engine's to say.
            return asked.query
        name = digest or (asked.document_id or "").removeprefix(_PREFIX)
        if not name:
            raise BadRequest("A query is needed, or the hash or the documentId of one.")
        if self._trusted is not None:
            if name not in self._trusted:
                raise refused("There is no trusted document of this name.", "PERSISTED_QUERY_NOT_IN_LIST")
            return self._trusted[name]
        if not self._persisted:
            raise refused("PersistedQueryNotSupported", "PERSISTED_QUERY_NOT_SUPPORTED")
        found = self._known.get(name)
        if found is None:
            raise refused("PersistedQueryNotFound", "PERSISTED_QUERY_NOT_FOUND")
        self._known.move_to_end(name)
        return found

    def remember(self, asked: Asked) -> None:
        """Keep a document that came with its hash and turned out to be one; those used least recently go."""
        digest, text = _persisted_hash(asked), asked.query
        if digest is None or text is None or self._trusted is not None or not self._persisted:
            return
        size = _size(text)
        if digest in self._known or size > MOST_BYTES_OF_ONE:
            return
        self._known[digest] = text
        self._bytes += size
        while self._bytes > MOST_BYTES:
            _, dropped = self._known.popitem(last=False)
            self._bytes -= _size(dropped)


def sha256(text: str) -> str:
    """Return the hash that a document is known by, in hexadecimal digits."""
    return hashlib.sha256(text.encode()).hexdigest()


def hashes(trusted: Mapping[str, str]) -> frozenset[str]:
    """Return the hashes of trusted documents, as the engine knows them by."""
    return frozenset(map(sha256, trusted.values()))


def _size(text: str) -> int:
    return len(text.encode()) + _OVERHEAD


def _persisted_hash(asked: Asked) -> str | None:
    """Return the hash of `extensions.persistedQuery`. Raises BadRequest for one that is none."""
    told: Any = (asked.extensions or {}).get("persistedQuery")
    if told is None:
        return None
    if not isinstance(told, dict) or told.get("version") != _VERSION:
        raise BadRequest("The only version of a persistedQuery is 1.")
    digest = told.get("sha256Hash")
    if not isinstance(digest, str) or not _sha256(digest):
        raise BadRequest("The sha256Hash of a persistedQuery must be 64 hexadecimal digits in lower case.")
    return digest
