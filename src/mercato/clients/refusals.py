"""Refusals over HTTP: the same error is raised at the caller as was at the service that was called."""

import msgspec

from mercato.contracts.products import OutOfStock, PriceChanged
from mercato.kernel.errors import (
    BadRequest,
    Conflict,
    FieldError,
    Forbidden,
    MercatoError,
    NotFound,
    Unavailable,
    ValidationFailed,
)

KNOWN: dict[str, type[MercatoError]] = {
    known.code: known
    for known in (BadRequest, ValidationFailed, Forbidden, NotFound, Conflict, OutOfStock, PriceChanged)
}
"""The refusals that contracts name, by their codes."""


class NeighbourFailed(MercatoError):
    """A service refused a call that it ought to answer: one of the two has a defect."""


class _Error(msgspec.Struct, frozen=True):
    code: str
    message: str = ""
    details: tuple[FieldError, ...] = ()


class _Envelope(msgspec.Struct, frozen=True):
    error: _Error


_decode = msgspec.json.Decoder(_Envelope).decode


def refusal(service: str, status: int, body: bytes, retry_after: str | None) -> MercatoError:
    """Return what a service's answer of 400 or more says.

    Whatever is not in the contracts is nothing that a caller could act on.
    """
    if status in {429, 502, 503, 504}:
        seconds = int(retry_after) if retry_after is not None and retry_after.isdigit() else 1
        return Unavailable(f"The {service} service is away.", retry_after=max(seconds, 1))
    try:
        error = _decode(body).error
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return NeighbourFailed(f"The {service} service answered {status}.")
    known = KNOWN.get(error.code)
    if known is None:
        return NeighbourFailed(f"The {service} service answered {status} {error.code}.")
    return known(error.message, error.details)
