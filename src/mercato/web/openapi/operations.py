"""One operation of the document: what it takes and what it answers."""

import csv
import inspect
import io
from collections.abc import Mapping

import msgspec

from mercato.kernel.tenancy import SLUG_PATTERN
from mercato.web.endpoint import Endpoint
from mercato.web.envelope import PageMeta
from mercato.web.openapi import headers, security
from mercato.web.openapi.answered import Answered, answered
from mercato.web.openapi.refusals import Refusals
from mercato.web.openapi.schemas import Json, Schemas

_JSON = "application/json"
_UUIDS = frozenset({"user_id", "product_id", "order_id", "payment_id"})
_ID_EXAMPLE = "0199e1a4-7c00-7000-8000-000000000002"


def operation(endpoint: Endpoint, schemas: Schemas, refusals: Refusals, links: Json) -> Json:
    """Describe an endpoint."""
    described: Json = {
        "operationId": endpoint.operation_id,
        "summary": endpoint.summary,
        "description": _description(endpoint),
        "tags": [endpoint.resource],
        "security": security.security_of(endpoint),
        "parameters": _parameters(endpoint, schemas),
        "responses": {**_success(endpoint, schemas, links), **refusals.of(endpoint)},
    }
    if endpoint.takes_body:
        described["requestBody"] = {
            "required": not endpoint.body_optional,
            "content": _body(endpoint, schemas),
        }
    return described


def _description(endpoint: Endpoint) -> str:
    more = (inspect.getdoc(endpoint.handler) or "").partition("\n")[2].strip()
    return f"{more}\n\n{security.roles_of(endpoint)}".strip()


def _parameters(endpoint: Endpoint, schemas: Schemas) -> list[Json]:
    placeholders = [_placeholder(name) for name in endpoint.path_parameters]
    tagged = answered(endpoint.returns).tagged
    return [*placeholders, *schemas.query(endpoint), *headers.parameters_of(endpoint, tagged=tagged)]


def _placeholder(name: str) -> Json:
    parameter: Json = {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
    if name in _UUIDS:
        parameter["schema"]["format"] = "uuid"
        parameter["example"] = _ID_EXAMPLE
    elif name == "tenant_id":
        parameter["schema"] |= {"pattern": SLUG_PATTERN.replace(r"\Z", "$"), "description": "a store's id"}
        parameter["example"] = "default"
    else:
        parameter["schema"]["minLength"] = 1
    return parameter


def _body(endpoint: Endpoint, schemas: Schemas) -> Json:
    if endpoint.accepts:
        return {kind: _uploaded(kind, endpoint.example) for kind in endpoint.accepts}
    content: Json = {"schema": schemas.of(endpoint.body_type)}
    if endpoint.example is not None:
        content["example"] = endpoint.example
    return {_JSON: content}


def _uploaded(kind: str, row: Mapping[str, object] | None) -> Json:
    """Describe an upload of rows, of which the example is one."""
    content: Json = {"schema": {"type": "string"}}
    if row is not None:
        content["example"] = _as_csv(row) if kind == "text/csv" else msgspec.json.encode(row).decode() + "\n"
    return content


def _as_csv(row: Mapping[str, object]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(row)
    writer.writerow(row.values())
    return text.getvalue()


def _success(endpoint: Endpoint, schemas: Schemas, links: Json) -> Json:
    answer = answered(endpoint.returns)
    response: Json = {
        "description": endpoint.summary + ".",
        "headers": headers.references(*_headers(endpoint, answer)),
    }
    if links:
        response["links"] = links
    if answer.download:
        response["content"] = {kind: {"schema": {"type": "string"}} for kind in endpoint.produces or ("*/*",)}
    elif answer.data is None:
        return {str(204 if endpoint.status == 200 else endpoint.status): response}
    else:
        response["content"] = {_JSON: {"schema": _envelope(answer, schemas)}}
    responses = {str(status): response for status in (endpoint.status, *endpoint.also)}
    if endpoint.method == "GET" and answer.tagged:
        unchanged = headers.references(*_headers(endpoint, answer))
        responses["304"] = {
            "description": "What If-None-Match names is what would be shown.",
            "headers": unchanged,
        }
    return responses


def _envelope(answer: Answered, schemas: Schemas) -> Json:
    properties: Json = {"success": {"const": True}, "data": schemas.of(answer.data)}
    if answer.paged:
        properties["meta"] = schemas.of(PageMeta)
    return {"type": "object", "properties": properties, "required": list(properties)}


def _headers(endpoint: Endpoint, answer: Answered) -> list[str]:
    found: list[str] = []
    if answer.tagged:
        found.append("ETag")
    if answer.cached:
        found.append("X-Cache")
    if endpoint.claims is not None:
        found.append("Idempotent-Replayed")
    return found
