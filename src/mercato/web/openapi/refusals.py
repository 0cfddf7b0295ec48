"""What endpoints may refuse with: each status, its codes, and an example of each."""

from collections import defaultdict
from typing import Any

from mercato.kernel.errors import (
    BadRequest,
    Forbidden,
    MercatoError,
    NotFound,
    Unauthenticated,
    Unavailable,
    ValidationFailed,
)
from mercato.kernel.versions import VersionMismatch
from mercato.web.endpoint import Endpoint
from mercato.web.errors import (
    STATUS,
    ErrorEnvelope,
    HeadersTooLarge,
    InternalError,
    KeyInUse,
    KeyReused,
    PayloadTooLarge,
    UnsupportedMediaType,
)
from mercato.web.limits import RateLimited
from mercato.web.openapi import headers

_Json = dict[str, Any]

_ALWAYS = (
    BadRequest,
    ValidationFailed,
    Unauthenticated,
    Forbidden,
    NotFound,
    RateLimited,
    HeadersTooLarge,
    InternalError,
    Unavailable,
)
"""403 and 404 belong to every call: the store it names may be suspended, or not be there."""

_HEADERS = {401: ("WWW-Authenticate",), 409: ("Retry-After",), 429: ("Retry-After",), 503: ("Retry-After",)}
_REQUEST_ID = "0199e1a4-7c00-7000-8000-000000000001"
_DETAILS = [{"field": "items[0].quantity", "message": "must be a whole number from 1 to 1000000"}]


class Refusals:
    """The refusals of all endpoints, each set of codes described once."""

    def __init__(self) -> None:
        self.components: _Json = {}

    def of(self, endpoint: Endpoint) -> _Json:
        """Return the responses by which an endpoint may refuse."""
        by_status: defaultdict[int, dict[str, type[MercatoError]]] = defaultdict(dict)
        for error in _errors(endpoint):
            by_status[STATUS[error.kind]].setdefault(error.code, error)
        return {str(status): self._shared(status, errors) for status, errors in sorted(by_status.items())}

    def _shared(self, status: int, errors: dict[str, type[MercatoError]]) -> _Json:
        name = ".".join((str(status), *errors))
        if name not in self.components:
            self.components[name] = _response(status, errors)
        return {"$ref": f"#/components/responses/{name}"}


def _errors(endpoint: Endpoint) -> list[type[MercatoError]]:
    errors: list[type[MercatoError]] = [*_ALWAYS, *endpoint.raises]
    if endpoint.method != "GET":
        errors.append(PayloadTooLarge)
    if endpoint.takes_body:
        errors.append(UnsupportedMediaType)
    if endpoint.claims is not None:
        errors += [KeyInUse, KeyReused]
    if endpoint.versioned:
        errors.append(VersionMismatch)
    return errors


def _response(status: int, errors: dict[str, type[MercatoError]]) -> _Json:
    envelope = {
        "allOf": [
            {"$ref": f"#/components/schemas/{ErrorEnvelope.__name__}"},
            {
                "type": "object",
                "properties": {
                    "success": {"const": False},
                    "error": {"type": "object", "properties": {"code": {"enum": list(errors)}}},
                },
            },
        ]
    }
    examples = {code: _example(code, error) for code, error in errors.items()}
    return {
        "description": ", ".join(errors) + ".",
        "headers": headers.references(*_HEADERS.get(status, ())),
        "content": {"application/json": {"schema": envelope, "examples": examples}},
    }


def _example(code: str, error: type[MercatoError]) -> _Json:
    """Show a refusal: what the code means stands for the words of the case."""
    meaning = (error.__doc__ or code).partition("\n")[0]
    body: _Json = {"code": code, "message": meaning, "request_id": _REQUEST_ID}
    if error is ValidationFailed:
        body["message"] = f"Invalid: {_DETAILS[0]['field']}."
        body["details"] = _DETAILS
    return {"summary": meaning, "value": {"error": body, "success": False}}
