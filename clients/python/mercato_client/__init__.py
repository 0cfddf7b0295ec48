"""A typed, asynchronous client of a Mercato store backend."""

from mercato_client.answers import Page
from mercato_client.client import Mercato
from mercato_client.errors import (
    ApiError,
    BadRequest,
    Conflict,
    FieldError,
    Forbidden,
    MercatoError,
    NotFound,
    TooManyRequests,
    Unauthorized,
    Unavailable,
    UnexpectedAnswer,
    Unreachable,
    VersionMismatch,
)
from mercato_client.retries import Retries

__all__ = [
    "ApiError",
    "BadRequest",
    "Conflict",
    "FieldError",
    "Forbidden",
    "Mercato",
    "MercatoError",
    "NotFound",
    "Page",
    "Retries",
    "TooManyRequests",
    "Unauthorized",
    "Unavailable",
    "UnexpectedAnswer",
    "Unreachable",
    "VersionMismatch",
]
