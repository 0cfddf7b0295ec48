"""What a field accepts, in words for people: made from its type, never from what was sent."""

import enum
from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin

import msgspec

from mercato.kernel.money import Amount

_NOUNS: dict[Any, str] = {
    str: "a string",
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    Decimal: "a number",
    Amount: "a number",
    datetime: "a time such as 2026-01-31T12:00:00Z",
}

_OTHER = "what the API's description says"


def accepted(kind: Any) -> str:  # noqa: ANN401  any type expression
    """Say which values a field of type `kind` takes, as "must be a whole number from 1 to 100".

    A field whose rule is a pattern says it as its `Meta(description=…)`, a noun with its article.
    """
    return "must be " + " or ".join(_noun(member) for member in members(kind))


def members(kind: Any) -> "list[Any]":  # noqa: ANN401  any type expression
    """Return the types a value may have, with their annotations; not None, nor being left out."""
    if get_origin(kind) in (Union, UnionType):
        told = (member for member in get_args(kind) if member not in (NoneType, msgspec.UnsetType))
        return [each for member in told for each in members(member)]
    return [kind]


def bare(kind: Any) -> Any:  # noqa: ANN401  any type expression
    """Return a type without its annotations."""
    return kind.__origin__ if hasattr(kind, "__metadata__") else kind


def _noun(kind: Any) -> str:  # noqa: ANN401  any type expression
    limits = _limits(kind)
    if "description" in limits:
        return str(limits["description"])
    plain = bare(kind)
    origin = get_origin(plain)
    if origin is Literal:
        return "one of " + ", ".join(map(str, get_args(plain)))
    if origin in (list, tuple):
        return "a list" + _span(limits, "item")
    if not isinstance(plain, type):
        return _OTHER
    if issubclass(plain, enum.Enum):
        return "one of " + ", ".join(str(member.value) for member in plain)
    if issubclass(plain, msgspec.Struct):
        return "an object"
    noun = _NOUNS.get(plain, _OTHER)
    if plain is str:
        return noun + _span(limits, "character")
    return noun + _range(limits)


def _limits(kind: Any) -> Mapping[str, object]:  # noqa: ANN401  any type expression
    names = ("description", "ge", "le", "min_length", "max_length")
    return {
        name: value
        for meta in getattr(kind, "__metadata__", ())
        for name in names
        if (value := getattr(meta, name, None)) is not None
    }


def _range(limits: Mapping[str, object]) -> str:
    match limits:
        case {"ge": least, "le": most}:
            return f" from {least} to {most}"
        case {"ge": least}:
            return f" of at least {least}"
        case {"le": most}:
            return f" of at most {most}"
    return ""


def _span(limits: Mapping[str, object], unit: str) -> str:
    least, most = limits.get("min_length"), limits.get("max_length")
    if least is not None and most is not None:
        return f" of {least} to {most} {unit}s"
    if least is not None:
        return f" of at least {least} {unit}{'' if least == 1 else 's'}"
    return "" if most is None else f" of at most {most} {unit}s"
