"""OpenAPI 3.1 from the endpoint declarations."""

import inspect
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any, get_args, get_origin

import msgspec

from mercato.kernel.errors import (
    BadRequest,
    Forbidden,
    MercatoError,
    NotFound,
    Unauthenticated,
    Unavailable,
    ValidationFailed,
)
from mercato.kernel.money import Amount
from mercato.kernel.principal import ANYONE, Role
from mercato.web.endpoint import Endpoint, NoBody
from mercato.web.envelope import Encoded, Page, PageMeta, Reply
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
from mercato.web.http import Response
from mercato.web.idempotency import MAX_KEY

_Json = dict[str, Any]

_BEARER = "bearer"
_ALWAYS = (
    BadRequest,
    ValidationFailed,
    Unauthenticated,
    NotFound,
    HeadersTooLarge,
    InternalError,
    Unavailable,
)
"""404 belongs to every call: the store it names may not be there."""

_TENANT_PARAMETER: _Json = {
    "name": "X-Tenant-Id",
    "in": "header",
    "description": "The store to act in, for calls without a token and for platform roles.",
    "schema": {"type": "string", "maxLength": 63, "default": "default"},
}
_KEY_PARAMETER: _Json = {
    "name": "Idempotency-Key",
    "in": "header",
    "description": "Repeating the call with this key within 24 hours answers as the first time.",
    "schema": {"type": "string", "minLength": 1, "maxLength": MAX_KEY},
}


def document(endpoints: Iterable[Endpoint], *, title: str, version: str) -> bytes:
    """Describe the endpoints that belong to the contract, as JSON.

    Raises ValueError where two of them have the same operation id.
    """
    described = [endpoint for endpoint in endpoints if endpoint.in_contract]
    schemas = _Schemas(described)
    paths: defaultdict[str, _Json] = defaultdict(dict)
    operation_ids: set[str] = set()
    for endpoint in described:
        if endpoint.operation_id in operation_ids:
            raise ValueError(f"two operations are named {endpoint.operation_id}")
        operation_ids.add(endpoint.operation_id)
        paths[endpoint.path][endpoint.method.lower()] = _operation(endpoint, schemas)
    return msgspec.json.encode(
        {
            "openapi": "3.1.0",
            "info": {"title": title, "version": version},
            "tags": [{"name": tag} for tag in sorted({endpoint.tag for endpoint in described})],
            "paths": paths,
            "components": {
                "schemas": schemas.components,
                "securitySchemes": {_BEARER: {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}},
            },
        }
    )


class _Schemas:
    """The JSON Schema of every type the endpoints name."""

    def __init__(self, endpoints: Sequence[Endpoint]) -> None:
        kinds: list[Any] = [ErrorEnvelope, PageMeta]
        for endpoint in endpoints:
            kinds += [endpoint.body_type, endpoint.query_type, _data_type(endpoint.returns)[0]]
        # A type expression need not be hashable, so the schemas are found by position.
        self._kinds = kinds
        self._schemas, components = msgspec.json.schema_components(
            kinds, schema_hook=_hook, ref_template="#/components/schemas/{name}"
        )
        self._all = _as_encoded(components)
        queries = {self._name(endpoint.query_type) for endpoint in endpoints}
        bodies = {self._name(NoBody)} - {
            self._name(endpoint.body_type) for endpoint in endpoints if endpoint.takes_body
        }
        self.components = {name: schema for name, schema in self._all.items() if name not in queries | bodies}

    def of(self, kind: Any) -> _Json:  # noqa: ANN401  any type expression
        """Return the schema of one of the types, by reference where it has a name."""
        index = next(index for index, each in enumerate(self._kinds) if each is kind or each == kind)
        return dict(_as_encoded(self._schemas[index]))

    def query(self, endpoint: Endpoint) -> list[_Json]:
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


def _hook(kind: type) -> _Json:
    if kind is Amount:
        return {"type": "number"}
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


