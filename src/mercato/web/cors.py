"""Cross-origin requests (the Fetch standard's CORS protocol), by an allow-list."""

from mercato.web.http import Header, Request

_METHODS = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"
_HEADERS = "Authorization, Content-Type, Idempotency-Key, If-Match, If-None-Match, X-Request-Id, X-Tenant-Id"
_EXPOSED = (
    "ETag, Idempotent-Replayed, Link, Retry-After, X-Cache, "
    "X-RateLimit-Limit, X-RateLimit-Remaining, X-RateLimit-Reset, X-Request-Id"
)
_MAX_AGE = "600"


class Cors:
    """Which other origins a browser may call from: listed ones, or `*` for all."""

    def __init__(self, origins: tuple[str, ...]) -> None:
        self._origins = frozenset(origins)
        self._any = "*" in origins

    def allows(self, request: Request, host: str) -> bool:
        """Say whether a page may do what browsers leave to the server: its own, a listed one, or no page.

        `host` is what the client called, with its port.
        """
        origin = request.headers.get("origin")
        if origin is None or self._any or origin in self._origins:
            return True
        # The scheme is not compared: a proxy may have taken the TLS off.
        return origin.lower().partition("://")[2] == host.lower()

    def headers(self, request: Request) -> list[Header]:
        """Return the headers that let the request's origin read the answer."""
        origin = request.headers.get("origin")
        if origin is None or not (self._any or origin in self._origins):
            return []
        # Tokens travel in a header, never in cookies, so no credentials are ever allowed.
        return [
            ("access-control-allow-origin", "*" if self._any else origin),
            ("access-control-expose-headers", _EXPOSED),
            ("vary", "Origin"),
        ]

    def preflight(self, request: Request) -> list[Header] | None:
        """Return a preflight's further headers, or None if the request is none."""
        if request.method != "OPTIONS" or "access-control-request-method" not in request.headers:
            return None
        return [
            ("access-control-allow-methods", _METHODS),
            ("access-control-allow-headers", _HEADERS),
            ("access-control-max-age", _MAX_AGE),
        ]
