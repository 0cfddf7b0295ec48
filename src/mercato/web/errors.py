"""The error table: every refusal's status, and the envelope it travels in."""

import msgspec

from mercato.kernel.errors import BadRequest, FieldError, Kind, MercatoError
from mercato.web.http import Header, Response


class MethodNotAllowed(MercatoError):
    """The path exists, and not with this method."""

    kind = Kind.NOT_ALLOWED
    code = "METHOD_NOT_ALLOWED"

    def __init__(self, allowed: str) -> None:
        super().__init__(f"Use {allowed} here.")
        self.allowed = allowed


class Misframed(BadRequest):
    """Where the request ends or whom it is for is not beyond doubt: the connection ends with the answer.

    What follows on it may be part of the same request, read by somebody else as another.
    """


class PayloadTooLarge(MercatoError):
    """The body is larger than the endpoint takes."""

    kind = Kind.TOO_LARGE
    code = "PAYLOAD_TOO_LARGE"


class UnsupportedMediaType(MercatoError):
    """The body is of a kind that the endpoint does not take, or is encoded."""

    kind = Kind.UNSUPPORTED_MEDIA
    code = "UNSUPPORTED_MEDIA_TYPE"


class HeadersTooLarge(MercatoError):
    """The headers are larger than any endpoint takes."""

    kind = Kind.HEADERS_TOO_LARGE
    code = "HEADERS_TOO_LARGE"


class KeyReused(MercatoError):
    """The Idempotency-Key was used for another request."""

    kind = Kind.KEY_REUSED
    code = "IDEMPOTENCY_KEY_REUSED"


class KeyInUse(MercatoError):
    """The first request with this Idempotency-Key is still in progress."""

    kind = Kind.CONFLICT
    code = "IDEMPOTENCY_KEY_IN_USE"


class InternalError(MercatoError):
    """A defect. The cause is in the log, never in the answer."""


STATUS: dict[Kind, int] = {
    Kind.INVALID: 400,
    Kind.UNAUTHENTICATED: 401,
    Kind.FORBIDDEN: 403,
    Kind.NOT_FOUND: 404,
    Kind.NOT_ALLOWED: 405,
    Kind.CONFLICT: 409,
    Kind.STALE: 412,
    Kind.TOO_LARGE: 413,
    Kind.UNSUPPORTED_MEDIA: 415,
    Kind.KEY_REUSED: 422,
    Kind.RATE_LIMITED: 429,
    Kind.HEADERS_TOO_LARGE: 431,
    Kind.INTERNAL: 500,
    Kind.UNAVAILABLE: 503,
}
"""The HTTP status of each kind of refusal (RFC 9110, RFC 6585)."""

if set(STATUS) != set(Kind):
    raise TypeError(f"no status for {set(Kind) - set(STATUS)}")


class ErrorBody(msgspec.Struct, frozen=True, omit_defaults=True):
    """What went wrong: a stable code, words for people, and the request to quote."""

    code: str
    message: str
    request_id: str
    details: tuple[FieldError, ...] = ()


class ErrorEnvelope(msgspec.Struct, frozen=True):
    """The body of every refusal."""

    error: ErrorBody
    success: bool = False


_encode = msgspec.json.Encoder().encode


def enveloped_error(error: MercatoError, request_id: str) -> bytes:
    """Return the envelope of a refusal."""
    return _encode(ErrorEnvelope(ErrorBody(error.code, error.message, request_id, error.details)))


def error_response(error: MercatoError, body: bytes) -> Response:
    """Return the response that carries a refusal's body."""
    headers: list[Header] = []
    if error.retry_after is not None:
        headers.append(("retry-after", str(error.retry_after)))
    if error.kind is Kind.UNAUTHENTICATED:
        headers.append(("www-authenticate", "Bearer"))
    if isinstance(error, MethodNotAllowed):
        headers.append(("allow", error.allowed))
    if isinstance(error, Misframed):
        headers.append(("connection", "close"))
    return Response(STATUS[error.kind], body, headers=headers)
