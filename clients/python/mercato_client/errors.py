"""What can go wrong with a call: the platform refuses it, or does not answer."""

from collections.abc import Mapping

import msgspec


class FieldError(msgspec.Struct, frozen=True):
    """One field that was refused: its path (`items[2].quantity`) and what is accepted."""

    field: str
    message: str


class MercatoError(Exception):
    """A call did not succeed."""


class Unreachable(MercatoError):
    """No answer came. Whether the call was carried out is not known, unless it was never `sent`."""

    def __init__(self, message: str, *, sent: bool) -> None:
        super().__init__(message)
        self.sent = sent


class UnexpectedAnswer(MercatoError):
    """The answer is not one that the API describes: another server, or another version."""


class ApiError(MercatoError):
    """The platform refused the call. `code` is stable; `message` is made for people."""

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        *,
        details: tuple[FieldError, ...] = (),
        request_id: str = "",
        retry_after: float | None = None,
    ) -> None:
        words = "; ".join(f"{each.field} {each.message}" for each in details)
        super().__init__(f"{status} {code}: {message}" + (f" ({words})" if words else ""))
        self.status = status
        self.code = code
        self.message = message
        self.details = details
        self.request_id = request_id
        self.retry_after = retry_after
        """Seconds after which the platform wants to be asked again."""


class BadRequest(ApiError):
    """400: the request cannot be read, or fields in it are not acceptable; `details` names each."""


class Unauthorized(ApiError):
    """401: there is no token, or it is not valid."""


class Forbidden(ApiError):
    """403: the caller's role may not do this."""


class NotFound(ApiError):
    """404: there is no such thing in the caller's scope."""


class Conflict(ApiError):
    """409: the object's state does not allow it; `code` says what stands against it."""


class VersionMismatch(ApiError):
    """412: the object has changed since it was read."""


class TooManyRequests(ApiError):
    """429: over a limit until `retry_after`."""


class Unavailable(ApiError):
    """503: something needed is away."""


_BY_STATUS: Mapping[int, type[ApiError]] = {
    400: BadRequest,
    401: Unauthorized,
    403: Forbidden,
    404: NotFound,
    409: Conflict,
    412: VersionMismatch,
    429: TooManyRequests,
    503: Unavailable,
}


class _Body(msgspec.Struct, frozen=True):
    code: str
    message: str
    request_id: str = ""
    details: tuple[FieldError, ...] = ()


class _Envelope(msgspec.Struct, frozen=True):
    error: _Body


_decode = msgspec.json.Decoder(_Envelope).decode


def refusal(status: int, body: bytes, retry_after: str | None) -> ApiError:
    """Return the error of an answer that is no success, also where a proxy has written it."""
    try:
        error = _decode(body).error
    except (msgspec.MsgspecError, UnicodeDecodeError):
        error = _Body("HTTP_ERROR", "The answer does not say why.")
    wait = float(retry_after) if retry_after is not None and retry_after.isdecimal() else None
    return _BY_STATUS.get(status, ApiError)(
        status,
        error.code,
        error.message,
        details=error.details,
        request_id=error.request_id,
        retry_after=wait,
    )
