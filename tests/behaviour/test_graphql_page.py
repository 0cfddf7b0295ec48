"""The page at /graphql, as it is served: who gets it, and what it may do."""

import gzip
import re
from importlib import resources

import pytest

from mercato.runtime.settings import Settings
from tests.asgi_client import Answer, Client
from tests.graphql_http_shop import GraphqlShop, open_graphql
from tests.shop import bearer

BROWSER = {
    "Accept": "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8",
    "User-Agent": "Mozilla/5.0",
    "Accept-Encoding": "gzip, deflate, br, zstd",
}
MOST_BYTES = 500_000
"""Of the script as it is sent: GraphiQL, its editor and React."""


@pytest.fixture
def send() -> Client:
    return open_graphql(GraphqlShop())


def policy_of(answer: Answer) -> dict[str, str]:
    parts = answer.headers["content-security-policy"].split("; ")
    return {name: value for name, _, value in (part.partition(" ") for part in parts)}


async def test_a_browser_gets_the_page_and_a_program_does_not(send: Client) -> None:
    for path in ("/graphql", "/query", "/graphql?query={me{id}}"):
        page = await send("GET", path, headers=BROWSER)
        assert (page.status, page.headers["content-type"]) == (200, "text/html; charset=utf-8")
        assert page.headers["cache-control"] == "no-store"
        assert "Accept" in page.headers["vary"].split(", ")
    for accept in ("*/*", "application/json", "application/json, text/html;q=0.9", "text/html;q=0, */*"):
        assert (
            "html" not in (await send("GET", "/graphql", headers={"Accept": accept})).headers["content-type"]
        )
    assert (await send("GET", "/graphql", headers=BROWSER | bearer("nobody"))).status == 401


async def test_it_may_load_nothing_but_its_own_parts(send: Client) -> None:
    page = await send("GET", "/graphql", headers=BROWSER)
    policy = policy_of(page)
    nonce = re.findall(rb'nonce="([^"]+)"', page.body)[0].decode()
    assert policy == {
        "default-src": "'none'",
        "script-src": "'self'",
        "style-src": f"'self' 'nonce-{nonce}'",
        "connect-src": "'self'",
        "img-src": "data:",
        "base-uri": "'none'",
        "form-action": "'none'",
        "frame-ancestors": "'none'",
    }
    again = await send("GET", "/graphql", headers=BROWSER)
    assert policy_of(again)["style-src"] != policy["style-src"]
    parts = re.findall(r'(?:src|href)="([^"]*)"', page.body.decode())
    assert sorted(part.rpartition(".")[2] for part in parts if part.startswith("/graphql/page/")) == [
        "css",
        "js",
    ]
    assert {part for part in parts if not part.startswith("/graphql")} == {"data:,"}


async def test_its_parts_are_small_and_never_asked_for_twice(send: Client) -> None:
    page = await send("GET", "/graphql", headers=BROWSER)
    size = 0
    for path in re.findall(r'"(/graphql/page/[^"]+)"', page.body.decode()):
        zipped = await send("GET", path, headers=BROWSER)
        size += len(zipped.body)
        assert zipped.headers["cache-control"] == "public, max-age=31536000, immutable"
        assert zipped.headers["content-encoding"] == "gzip"
        assert "Accept-Encoding" in zipped.headers["vary"]
        kind = "text/javascript" if path.endswith(".js") else "text/css"
        assert zipped.headers["content-type"] == f"{kind}; charset=utf-8"
        known = await send("GET", path, headers=BROWSER | {"If-None-Match": zipped.headers["etag"]})
        assert (known.status, known.body) == (304, b"")
        plain = await send("GET", path)
        assert "content-encoding" not in plain.headers
        assert plain.headers["etag"] != zipped.headers["etag"]
        assert plain.body == gzip.decompress(zipped.body)
    assert 100_000 < size < MOST_BYTES


async def test_it_tells_whose_work_it_holds(send: Client) -> None:
    notices = await send("GET", "/graphql/page/NOTICES.txt")
    assert notices.headers["content-type"] == "text/plain; charset=utf-8"
    for package in ("graphiql 4", "react 19", "codemirror 5", "graphql 16", "graphql-sse 2"):
        assert re.search(rf"^{re.escape(package)}[.0-9]* \(MIT\)$", notices.body.decode(), re.MULTILINE), (
            package
        )
    folder = resources.files("mercato.gateway.graphql_http").joinpath("graphiql")
    (script,) = (each for each in folder.iterdir() if each.name.endswith(".js.gz"))
    assert gzip.decompress(script.read_bytes()).startswith(b"/* Licences: NOTICES.txt")


@pytest.mark.parametrize(
    "name", ["index.html", "nothing.js", "..%2Froutes.py", "%2e%2e", "graphiql.js.gz", "%00"]
)
async def test_there_is_nothing_else_at_its_place(send: Client, name: str) -> None:
    assert (await send("GET", f"/graphql/page/{name}")).status == 404


async def test_it_is_a_setting() -> None:
    send = open_graphql(GraphqlShop(Settings(graphql_playground=False)))
    answer = await send("GET", "/graphql", headers=BROWSER)
    assert (answer.status, answer.headers["content-type"]) == (400, "application/json")
    assert (await send("GET", "/graphql/page/NOTICES.txt")).status == 404
