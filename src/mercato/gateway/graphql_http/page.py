"""The page to ask on: GraphiQL, bundled by tools/graphiql. It loads nothing but its own parts."""

import gzip
import re
import secrets
from functools import cache
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import PurePosixPath

from mercato.kernel.errors import NotFound
from mercato.web.call import Call
from mercato.web.endpoint import PUBLIC, Routes
from mercato.web.http import Header, Response

_TYPES = {".js": "text/javascript", ".css": "text/css", ".txt": "text/plain"}
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'nonce-{nonce}'; connect-src 'self';"
    " img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_FOREVER: Header = ("cache-control", "public, max-age=31536000, immutable")
"""What a name stands for never changes: it holds the content's hash."""
_AGAIN: Header = ("cache-control", "no-cache")
_hash = re.compile(r"-([0-9a-f]{12})\.").search


def page() -> Response:
    """Return the page. Dialogs style it while they are open, by a nonce."""
    nonce = secrets.token_urlsafe(16)
    body = _page().replace(b"{nonce}", nonce.encode())
    headers = [("content-security-policy", _POLICY.format(nonce=nonce)), ("cache-control", "no-store")]
    headers.append(("vary", "Accept"))
    return Response(200, body, content_type="text/html; charset=utf-8", headers=headers, has_csp=True)


def parts() -> Routes:
    """Declare the page's parts."""
    api = Routes("graphql", prefix="/graphql/page")
    there = {each.name.removesuffix(".gz") for each in _folder().iterdir()} - {"index.html"}

    @api.get("/{name}", allow=PUBLIC, in_contract=False)
    async def page_part(call: Call, name: str) -> Response:
        """Return a part of the page."""
        if name not in there:
            raise NotFound("The page has no such part.")
        return _part(name, zipped="gzip" in call.headers.get("accept-encoding", ""))

    return api


def _part(name: str, *, zipped: bool) -> Response:
    """Return a part as it lies there, which is zipped, or as it was before for those who cannot unzip."""
    kind = _TYPES[PurePosixPath(name).suffix] + "; charset=utf-8"
    found = _hash(name)
    if found is None:
        return Response(200, _folder().joinpath(name).read_bytes(), content_type=kind, headers=[_AGAIN])
    body = _folder().joinpath(f"{name}.gz").read_bytes()
    tag = f'"{found[1]}.gz"' if zipped else f'"{found[1]}"'
    headers: list[Header] = [_FOREVER, ("etag", tag), ("vary", "Accept-Encoding")]
    if zipped:
        headers.append(("content-encoding", "gzip"))
    return Response(200, body if zipped else gzip.decompress(body), content_type=kind, headers=headers)


@cache
def _page() -> bytes:
    return _folder().joinpath("index.html").read_bytes()


def _folder() -> Traversable:
    return resources.files("mercato.gateway.graphql_http").joinpath("graphiql")
