"""From JSON Schema to Python's types, and where each named one lives."""

import json
import keyword
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

Json = dict[str, Any]

SHARED = "shared"
_PAGE_META = "PageMeta"
_NULL = {"type": "null"}


class Names:
    """Which module each named schema is in: its resource's, or the one that all share."""

    def __init__(self, schemas: Mapping[str, Json], operations: Mapping[str, Sequence[Json]]) -> None:
        """`operations` are what each resource's modules need."""
        self.schemas = schemas
        users: dict[str, set[str]] = {_PAGE_META: set(operations)}
        for resource, described in operations.items():
            for name in self._reached(described):
                users.setdefault(name, set()).add(resource)
        self._homes = {name: (of.pop() if len(of) == 1 else SHARED) for name, of in users.items()}
        self._homes[_PAGE_META] = SHARED

    def of(self, module: str) -> list[str]:
        """Return the schemas of a module, each after those it is made of."""
        found: list[str] = []

        def place(name: str) -> None:
            for part in references(self.schemas[name]):
                if part != name and part not in found:
                    place(part)
            if self._homes[name] == module and name not in found:
                found.append(name)

        for name in sorted(self._homes):
            place(name)
        return found

    def imports(self, module: str, schemas: object) -> list[str]:
        """Return the imports a module needs for what `schemas` name."""
        return [
            f"from mercato_client.models.{self._homes[name]} import {name}"
            for name in sorted(set(references(schemas)))
            if self._homes[name] != module
        ]

    def _reached(self, part: object) -> set[str]:
        reached: set[str] = set()
        waiting = list(references(part))
        while waiting:
            name = waiting.pop()
            if name not in reached:
                reached.add(name)
                waiting += references(self.schemas[name])
        return reached


def references(part: object) -> Iterator[str]:
    """Yield the names of the schemas that a part of the document refers to."""
    if isinstance(part, Mapping):
        reference = part.get("$ref")
        if isinstance(reference, str) and reference.startswith("#/components/schemas/"):
            yield reference.rpartition("/")[2]
        for each in part.values():
            yield from references(each)
    elif isinstance(part, (list, tuple)):
        for each in part:
            yield from references(each)


def kind_of(schema: Json) -> str:
    """Return the Python type of a schema."""
    match schema:
        case {"$ref": str() as reference}:
            return reference.rpartition("/")[2]
        case {"anyOf": list() as choices}:
            return " | ".join(dict.fromkeys(map(kind_of, sorted(choices, key=lambda each: each == _NULL))))
        case {"enum": list() as values}:
            return f"Literal[{', '.join(map(json.dumps, values))}]"
        case {"type": "array", "items": dict() as items}:
            return f"Sequence[{kind_of(items)}]"
        case {"type": "object", "additionalProperties": dict() as values}:
            return f"Mapping[str, {kind_of(values)}]"
        case {"type": "string", "format": "date-time"}:
            return "datetime"
        case {"type": str() as plain}:
            return _PLAIN.get(plain, "object")
    return "object"


_PLAIN = {
    "string": "str",
    "integer": "int",
    "number": "Decimal",
    "boolean": "bool",
    "null": "None",
    "object": "Mapping[str, object]",
}

IMPORTS = (
    "import msgspec",
    "from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Mapping, Sequence",
    "from datetime import datetime",
    "from decimal import Decimal",
    "from typing import Literal, TypeAlias",
    "from msgspec import UNSET, UnsetType",
)
"""All that a generated module may need; what it does not is taken out when it is formatted."""


def identifier(name: str) -> str:
    """Return a field's name as Python can have it."""
    name = name.replace("-", "_")
    return f"{name}_" if keyword.iskeyword(name) else name


def docstring(text: str, indent: str) -> list[str]:
    """Return a docstring's lines."""
    first, *rest = text.strip().splitlines() or ["What it is, its name says."]
    if not rest:
        return [f'{indent}"""{first}"""']
    body = [f"{indent}{line}".rstrip() for line in rest]
    return [f'{indent}"""{first}', *body, f'{indent}"""']
