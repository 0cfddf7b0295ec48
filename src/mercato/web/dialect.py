"""Dialects: how one and the same answer is written down for different clients.

The contract's own encloses all answers in an envelope and writes snake_case. The flat one is that of
the AWS SaaS reference architecture: the bare object or array, and `{"error": "…"}`.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import msgspec

from mercato.kernel.errors import MercatoError, ValidationFailed
from mercato.web import envelope
from mercato.web.decode import Misfit
from mercato.web.envelope import PageMeta
from mercato.web.errors import enveloped_error
from mercato.web.http import Header

_name = re.compile(r"[A-Za-z_]+")
_encode = msgspec.json.Encoder().encode


@dataclass(frozen=True, slots=True)
class Dialect:
    """How an endpoint's answers are written."""

    success: Callable[[bytes, PageMeta | None], bytes]
    """Returns the body that carries encoded data; of a page, with where it stands in its list."""
    page_headers: Callable[[PageMeta], list[Header]]
    """Returns what headers tell of a page."""
    refusal: Callable[[MercatoError, str], bytes]
    """Returns the body of a refusal of the request with that id."""


def _no_headers(_: PageMeta) -> list[Header]:
    return []


ENVELOPED = Dialect(envelope.success, _no_headers, enveloped_error)


def flat(names: Mapping[str, str]) -> Dialect:
    """Return the flat dialect, in which refusals call the services' fields by other `names`."""

    def refusal(error: MercatoError, request_id: str) -> bytes:  # noqa: ARG001  it is in a header
        return _encode({"error": _in_words(error, names)})

    return Dialect(_bare, _link, refusal)


def _bare(data: bytes, _: PageMeta | None = None) -> bytes:
    return data


def _link(meta: PageMeta) -> list[Header]:
    """Lead to the next page (RFC 8288): a query alone, which holds below any prefix of a proxy."""
    if meta.next_cursor is None:
        return []
    return [("link", f'<?limit={meta.limit}&after={meta.next_cursor}>; rel="next"')]


def _in_words(error: MercatoError, names: Mapping[str, str]) -> str:
    """Say all that is wrong in one text: where fields are at fault, each with what it takes."""
    if isinstance(error, Misfit):
        names = {}
    message = "" if error.details and isinstance(error, ValidationFailed) else error.message
    told = [
        f"{_name.sub(lambda found: names.get(found[0], found[0]), each.field)} {each.message}"
        for each in error.details
        if each.message not in message
    ]
    return f"{message} {'; '.join(told)}.".lstrip() if told else message
