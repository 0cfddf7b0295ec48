"""Requests as GraphQL over HTTP has them: https://graphql.github.io/graphql-over-http/draft/."""

from collections.abc import Mapping
from typing import Any

import msgspec

from mercato.kernel.errors import BadRequest, FieldError, ValidationFailed
from mercato.web.decode import Query


class Asked(msgspec.Struct, frozen=True, rename="camel"):
    """One operation that is asked for. Names it does not know are ignored, as the specification says."""

    query: str | None = None
    document_id: str | None = None
    operation_name: str | None = None
    variables: Mapping[str, Any] | None = None
    extensions: Mapping[str, Any] | None = None


class AskedByGet(Query, frozen=True, rename="camel", forbid_unknown_fields=False):
    """The same in a query string, where maps are JSON texts."""

    query: str | None = None
    document_id: str | None = None
    operation_name: str | None = None
    variables: str | None = None
    extensions: str | None = None


class AnyQuery(Query, frozen=True, forbid_unknown_fields=False):
    """A query string that says nothing: some clients name the operation there, for logs of proxies."""


_KINDS = {field.encode_name: field.type for field in msgspec.structs.fields(Asked)}
_decode = msgspec.json.Decoder().decode


def read_body(raw: bytes, most: int) -> Asked | list[Asked]:
    """Read what a POST asks for: one operation, or a batch of at most `most`.

    Raises BadRequest, and ValidationFailed naming what is of the wrong type.
    """
    value = _json(raw, "The body")
    if isinstance(value, dict):
        return _asked(value, "")
    if not isinstance(value, list) or not value:
        raise BadRequest("The body must be a JSON object, or a list of some.")
    if len(value) > most:
        raise BadRequest(f"A batch may hold {most} operations.")
    return [_asked(each, f"[{index}].") for index, each in enumerate(value)]


def read_query(given: AskedByGet) -> Asked:
    """Read what a GET asks for. Raises BadRequest, ValidationFailed."""
    values = {
        "query": given.query,
        "documentId": given.document_id,
        "operationName": given.operation_name,
        "variables": _map(given.variables, "variables"),
        "extensions": _map(given.extensions, "extensions"),
    }
    return _asked(values, "")


def _map(text: str | None, name: str) -> Any:  # noqa: ANN401  whatever JSON it is
    return _json(text.encode(), f"The parameter {name}") if text else None


def _json(raw: bytes, what: str) -> Any:  # noqa: ANN401  whatever JSON it is
    try:
        value = _decode(raw)
    except RecursionError:
        raise BadRequest(f"{what} is nested too deeply.") from None
    except (msgspec.MsgspecError, UnicodeDecodeError, ValueError):
        raise BadRequest(f"{what} is not valid JSON.") from None
    if b"\\u0000" in raw and _holds_nul(value):
        raise BadRequest(f"{what} must not contain NUL.")
    return value


def _asked(value: Any, where: str) -> Asked:  # noqa: ANN401  whatever JSON it is
    if not isinstance(value, dict):
        raise BadRequest("Each entry of a batch must be a JSON object.")
    try:
        return msgspec.convert(value, Asked)
    except msgspec.ValidationError:
        raise _misfit(value, where) from None


def _misfit(value: dict[str, Any], where: str) -> ValidationFailed:
    """Name every parameter of the wrong type."""
    wrong = []
    for name, kind in _KINDS.items():
        try:
            msgspec.convert(value.get(name), kind)
        except msgspec.ValidationError:
            takes = "a string" if kind == str | None else "an object"
            wrong.append(FieldError(where + name, f"must be {takes}"))
    return ValidationFailed.of(*wrong)


def _holds_nul(value: object) -> bool:
    """Say whether a text of decoded JSON holds a NUL, which no database takes."""
    waiting: list[object] = [value]
    while waiting:
        each = waiting.pop()
        if isinstance(each, str):
            if "\0" in each:
                return True
        elif isinstance(each, dict):
            waiting += [*each, *each.values()]
        elif isinstance(each, list):
            waiting += each
    return False
