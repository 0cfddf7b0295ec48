"""Decoding bodies and queries, with every bad field named when they do not fit."""

from collections.abc import Iterator
from decimal import Decimal
from itertools import islice
from typing import Any, get_args, get_origin
from urllib.parse import parse_qsl

import msgspec

from mercato.kernel.errors import BadRequest, FieldError, ValidationFailed
from mercato.kernel.money import Amount
from mercato.web.accepted import accepted, bare, members

MAX_QUERY_FIELDS = 100
MAX_NAMED = 50
"""How many bad fields one answer names."""
# A megabyte of little items would keep the event loop for seconds.
_MAX_ITEMS = 100
"""How many items of a list are looked at one by one; a longer one is refused as a whole."""


class Misfit(ValidationFailed):
    """What was sent does not fit its type; fields are named as the request names them."""


class Body(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A request body. Fields it does not declare are refused by name. What is in it is never shown."""

    def __repr__(self) -> str:
        return f"{type(self).__name__}(...)"


class Query(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A query string's parameters."""


def _from_json(kind: type, value: object) -> object:
    """Decode the types msgspec does not know: exact amounts, from numbers alone."""
    if kind is Amount:
        if isinstance(value, bool) or not isinstance(value, (int, Decimal)):
            raise ValueError("Expected a number")
        return Amount(value)
    raise NotImplementedError(kind)


_any_decoder = msgspec.json.Decoder(float_hook=Decimal)


class BodyDecoder:
    """Decodes JSON bodies of one type."""

    def __init__(self, kind: type[Any]) -> None:
        self._kind = kind
        self._decoder = msgspec.json.Decoder(kind, dec_hook=_from_json, float_hook=Decimal)

    def decode(self, body: bytes) -> Any:  # noqa: ANN401  the endpoint's own body type
        """Decode `body`. Raises BadRequest for what is not JSON, ValidationFailed for bad fields."""
        try:
            value = self._decoder.decode(body)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, ValueError, ArithmeticError):
            raise self._refusal(body) from None
        if b"\\u0000" in body and (nul := list(_nul_fields(value, ""))):
            raise Misfit.of(*nul[:MAX_NAMED])
        return value

    def _refusal(self, body: bytes) -> Exception:
        try:
            raw = _any_decoder.decode(body)
            errors = list(islice(_field_errors(raw, self._kind, ""), MAX_NAMED))
        except RecursionError:
            return BadRequest("The body is nested too deeply.")
        except (msgspec.MsgspecError, UnicodeDecodeError, ValueError, ArithmeticError):
            return BadRequest("The body is not valid JSON.")
        if not isinstance(raw, dict):
            return BadRequest("The body must be a JSON object.")
        return Misfit.of(*errors) if errors else BadRequest("The body cannot be read.")


def decode_query(query: str, kind: type[Any]) -> Any:  # noqa: ANN401  the endpoint's own query type
    """Decode a query string. Raises BadRequest, or ValidationFailed naming every bad parameter."""
    try:
        pairs = parse_qsl(
            query,
            keep_blank_values=True,
            strict_parsing=bool(query),
            max_num_fields=MAX_QUERY_FIELDS,
            errors="strict",
        )
    except ValueError:
        raise BadRequest("The query string cannot be read.") from None
    values: dict[str, str] = {}
    for name, value in pairs:
        if name in values:
            raise Misfit.field(name[:64], "is given more than once")
        if "\0" in value:
            raise Misfit.field(name[:64], "must not contain NUL")
        if value.lower() == "null" and (type_ := _type_of(name, kind)) is not None:
            # Said in letters it would be taken for a null, and so for nothing.
            raise Misfit.field(name, accepted(type_))
        values[name] = value
    try:
        return msgspec.convert(values, kind, strict=False)
    except msgspec.ValidationError:
        errors = islice(_field_errors(values, kind, "", strict=False), MAX_NAMED)
        raise Misfit.of(*errors) from None


def _type_of(name: str, kind: type[Any]) -> Any:  # noqa: ANN401  any type expression
    """Return the type of a parameter that takes no text, else None."""
    found = next((field.type for field in msgspec.structs.fields(kind) if field.encode_name == name), str)
    return None if str in map(bare, members(found)) else found


def _field_errors(value: Any, kind: Any, path: str, *, strict: bool = True) -> Iterator[FieldError]:  # noqa: ANN401
    """Tell what is wrong with `value` as a `kind`, field by field."""
    struct, item = _struct_in(kind), _item_in(kind)
    if struct is not None and isinstance(value, dict):
        yield from _struct_errors(value, struct, path, strict=strict)
        return
    if item is not None and isinstance(value, list):
        found = False
        for index, each in enumerate(value[:_MAX_ITEMS]):
            for error in _field_errors(each, item, f"{path}[{index}]", strict=strict):
                found = True
                yield error
        if found:
            return
    try:
        msgspec.convert(value, kind, strict=strict, dec_hook=_from_json)
    except (msgspec.ValidationError, ValueError):
        yield FieldError(path or "body", accepted(kind))
    else:
        yield from _nul_fields(value, path)


def _struct_errors(
    value: dict[str, Any], struct: type[msgspec.Struct], path: str, *, strict: bool
) -> Iterator[FieldError]:
    fields = msgspec.structs.fields(struct)
    known = {field.encode_name for field in fields}
    for name in value:
        if name not in known:
            yield FieldError(_join(path, name), "is not a known field")
    for field in fields:
        where = _join(path, field.encode_name)
        if field.encode_name in value:
            yield from _field_errors(value[field.encode_name], field.type, where, strict=strict)
        elif field.required:
            yield FieldError(where, "is required")


def _struct_in(kind: Any) -> type[msgspec.Struct] | None:  # noqa: ANN401  any type expression
    for each in map(bare, members(kind)):
        if isinstance(each, type) and issubclass(each, msgspec.Struct):
            return each
    return None


def _item_in(kind: Any) -> Any:  # noqa: ANN401  any type expression
    for each in map(bare, members(kind)):
        if get_origin(each) in (list, tuple) and (args := get_args(each)):
            return args[0]
    return None


def _join(path: str, name: str) -> str:
    name = name[:64]
    return f"{path}.{name}" if path else name


def _nul_fields(value: object, path: str) -> "list[FieldError]":
    if isinstance(value, str):
        return [FieldError(path or "body", "must not contain NUL")] if "\0" in value else []
    if isinstance(value, msgspec.Struct):
        names = zip(value.__struct_encode_fields__, value.__struct_fields__, strict=True)
        pairs = [(_join(path, written), getattr(value, name)) for written, name in names]
    elif isinstance(value, (list, tuple)):
        pairs = [(f"{path}[{index}]", each) for index, each in enumerate(value)]
    elif isinstance(value, dict):
        pairs = [(_join(path, str(name)), each) for name, each in value.items()]
    else:
        return []
    return [error for where, each in pairs for error in _nul_fields(each, where)]
