"""From what a handler returns to the response that carries it."""

from typing import Any

from mercato.web.call import Call
from mercato.web.endpoint import Endpoint
from mercato.web.envelope import Encoded, Page, Reply, encode
from mercato.web.etag import tag_of
from mercato.web.http import Header, Response


def answer(endpoint: Endpoint, call: Call, result: Any) -> Response:  # noqa: ANN401  the endpoint's own type
    """Return the response of what an endpoint's handler returned."""
    if isinstance(result, Response):
        return result
    if isinstance(result, Encoded):
        return _encoded(endpoint, result)
    status, variant = endpoint.status, ""
    headers: list[Header] = []
    if isinstance(result, Reply):
        status = result.status or status
        headers.extend(result.headers)
        variant, result = result.variant, result.data
    if result is None:
        return Response(204 if status == 200 else status, headers=headers)
    dialect = endpoint.dialect
    if isinstance(result, Page):
        headers.extend(dialect.page_headers(result.meta))
        return Response(status, dialect.success(encode(result.items), result.meta), headers=headers)
    etag = tag_of(result, variant)
    if etag is not None:
        headers.append(("etag", etag))
    effect = call.effect
    if effect is not None and effect.stored and not endpoint.reissues:
        # The very bytes that a repeated call will get.
        return Response(status, effect.stored, headers=headers)
    return Response(status, dialect.success(encode(result), None), headers=headers)


def _encoded(endpoint: Endpoint, result: Encoded[Any]) -> Response:
    headers = list(result.headers)
    if result.etag is not None:
        headers.append(("etag", result.etag))
    if result.meta is not None:
        headers.extend(endpoint.dialect.page_headers(result.meta))
    return Response(endpoint.status, endpoint.dialect.success(result.data, result.meta), headers=headers)
