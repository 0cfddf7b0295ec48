"""Failures as GraphQL writes them, with the codes that REST has."""

import msgspec

from mercato.kernel.errors import MercatoError

_encode = msgspec.json.Encoder().encode


class _Errors(msgspec.Struct, frozen=True):
    errors: msgspec.Raw


def errors_of(error: MercatoError) -> bytes:
    """Return the list of errors, in JSON, that tells of a refusal."""
    extensions: dict[str, object] = {"code": error.code}
    if error.details:
        extensions["details"] = error.details
    if error.retry_after is not None:
        extensions["retryAfter"] = error.retry_after
    return _encode([{"message": error.message, "extensions": extensions}])


def answer_of(error: MercatoError) -> bytes:
    """Return the whole answer, in JSON, that tells of a refusal."""
    return b'{"errors":' + errors_of(error) + b"}"


def errors_in(body: bytes) -> bytes:
    """Return the list of errors of an answer."""
    return bytes(msgspec.json.decode(body, type=_Errors).errors)
