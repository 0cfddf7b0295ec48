"""What a request's span tells, and who may decide that there is one."""

import asyncio
from typing import Any

import pytest

from mercato.kernel.tracing import Tracing, trace_id
from mercato.web.asgi import AsgiApp
from mercato.web.call import Call
from mercato.web.endpoint import PUBLIC, Routes
from mercato.web.http import Request, Response
from mercato.web.limits import Limits
from mercato.web.router import Router
from tests.asgi_client import Client
from tests.shells import NO_LIMITS
from tests.shop import TokenBook, bearer, item_routes, open_shop
from tests.spans import Kept
from tests.waiting import until

TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT = "b7ad6b7169203331"
GIVEN = {"traceparent": f"00-{TRACE}-{PARENT}-01", "tracestate": "a=b"}
SECRET = "canary-5d1f"


def where() -> Routes:
    """Tell where in a trace a handler finds itself."""
    routes = Routes("where")

    @routes.get("/where", allow=PUBLIC)
    async def where(call: Call) -> Response:
        return Response(200, (trace_id() or "").encode())

    return routes


async def test_a_span_tells_the_endpoint_and_the_outcome_and_nothing_that_was_said() -> None:
    kept = Kept()
    send = Client(open_shop(traces=Tracing(kept, 1.0)).app)
    headers = bearer("ann") | GIVEN | {"cookie": SECRET, "x-request-id": "asked-1"}
    assert (await send("GET", f"/items/{SECRET}?token={SECRET}", headers=headers)).status == 400
    assert (await send("GET", "/items/none", headers=headers)).status == 404
    assert (await send("GET", "/faults/crash", headers=headers)).status == 500
    assert (await send("PUT", f"/{SECRET}", {"password": SECRET}, headers=headers)).status == 404
    assert (await send(SECRET, "/items", headers=headers)).status == 405
    told = [(each.name, each.attributes["http.response.status_code"], each.error_type) for each in kept.spans]
    assert told == [
        ("GET /items/{item_id}", 400, ""),
        ("GET /items/{item_id}", 404, ""),
        ("GET /faults/crash", 500, "INTERNAL_ERROR"),
        ("PUT", 404, ""),
        ("_OTHER", 405, ""),
    ]
    assert {(each.context.trace_id, each.parent_id, each.context.state) for each in kept.spans} == {
        (TRACE, PARENT, "a=b")
    }
    assert kept.spans[1].attributes["mercato.refused"] == "NOT_FOUND"
    assert kept.spans[1].attributes["mercato.request_id"] == "asked-1"
    assert SECRET not in repr([(each.name, each.attributes) for each in kept.spans])


async def test_each_request_is_in_a_trace_of_its_own_or_in_its_callers() -> None:
    send = Client(open_shop(where(), traces=Tracing(Kept(), 0.0)).app)
    own = [(await send("GET", "/where")).body for _ in range(3)]
    assert len(set(own)) == 3
    assert (await send("GET", "/where", headers=GIVEN)).body == TRACE.encode()
    hostile = {"traceparent": f"00-{TRACE.upper()}-{PARENT}-01"}
    assert len((await send("GET", "/where", headers=hostile)).body) == 32
    assert trace_id() is None
    off = Client(open_shop(where()).app)
    assert (await off("GET", "/where")).body == b""
    assert (await off("GET", "/where", headers=GIVEN)).body == TRACE.encode()


async def test_a_stranger_cannot_have_its_requests_recorded() -> None:
    kept = Kept()
    send = Client(open_shop(traces=Tracing(kept, 0.0)).app)
    assert (await send("GET", "/items", headers=GIVEN)).status == 200
    assert kept.spans == []


async def test_another_service_decides_what_is_recorded_once_it_has_shown_its_token() -> None:
    kept = Kept()
    shop = open_shop(traces=Tracing(kept, 0.0))
    internal = shop.shell.beside(
        Router(item_routes().endpoints),
        authenticator=TokenBook(),
        limits=Limits(NO_LIMITS),
        quiet=frozenset(),
    )
    send = Client(AsgiApp(internal))
    assert (await send("GET", "/items/7", headers=GIVEN)).status == 401
    assert (await send("GET", "/items/7", headers=GIVEN | bearer("forged"))).status == 401
    assert kept.spans == []
    assert (await send("GET", "/items/7", headers=GIVEN | bearer("ann"))).status == 200
    assert [(each.context.trace_id, each.parent_id) for each in kept.spans] == [(TRACE, PARENT)]


async def test_who_watches_the_process_is_never_recorded() -> None:
    kept = Kept()
    routes = Routes("watched")

    @routes.get("/health/live", allow=PUBLIC, in_contract=False)
    async def live(call: Call) -> Response:
        return Response(200)

    send = Client(open_shop(routes, traces=Tracing(kept, 1.0)).app)
    assert (await send("GET", "/health/live", headers=GIVEN)).status == 200
    assert kept.spans == []


async def test_a_request_that_its_client_has_left_ends_its_span() -> None:
    kept = Kept()
    shop = open_shop(traces=Tracing(kept, 1.0))
    request = Request("GET", "/faults/hang", "", {"host": "a"}, "192.0.2.7", False, _nothing, _none)  # noqa: FBT003
    asking = asyncio.create_task(shop.shell.handle(request))
    await until(lambda: len(shop.shell.under_way) > 0)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    assert [each.error_type for each in kept.spans] == ["cancelled"]


async def _nothing(_: int) -> bytes:
    return b""


async def _none(_: int) -> Any:
    yield b""
