"""The public keys over HTTP."""

from collections.abc import Awaitable, Callable

import msgspec

from mercato.web.call import Call
from mercato.web.endpoint import PUBLIC, Routes
from mercato.web.http import Header, Response

_CACHEABLE: Header = ("cache-control", "public, max-age=300")


def discovery(api: Routes, issuer: str, jwks: Callable[[], Awaitable[bytes]]) -> None:
    """Declare the endpoints."""
    base = issuer.rstrip("/")
    configuration = msgspec.json.encode(
        {
            "issuer": issuer,
            "jwks_uri": f"{base}/.well-known/jwks.json",
            "response_types_supported": ["id_token"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["ES256"],
        }
    )

    @api.get("/.well-known/jwks.json", allow=PUBLIC, in_contract=False)
    async def key_set(call: Call) -> Response:  # noqa: ARG001  a handler takes the call
        """Return the public keys that verify tokens (RFC 7517)."""
        return Response(200, await jwks(), headers=[_CACHEABLE])

    @api.get("/.well-known/openid-configuration", allow=PUBLIC, in_contract=False)
    async def openid_configuration(call: Call) -> Response:  # noqa: ARG001  a handler takes the call
        """Return where the keys are (OpenID Connect Discovery 1.0)."""
        return Response(200, configuration, headers=[_CACHEABLE])
