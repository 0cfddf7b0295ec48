"""Errors: a stable code and a kind, declared beside the rule they guard.

The kind says what sort of refusal it is; each transport maps kinds to its own terms once.
"""

import enum
from collections.abc import Sequence
from typing import ClassVar, Literal

import msgspec


class Kind(enum.Enum):
    """The sorts of refusal a caller can meet."""

    INVALID = "invalid"
    UNAUTHENTICATED = "unauthenticated"
    FORBIDDEN = "forbidden"
    NOT_FOUND = "not_found"
    NOT_ALLOWED = "not_allowed"
    CONFLICT = "conflict"
    STALE = "stale"
    TOO_LARGE = "too_large"
    UNSUPPORTED_MEDIA = "unsupported_media"
    KEY_REUSED = "key_reused"
    HEADERS_TOO_LARGE = "headers_too_large"
    RATE_LIMITED = "rate_limited"
    INTERNAL = "internal"
    UNAVAILABLE = "unavailable"


class FieldError(msgspec.Struct, frozen=True):
    """One field that was refused: its path (`items[2].quantity`) and what is accepted."""

    field: str
    message: str


class MercatoError(Exception):
    """A refusal with a code that clients may rely on and a message made for people."""

    kind: ClassVar[Kind] = Kind.INTERNAL
    code: ClassVar[str] = "INTERNAL_ERROR"

    def __init__(
        self,
        message: str,
        details: Sequence[FieldError] = (),
        *,
        retry_after: int | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.details = tuple(details)
        self.retry_after = retry_after


class BadRequest(MercatoError):
    """The request cannot be read."""

    kind = Kind.INVALID
    code = "BAD_REQUEST"


class ValidationFailed(MercatoError):
    """The request was read, and fields in it are not acceptable; `details` names each."""

    kind = Kind.INVALID
    code = "VALIDATION_ERROR"

    @classmethod
    def of(cls, *details: FieldError) -> "ValidationFailed":
        """Build the error from the fields that were refused."""
        fields = ", ".join(detail.field for detail in details)
        return cls(f"Invalid: {fields}.", details)

    @classmethod
    def field(cls, field: str, message: str) -> "ValidationFailed":
        """Build the error for a single field."""
        return cls.of(FieldError(field, message))


class Unauthenticated(MercatoError):
    """There is no token where one is needed, or it is not valid."""

    kind = Kind.UNAUTHENTICATED
    code = "UNAUTHORIZED"


class Forbidden(MercatoError):
    """The caller's role may not do this, whatever the object."""

    kind = Kind.FORBIDDEN
    code = "FORBIDDEN"


class NotFound(MercatoError):
    """There is no such thing in the caller's scope."""

    kind = Kind.NOT_FOUND
    code = "NOT_FOUND"


class Conflict(MercatoError):
    """The object's state does not allow it."""

    kind = Kind.CONFLICT
    code = "CONFLICT"


class Unavailable(MercatoError):
    """Something needed is away; nothing was decided, and trying again may work."""

    kind = Kind.UNAVAILABLE
    code = "SERVICE_UNAVAILABLE"

    def __init__(self, message: str, *, retry_after: int = 1) -> None:
        super().__init__(message, retry_after=retry_after)


Shortage = Literal["overload", "dependency", "database", "passwords"]
"""What there is too little of: the process itself, another service, connections, or time for passwords."""


class Overloaded(Unavailable):
    """More is asked than can be done in time, so this is refused at once: nothing was done."""

    def __init__(self, message: str, *, reason: Shortage) -> None:
        super().__init__(message, retry_after=1)
        self.reason: Shortage = reason
        """Metrics have it for a label."""
