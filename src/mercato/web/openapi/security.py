"""Who may call: the security schemes, and what each endpoint asks for."""

from typing import Any

from mercato.kernel.principal import ANY_STORE, SCOPES, Role
from mercato.web.endpoint import Endpoint

BEARER = "bearer"
MACHINE = "machine"


def _meaning(scope: str) -> str:
    if scope == ANY_STORE:
        return "Act in any store, named by X-Tenant-Id."
    of, _, what = scope.partition(":")
    return f"{what.capitalize()} {of}."


SCHEMES: dict[str, Any] = {
    BEARER: {
        "type": "http",
        "scheme": "bearer",
        "bearerFormat": "JWT",
        "description": "The token of a person, as signing in answers it.",
    },
    MACHINE: {
        "type": "oauth2",
        "description": "The token of a machine, for its client credentials.",
        "flows": {
            "clientCredentials": {
                "tokenUrl": "/api/v1/auth/token",
                "scopes": {scope: _meaning(scope) for scope in sorted(SCOPES)},
            }
        },
    },
}


def security_of(endpoint: Endpoint) -> list[dict[str, list[str]]]:
    """Return the alternatives an endpoint takes; an empty one is a call without a token."""
    ways: list[dict[str, list[str]]] = [{}] if endpoint.allow is None else []
    ways.append({BEARER: []})
    if endpoint.allow is not None and Role.SERVICE in endpoint.allow:
        ways.append({MACHINE: [] if endpoint.scope is None else [endpoint.scope]})
    return ways


def roles_of(endpoint: Endpoint) -> str:
    """Say who may call, in a sentence."""
    if endpoint.allow is None:
        return "Needs no token."
    if endpoint.allow == frozenset(Role):
        return "For everybody who is signed in."
    return f"For the roles {', '.join(sorted(endpoint.allow))}."