def _given(schema: _Json) -> _Json:
    """Return a parameter's schema where it is given: in a query, null is said by leaving it out."""
    schema = {name: part for name, part in schema.items() if (name, part) != ("default", None)}
    choices: list[_Json] = [choice for choice in schema.pop("anyOf", ()) if choice != {"type": "null"}]
    if len(choices) == 1:
        return choices[0] | schema
    return {"anyOf": choices, **schema} if choices else schema


def _data_type(returns: Any) -> tuple[Any, bool]:  # noqa: ANN401  any type expression
    """Return the type under `data` of what a handler returns, and whether it is a page."""
    origin = get_origin(returns)
    if origin in (Reply, Encoded):
        return _data_type(get_args(returns)[0])
    if origin is Page:
        return list[get_args(returns)[0]], True  # type: ignore[misc]  # a type made at run time
    return (None if returns in (type(None), Response) else returns), False


def _operation(endpoint: Endpoint, schemas: _Schemas) -> _Json:
    operation: _Json = {
        "operationId": endpoint.operation_id,
        "summary": endpoint.summary,
        "tags": [endpoint.tag],
        "security": [{_BEARER: []}] if endpoint.allow is not None else [{}, {_BEARER: []}],
        "parameters": _parameters(endpoint, schemas),
        "responses": {**_success(endpoint, schemas), **_refusals(endpoint)},
    }
    description = (inspect.getdoc(endpoint.handler) or "").partition("\n")[2].strip()
    if description:
        operation["description"] = description
    if endpoint.takes_body:
        operation["requestBody"] = {
            "required": not endpoint.body_optional,
            "content": {"application/json": {"schema": schemas.of(endpoint.body_type)}},
        }
    return operation


def _parameters(endpoint: Endpoint, schemas: _Schemas) -> list[_Json]:
    parameters: list[_Json] = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
        for name in endpoint.path_parameters
    ]
    parameters += schemas.query(endpoint)
    if endpoint.allow is None or endpoint.allow & {Role.OPERATOR, Role.SERVICE}:
        parameters.append(_TENANT_PARAMETER)
    if endpoint.claims is not None:
        parameters.append(_KEY_PARAMETER)
    return parameters


def _success(endpoint: Endpoint, schemas: _Schemas) -> _Json:
    data, paged = _data_type(endpoint.returns)
    if data is None:
        return {str(204 if endpoint.status == 200 else endpoint.status): {"description": "Done."}}
    properties: _Json = {"success": {"const": True}, "data": schemas.of(data)}
    if paged:
        properties["meta"] = schemas.of(PageMeta)
    envelope = {"type": "object", "properties": properties, "required": list(properties)}
    answer = {
        "description": endpoint.summary + ".",
        "content": {"application/json": {"schema": envelope}},
    }
    return {str(status): answer for status in (endpoint.status, *endpoint.also)}


def _refusals(endpoint: Endpoint) -> _Json:
    """Describe each status an endpoint may refuse with, and the codes it has."""
    errors: list[type[MercatoError]] = [*_ALWAYS, *endpoint.raises]
    if endpoint.allow is not None and endpoint.allow != ANYONE:
        errors.append(Forbidden)
    if endpoint.method != "GET":
        errors.append(PayloadTooLarge)
    if endpoint.takes_body:
        errors.append(UnsupportedMediaType)
    if endpoint.claims is not None:
        errors += [KeyInUse, KeyReused]
    codes: defaultdict[int, list[str]] = defaultdict(list)
    for error in errors:
        if error.code not in codes[STATUS[error.kind]]:
            codes[STATUS[error.kind]].append(error.code)
    content = {"application/json": {"schema": {"$ref": f"#/components/schemas/{ErrorEnvelope.__name__}"}}}
    return {
        str(status): {"description": ", ".join(names) + ".", "content": content}
        for status, names in sorted(codes.items())
    }
