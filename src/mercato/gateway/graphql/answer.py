"""What the engine answers: data and errors, as the GraphQL specification writes them, and what it refuses."""

from collections.abc import Sequence

import msgspec

from mercato.gateway.graphql.bindings import Value
from mercato.kernel.errors import FieldError

PARSE_FAILED = "GRAPHQL_PARSE_FAILED"
VALIDATION_FAILED = "GRAPHQL_VALIDATION_FAILED"
BAD_USER_INPUT = "BAD_USER_INPUT"
OPERATION_RESOLUTION_FAILURE = "OPERATION_RESOLUTION_FAILURE"
"""Codes that GraphQL clients know from Apollo Server."""
INTERNAL_ERROR = "INTERNAL_ERROR"
INTERNAL_MESSAGE = "Something went wrong on our side."


class Location(msgspec.Struct, frozen=True):
    """A place in the document, counted from 1."""

    line: int
    column: int


class ErrorExtensions(msgspec.Struct, frozen=True, omit_defaults=True):
    """What programs read of an error. The codes are those of REST, and those that GraphQL clients know."""

    code: str
    details: Sequence[FieldError] = ()


class Problem(msgspec.Struct, frozen=True, omit_defaults=True):
    """One entry of `errors`. Those of fields have a path, those of whole requests have none."""

    message: str
    extensions: ErrorExtensions
    locations: Sequence[Location] = ()
    path: Sequence[str | int] = ()


class ResultExtensions(msgspec.Struct, frozen=True):
    """What is told of an operation beside its answer."""

    cost: int


class Result(msgspec.Struct, frozen=True, omit_defaults=True):
    """An answer. `data` is missing where nothing was executed, and None where an error took all of it."""

    data: dict[str, Value] | msgspec.UnsetType | None = msgspec.UNSET
    errors: Sequence[Problem] = ()
    extensions: ResultExtensions | msgspec.UnsetType = msgspec.UNSET


class Refused(Exception):
    """A document or a request that is not executed at all."""

    def __init__(self, problems: Sequence[Problem], cost: int | None = None) -> None:
        super().__init__("; ".join(problem.message for problem in problems))
        self.result = Result(
            errors=tuple(problems), extensions=msgspec.UNSET if cost is None else ResultExtensions(cost)
        )


def refused(message: str, code: str) -> Refused:
    """Return the refusal for one reason."""
    return Refused([Problem(message, ErrorExtensions(code))])


encode = msgspec.json.Encoder().encode
"""Writes a Result as JSON."""
