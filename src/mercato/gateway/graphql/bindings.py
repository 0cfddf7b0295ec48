"""How the fields of a GraphQL schema are had: from the value before them, or by a call for many at once.

A schema is described by its SDL and by what is said here of its fields. What is not said is the default: a
field is the attribute of its object whose name is the field's in snake_case. Nothing here imports GraphQL.
"""

import re
from collections.abc import AsyncGenerator, Awaitable, Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeAlias

Value: TypeAlias = Any
"""What a field is had from, or gives: the bindings know of what kind, the engine does not."""

Args: TypeAlias = Mapping[str, Value]
"""A field's arguments, checked, with their defaults; names are in snake_case, in input objects too.

What was not given and has no default is not there. Nobody may change them: calls share them.
"""


class Context(Protocol):
    """What the engine needs to know of a request; bindings get the whole of what the caller gave."""

    @property
    def request_id(self) -> str:
        """The request's id, for the log."""
        ...


@dataclass(frozen=True, slots=True)
class Attribute:
    """A field that is part of its object's value. Getting it costs and changes nothing: it may be repeated.

    `get` is an attribute's name, or a function of the value; it raises where the field has failed.
    """

    get: str | Callable[[Value], Value] | None = None
    """None stands for the field's name in snake_case."""
    cost: int = 0
    many: int | str | None = None
    """How many objects a list may hold, for the cost: a number, or the argument that says so."""
    public: bool = True
    """It may be shown to anybody who may see its object."""


@dataclass(frozen=True, slots=True)
class Load:
    """A field that is loaded for many objects at once: one call for all of a level of the operation.

    `load` gets the objects and returns a value for each, in their order: None where there is none, and an
    exception where that one failed. If it raises, it has failed for all of them. Values that are lists can be
    read more than once. A Load that is given for several fields is one: their objects come together.
    """

    load: Callable[[Value, Sequence[Value], Args], Awaitable[Sequence[Value]]]
    key: Callable[[Value], Hashable] | None = None
    """Objects with the same key have the same value: `load` gets one of them. Getting a key does not fail."""
    cost: int = 1
    many: int | str | None = None
    public: bool = False


@dataclass(frozen=True, slots=True)
class Resolve:
    """A field of Query or Mutation. Those of a query run at once, those of a mutation one after the other."""

    resolve: Callable[[Value, Args], Awaitable[Value]]
    cost: int = 1
    many: int | str | None = None
    public: bool = False
    without: "tuple[str, Resolve] | None" = None
    """A field such as `PageInfo.total` that is dear to have, and how to resolve where nothing asks for it."""


@dataclass(frozen=True, slots=True)
class Events:
    """A field of Subscription: `events` is an async generator, and each thing it gives is the field's value.

    It is closed when the client leaves. Bounds on what waits, and dropping who is slow, are its own matter.
    """

    events: Callable[[Value, Args], AsyncGenerator[Value, None]]
    cost: int = 1
    many: int | str | None = None
    public: bool = False


Binding: TypeAlias = Attribute | Load | Resolve | Events


@dataclass(frozen=True, slots=True)
class Scalar:
    """A scalar of the schema's own. Both functions raise ValueError for what they cannot take."""

    write: Callable[[Value], Value] = str
    """Makes of a value what the answer shows."""
    read: Callable[[Value], Value] = str
    """Makes a value of what a variable or a literal holds: a text, a number, a truth value."""
    plain: type | None = None
    """What is exactly of this type is put into the answer as it is, and the JSON encoder writes it."""


@dataclass(frozen=True, slots=True)
class Bound:
    """A schema, and how its fields are had."""

    sdl: str
    fields: Mapping[str, Mapping[str, Binding]]
    """By type and field."""
    scalars: Mapping[str, Scalar] = field(default_factory=dict)
    enums: Mapping[str, Mapping[str, Hashable]] = field(default_factory=dict)
    """By enum, what its names stand for; a Python enum's `__members__` will do. Default: for themselves."""


_inner = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")


def snake(name: str) -> str:
    """Return a camelCase name in snake_case."""
    return _inner.sub("_", name).lower()
