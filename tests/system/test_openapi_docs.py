"""The page that shows the API."""

import re

from tests.running import Platform

PARTS = {"/docs": "text/html", "/docs/docs.css": "text/css", "/docs/docs.js": "text/javascript"}
MOST_BYTES = 60_000


async def test_the_page_loads_nothing_from_elsewhere(platform: Platform) -> None:
    size = 0
    async with platform.client() as visitor:
        for path, kind in PARTS.items():
            part = await visitor.get(path)
            assert part.status == 200
            assert part.headers["content-type"].partition(";")[0] == kind
            policy = dict(each.split(None, 1) for each in part.headers["content-security-policy"].split("; "))
            assert policy["default-src"] == "'none'"
            assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == "'self'"
            assert not re.search(rb"https?://|//[a-z]+\.|@import|innerHTML|eval\(", part.body)
            assert b"style=" not in part.body
            size += len(part.body)
        page = (await visitor.get("/docs")).body.decode()
        for reference in re.findall(r'(?:src|href)="(/[^"]*)"', page):
            assert (await visitor.get(reference)).status == 200
    assert size < MOST_BYTES


async def test_no_other_answer_may_load_anything(platform: Platform) -> None:
    async with platform.client() as visitor:
        for path in ("/openapi.json", "/health", "/api/v1/products", "/docs/none"):
            policy = (await visitor.get(path)).headers["content-security-policy"]
            assert policy == "default-src 'none'; frame-ancestors 'none'"
