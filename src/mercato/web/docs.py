"""The page that shows the OpenAPI document. It loads nothing but itself and `/openapi.json`."""

from functools import cache
from importlib import resources

from mercato.web.call import Call
from mercato.web.endpoint import PUBLIC, Routes
from mercato.web.http import Header, Response

_HEADERS: tuple[Header, ...] = (
    (
        "content-security-policy",
        (
            "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:;"
            " base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
        ),
    ),
    # A new version must not run an old script.
    ("cache-control", "no-cache"),
)


def routes() -> Routes:
    """Declare the page and its parts."""
    api = Routes("docs", prefix="/docs")

    @api.get("", allow=PUBLIC, in_contract=False)
    async def page(call: Call) -> Response:  # noqa: ARG001  it is the same for all
        """Return the page."""
        return _part("index.html", "text/html; charset=utf-8")

    @api.get("/docs.css", allow=PUBLIC, in_contract=False)
    async def style(call: Call) -> Response:  # noqa: ARG001  it is the same for all
        """Return how it looks."""
        return _part("docs.css", "text/css; charset=utf-8")

    @api.get("/docs.js", allow=PUBLIC, in_contract=False)
    async def script(call: Call) -> Response:  # noqa: ARG001  it is the same for all
        """Return what it does."""
        return _part("docs.js", "text/javascript; charset=utf-8")

    return api


def _part(name: str, content_type: str) -> Response:
    return Response(200, _read(name), content_type=content_type, headers=[*_HEADERS], has_csp=True)


@cache
def _read(name: str) -> bytes:
    return resources.files("mercato.web").joinpath("docs_page", name).read_bytes()
