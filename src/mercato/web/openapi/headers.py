"""The headers of requests and answers."""

from typing import Any

from mercato.kernel.principal import Role
from mercato.web.endpoint import Endpoint
from mercato.web.idempotency import MAX_KEY

_Json = dict[str, Any]


def _header(description: str, kind: str = "string", *, required: bool = False, **schema: object) -> _Json:
    return {"description": description, "required": required, "schema": {"type": kind, **schema}}


COMPONENTS: _Json = {
    "X-Request-Id": _header("The request's id, to quote.", required=True),
    "X-RateLimit-Limit": _header("Requests the limit allows, where one applies.", "integer"),
    "X-RateLimit-Remaining": _header("Requests that are left.", "integer"),
    "X-RateLimit-Reset": _header("When all of them are there again, in seconds since the epoch.", "integer"),
    "Retry-After": _header("Seconds to wait before trying again.", "integer"),
    "ETag": _header("The version of what is shown, for If-Match and If-None-Match."),
    "Idempotent-Replayed": _header("The answer is that of the first call with this key.", enum=["true"]),
    "X-Cache": _header("Whether the answer came from the cache.", enum=["HIT", "MISS"]),
    "WWW-Authenticate": _header("How to authenticate.", required=True),
}

_ALWAYS = ("X-Request-Id", "X-RateLimit-Limit", "X-RateLimit-Remaining", "X-RateLimit-Reset")

TENANT: _Json = {
    "name": "X-Tenant-Id",
    "in": "header",
    "required": False,
    "description": "The store to act in, for calls without a token and for callers of the platform.",
    # No pattern: where the token names the store, the header is not even looked at.
    "schema": {"type": "string"},
    "example": "default",
}
KEY: _Json = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": False,
    "description": "Repeating the call with this key within 24 hours answers as the first time.",
    "schema": {
        "type": "string",
        "minLength": 1,
        "maxLength": MAX_KEY,
        "pattern": "^[ -~]+$",
        "description": f"1 to {MAX_KEY} printable ASCII characters",
    },
}
IF_MATCH: _Json = {
    "name": "If-Match",
    "in": "header",
    "required": False,
    "description": "Write only this version: the ETag of what was read. A stale one is 412.",
    "schema": {"type": "string"},
    "example": '"1"',
}
IF_NONE_MATCH: _Json = {
    "name": "If-None-Match",
    "in": "header",
    "required": False,
    "description": "Answer 304, without a body, if this ETag is still that of what would be shown.",
    "schema": {"type": "string"},
    "example": '"1"',
}


def references(*names: str) -> _Json:
    """Return the headers every answer has, and those named."""
    return {name: {"$ref": f"#/components/headers/{name}"} for name in (*_ALWAYS, *names)}


def parameters_of(endpoint: Endpoint, *, tagged: bool) -> list[_Json]:
    """Return the headers an endpoint reads; `tagged` says whether its answers have an ETag."""
    found: list[_Json] = []
    named = endpoint.allow is None or endpoint.allow & {Role.OPERATOR, Role.SERVICE}
    if named and not endpoint.storeless:
        found.append(TENANT)
    if endpoint.claims is not None:
        found.append(KEY)
    if endpoint.versioned:
        found.append(IF_MATCH)
    if endpoint.method == "GET" and tagged:
        found.append(IF_NONE_MATCH)
    return found
