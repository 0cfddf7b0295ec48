"""Errors as clients are told of them: what is meant for them is told, a defect is logged and masked."""

import logging
from collections.abc import Sequence

from graphql import FieldNode, GraphQLError

from mercato.gateway.graphql.answer import (
    BAD_USER_INPUT,
    INTERNAL_ERROR,
    INTERNAL_MESSAGE,
    ErrorExtensions,
    Location,
    Problem,
)
from mercato.kernel.errors import MercatoError

log = logging.getLogger(__name__)


class NullError(Exception):
    """Nothing came where the schema promises something."""


def told(error: GraphQLError, code: str) -> Problem:
    """Return what graphql-core says of a document or of variables."""
    return Problem(error.message, ErrorExtensions(code), _locations(error))


class Reporter:
    """Tells the errors of one request. Of each field of the schema it logs one defect, no more."""

    __slots__ = ("_logged", "_request_id")

    def __init__(self, request_id: str) -> None:
        self._request_id = request_id
        self._logged: set[str] = set()

    def field(
        self, error: Exception, path: Sequence[str | int], nodes: Sequence[FieldNode], name: str
    ) -> Problem:
        """Return the entry for an error that came up at a field, `name` of the schema."""
        if isinstance(error, MercatoError):
            extensions = ErrorExtensions(error.code, error.details)
            return Problem(error.message, extensions, _locations(GraphQLError("", nodes)), path)
        if isinstance(error, GraphQLError) and error.nodes:
            # It points to the place in the document, so it is about what the client wrote there.
            return Problem(error.message, ErrorExtensions(BAD_USER_INPUT), _locations(error), path)
        self._log(error, name)
        extensions = ErrorExtensions(INTERNAL_ERROR)
        return Problem(INTERNAL_MESSAGE, extensions, _locations(GraphQLError("", nodes)), path)

    def _log(self, error: Exception, name: str) -> None:
        if name not in self._logged:
            self._logged.add(name)
            log.error(
                "GraphQL field failed",
                exc_info=error,
                extra={"request_id": self._request_id, "field": name},
            )


def _locations(error: GraphQLError) -> tuple[Location, ...]:
    return tuple(Location(each.line, each.column) for each in error.locations or ())
