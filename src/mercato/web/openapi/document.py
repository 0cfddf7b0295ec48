"""The OpenAPI document, put together from the endpoints of the contract."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import msgspec

from mercato.web.endpoint import Endpoint
from mercato.web.openapi import headers, security
from mercato.web.openapi.links import links_of
from mercato.web.openapi.operations import operation
from mercato.web.openapi.refusals import Refusals
from mercato.web.openapi.schemas import Json, Schemas

_ABOUT = (
    "Everything belongs to a store. A call's store is its token's; a call without a token names it by"
    " `X-Tenant-Id`.\n\n"
    'Success is `{"success": true, "data": …}`, with `meta` for lists. A refusal is'
    ' `{"success": false, "error": {"code", "message", "details"?, "request_id"}}`; clients may rely on its'
    " `code`. A method that a path does not have is answered 405 METHOD_NOT_ALLOWED, with `Allow`.\n\n"
    "Amounts are JSON numbers with the currency's exact digits; times are RFC 3339 in UTC; ids are UUIDs."
)


@dataclass(frozen=True, slots=True)
class Described:
    """What a document says besides its operations."""

    title: str
    version: str
    tags: Mapping[str, str] = field(default_factory=dict)
    """What each tag is about."""


def document(endpoints: Iterable[Endpoint], about: Described) -> bytes:
    """Describe the endpoints that belong to the contract, as JSON.

    Raises ValueError where two of them have the same operation id.
    """
    described = [endpoint for endpoint in endpoints if endpoint.is_described]
    _check_names(described)
    schemas, refusals = Schemas(described), Refusals()
    paths: defaultdict[str, Json] = defaultdict(dict)
    for endpoint in described:
        links = links_of(endpoint, described)
        paths[endpoint.path][endpoint.method.lower()] = operation(endpoint, schemas, refusals, links)
    return msgspec.json.encode(
        {
            "openapi": "3.1.0",
            "info": {
                "title": about.title,
                "version": about.version,
                "description": _ABOUT,
                "license": {"name": "MIT", "identifier": "MIT"},
            },
            "servers": [{"url": "/", "description": "Where this document comes from."}],
            "tags": [_tag(tag, about) for tag in sorted({endpoint.resource for endpoint in described})],
            "paths": paths,
            "components": {
                "schemas": schemas.components,
                "responses": refusals.components,
                "headers": headers.COMPONENTS,
                "securitySchemes": security.SCHEMES,
            },
        }
    )


def _check_names(endpoints: list[Endpoint]) -> None:
    taken: dict[str, Endpoint] = {}
    for endpoint in endpoints:
        other = taken.setdefault(endpoint.operation_id, endpoint)
        if other is not endpoint:
            raise ValueError(
                f"two operations are named {endpoint.operation_id}: {other.route} and {endpoint.route}"
            )


def _tag(tag: str, about: Described) -> Json:
    return {"name": tag, "description": about.tags.get(tag, tag.replace("_", " ").capitalize() + ".")}
