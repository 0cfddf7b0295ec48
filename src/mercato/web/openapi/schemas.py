"""The JSON Schema of every type the endpoints name."""

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any, get_args, get_origin

import msgspec

from mercato.kernel.ids import OrderId, PaymentId, ProductId, UserId
from mercato.kernel.money import MAX_MAJOR_UNITS, Amount
from mercato.web.accepted import bare, members
from mercato.web.endpoint import Endpoint, NoBody
from mercato.web.envelope import PageMeta
from mercato.web.errors import ErrorEnvelope
from mercato.web.openapi.answered import answered

Json = dict[str, Any]

_FORMATS: dict[Any, str] = {
    datetime: "date-time",
    UserId: "uuid",
    ProductId: "uuid",
    OrderId: "uuid",
    PaymentId: "uuid",
}
_NULL = {"type": "null"}


class Schemas:
    """Schemas by type, and those with a name by that name."""

    def __init__(self, endpoints: Sequence[Endpoint]) -> None:
        kinds: list[Any] = [ErrorEnvelope, PageMeta]
        for endpoint in endpoints:
            kinds += [endpoint.body_type, endpoint.query_type, answered(endpoint.returns).data]
        structs = list(dict.fromkeys(struct for kind in kinds for struct in _structs(kind)))
        # A type expression need not be hashable, so the schemas are found by position.
        self._kinds = [*kinds, *structs]
        self._schemas, components = msgspec.json.schema_components(
            self._kinds, schema_hook=_hook, ref_template="#/components/schemas/{name}"
        )
        self._all: Json = _as_encoded(components)
        for struct in structs:
            _mark_fields(self._all[self._name(struct)], struct)
        queries = {self._name(endpoint.query_type) for endpoint in endpoints}
        bodies = {self._name(NoBody)} - {
            self._name(endpoint.body_type) for endpoint in endpoints if endpoint.takes_body
        }
        self.components = {name: schema for name, schema in self._all.items() if name not in queries | bodies}

    def of(self, kind: Any) -> Json:  # noqa: ANN401  any type expression
        """Return the schema of one of the types, by reference where it has a name."""
        index = next(index for index, each in enumerate(self._kinds) if each is kind or each == kind)
        return dict(_as_encoded(self._schemas[index]))

    def query(self, endpoint: Endpoint) -> list[Json]:
        """Return the parameters in an endpoint's query string."""
        struct = self._all[self._name(endpoint.query_type)]
        return [
            {
                "name": name,
                "in": "query",
                "required": name in struct.get("required", ()),
                "schema": _given(schema),
            }
            for name, schema in struct["properties"].items()
        ]

    def _name(self, kind: Any) -> str:  # noqa: ANN401  any type expression
        return str(self.of(kind)["$ref"]).rpartition("/")[2]


def _structs(kind: Any) -> Iterator[type[msgspec.Struct]]:  # noqa: ANN401  any type expression
    """Yield every struct that `kind` is made of, itself first."""
    waiting, seen = [kind], set()
    while waiting:
        each = bare(waiting.pop())
        waiting += get_args(each)
        if isinstance(each, type) and get_origin(each) is None and issubclass(each, msgspec.Struct):
            if each in seen:
                continue
            seen.add(each)
            waiting += [field.type for field in msgspec.structs.fields(each)]
            yield each


def _hook(kind: type) -> Json:
    if kind is Amount:
        return {"type": "number", "minimum": 0, "exclusiveMaximum": MAX_MAJOR_UNITS}
    raise NotImplementedError(kind)


def _as_encoded(schema: Any) -> Any:  # noqa: ANN401  any part of a schema
    """Describe decimals as they travel, as JSON numbers, and patterns in JSON Schema's own dialect."""
    if isinstance(schema, dict):
        if schema.get("format") == "decimal":
            return {**schema, "type": "number"}
        if isinstance(pattern := schema.get("pattern"), str):
            # ECMA-262, which JSON Schema's patterns are, has no \Z; its $ means that.
            return {**schema, "pattern": pattern.replace(r"\Z", "$")}
        return {name: _as_encoded(part) for name, part in schema.items()}
    if isinstance(schema, list):
        return [_as_encoded(part) for part in schema]
    return schema


def _mark_fields(schema: Json, struct: type[msgspec.Struct]) -> None:
    for field in msgspec.structs.fields(struct):
        if field.encode_name in schema.get("properties", ()):
            _mark(schema["properties"][field.encode_name], field.type)


def _mark(schema: Json, kind: Any) -> None:  # noqa: ANN401  any type expression
    """Add the formats that msgspec does not tell: times without a rule for their zone, and ids."""
    for member in members(kind):
        plain = bare(member)
        if get_origin(plain) in (list, tuple) and "items" in schema:
            _mark(schema["items"], get_args(plain)[0])
        elif isinstance(found := _FORMATS.get(plain), str):
            for choice in (schema, *schema.get("anyOf", ())):
                if choice.get("type") == "string":
                    choice.setdefault("format", found)


def _given(schema: Json) -> Json:
    """Return a parameter's schema where it is given: in a query, null is said by leaving it out."""
    schema = {name: part for name, part in schema.items() if (name, part) != ("default", None)}
    choices: list[Json] = [choice for choice in schema.pop("anyOf", ()) if choice != _NULL]
    if len(choices) == 1:
        return choices[0] | schema
    return {"anyOf": choices, **schema} if choices else schema
