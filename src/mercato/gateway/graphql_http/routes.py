"""The endpoint: /graphql, and /query for those who look for it there."""

from dataclasses import dataclass

from mercato.gateway.graphql_http.accept import HTML, JSON, wanted
from mercato.gateway.graphql_http.answering import DIALECT, Answering
from mercato.gateway.graphql_http.asked import AnyQuery, AskedByGet, read_body, read_query
from mercato.gateway.graphql_http.page import page, parts
from mercato.web.call import Call
from mercato.web.endpoint import NOBODY, PUBLIC, Endpoint, Routes
from mercato.web.envelope import Upload
from mercato.web.http import Response

PATHS = ("/graphql", "/query")


@dataclass(frozen=True, slots=True)
class Offer:
    """What is taken and shown."""

    max_body: int = 100 * 1024
    """Bytes of a POST's body."""
    batch: int = 10
    """Operations of one POST."""
    deadline_s: float = 30.0
    """For all of a request: its body, and each operation that it asks for."""
    playground: bool = True
    """Whether browsers are shown the page."""


def routes(answering: Answering, offer: Offer) -> list[Endpoint]:
    """Declare the endpoint, and the parts of its page."""
    api = Routes("graphql", dialect=DIALECT)
    for path in PATHS:
        _declare(api, path, answering, offer)
    return api.endpoints + (parts().endpoints if offer.playground else [])


def _declare(api: Routes, path: str, answering: Answering, offer: Offer) -> None:
    deadline_s = offer.deadline_s

    @api.post(
        path,
        allow=PUBLIC,
        accepts=(JSON,),
        max_body=offer.max_body,
        deadline_s=deadline_s,
        # What is changed is noted where it is changed.
        audited=NOBODY,
    )
    async def ask(call: Call, body: Upload, query: AnyQuery) -> Response:  # noqa: ARG001  it says nothing
        """Answer an operation, or a batch of some."""
        asked = read_body(b"".join([chunk async for chunk in body.chunks]), offer.batch)
        if isinstance(asked, list):
            return await answering.batch(call, asked)
        return await answering.posted(call, asked)

    @api.get(path, allow=PUBLIC, deadline_s=deadline_s)
    async def read(call: Call, query: AskedByGet) -> Response:
        """Answer a query, or show the page to ask on to a browser."""
        if offer.playground and wanted(call.headers.get("accept"), (JSON, HTML))[:1] == [HTML]:
            return page()
        return await answering.got(call, read_query(query))
