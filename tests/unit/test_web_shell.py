"""What every request meets, whatever endpoint it is for."""

import asyncio
import logging

import pytest
from prometheus_client import generate_latest

from mercato.kernel.ids import is_id
from tests.asgi_client import Answer, Client, Message
from tests.shop import CAUSE, Shop, bearer, open_shop

GOOD = {"name": "cup", "price": 5}


@pytest.fixture
def shop() -> Shop:
    return open_shop(origins=("https://shop.example",), deadline_s=0.5)


@pytest.fixture
def send(shop: Shop) -> Client:
    return Client(shop.app)


def refused(answer: Answer, status: int, code: str) -> None:
    assert (answer.status, answer.code) == (status, code)
    assert answer.json["success"] is False
    assert answer.json["error"]["request_id"] == answer.headers["x-request-id"]
    assert answer.headers["content-length"] == str(len(answer.body))


async def test_success_comes_in_the_envelope(send: Client) -> None:
    made = await send("POST", "/items", {"name": "cup", "price": 19.9}, headers=bearer("adam"))
    assert made.status == 201
    assert made.body == (b'{"success":true,"data":{"id":"1","name":"cup","price":19.90,"owner":"user-adam"}}')
    assert made.headers["content-type"] == "application/json"

    shown = await send("GET", "/items/7", headers=bearer("ann"))
    assert b'"price":19.90' in shown.body
    assert shown.headers["etag"] == '"1"'

    listed = await send("GET", "/items?limit=5")
    assert listed.json["data"] == []
    assert listed.json["meta"]["total_count"] == 0

    kept = await send("GET", "/items/7/cached")
    assert kept.body == b'{"success":true,"data":{"id":"kept"}}'
    assert kept.headers["x-cache"] == "HIT"


async def test_nothing_to_say_is_204_without_a_body(send: Client) -> None:
    answer = await send("DELETE", "/items/7", headers=bearer("olga"))
    assert (answer.status, answer.body) == (204, b"")
    assert "content-type" not in answer.headers
    assert "content-length" not in answer.headers


async def test_each_refusal_has_its_status_and_code(send: Client) -> None:
    ann, adam = bearer("ann"), bearer("adam")
    refused(await send("POST", "/items", b"{", headers=adam), 400, "BAD_REQUEST")
    refused(
        await send("POST", "/items", headers=adam | {"Content-Type": "application/json"}), 400, "BAD_REQUEST"
    )
    refused(await send("POST", "/items", {"name": ""}, headers=adam), 400, "VALIDATION_ERROR")
    refused(await send("GET", "/items?limit=0"), 400, "VALIDATION_ERROR")
    refused(await send("GET", "/items/7?nonsense=1", headers=ann), 400, "VALIDATION_ERROR")
    refused(await send("GET", "/items/7"), 401, "UNAUTHORIZED")
    refused(await send("POST", "/items", GOOD, headers=ann), 403, "FORBIDDEN")
    refused(await send("GET", "/items/none", headers=ann), 404, "NOT_FOUND")
    refused(await send("GET", "/nowhere"), 404, "NOT_FOUND")
    refused(await send("PUT", "/items/7", GOOD, headers=ann), 405, "METHOD_NOT_ALLOWED")
    refused(await send("POST", "/items", {**GOOD, "name": "taken"}, headers=adam), 409, "ITEM_TAKEN")
    large = b'{"name":"' + b"x" * (1024 * 1024) + b'"}'
    refused(await send("POST", "/items", large, headers=adam), 413, "PAYLOAD_TOO_LARGE")
    xml = adam | {"Content-Type": "text/xml"}
    refused(await send("POST", "/items", b"<a/>", headers=xml), 415, "UNSUPPORTED_MEDIA_TYPE")
    zipped = adam | {"Content-Encoding": "gzip"}
    refused(await send("POST", "/items", GOOD, headers=zipped), 415, "UNSUPPORTED_MEDIA_TYPE")
    refused(await send("GET", "/items", headers={"X-Long": "x" * 33_000}), 431, "HEADERS_TOO_LARGE")


async def test_a_refusal_names_every_bad_field(send: Client) -> None:
    answer = await send("POST", "/items", {"price": "5", "color": 1}, headers=bearer("adam"))
    assert {each["field"] for each in answer.json["error"]["details"]} == {"name", "price", "color"}


async def test_a_defect_answers_500_without_its_cause(
    send: Client, shop: Shop, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.ERROR):
        answer = await send("GET", "/faults/crash")
    refused(answer, 500, "INTERNAL_ERROR")
    assert CAUSE.encode() not in answer.body
    assert CAUSE in caplog.text
    await asyncio.sleep(0)
    assert shop.lines[-1]["level"] == "error"
    assert CAUSE.encode() not in b"".join(shop.log)


async def test_a_request_that_takes_too_long_is_503(send: Client) -> None:
    answer = await send("GET", "/faults/hang")
    refused(answer, 503, "SERVICE_UNAVAILABLE")
    assert int(answer.headers["retry-after"]) >= 1


async def test_an_answer_of_not_now_is_logged_as_a_warning_and_no_error(send: Client, shop: Shop) -> None:
    await send("GET", "/faults/hang")
    await asyncio.sleep(0)
    assert (shop.lines[-1]["status"], shop.lines[-1]["level"]) == (503, "warning")


async def test_a_usable_request_id_is_kept_and_another_replaced(send: Client) -> None:
    given = await send("GET", "/items", headers={"X-Request-Id": "trace.1:a-b_C"})
    assert given.headers["x-request-id"] == "trace.1:a-b_C"
    for bad in ("", "a b", "x" * 129, 'a"b', "ü"):
        made = await send("GET", "/items", headers={"X-Request-Id": bad})
        assert is_id(made.headers["x-request-id"])


@pytest.mark.parametrize("target", ["/items", "/nowhere", "/faults/crash", "/items/7"])
async def test_every_answer_has_the_security_headers(send: Client, target: str) -> None:
    headers = (await send("GET", target)).headers
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["x-frame-options"] == "DENY"
    assert "default-src 'none'" in headers["content-security-policy"]
    assert "strict-transport-security" not in headers
    assert "strict-transport-security" in (await send("GET", target, secure=True)).headers


async def test_a_listed_origin_may_read_answers_and_no_other(send: Client) -> None:
    ours = {"Origin": "https://shop.example"}
    for target in ("/items", "/items/7"):
        answer = await send("GET", target, headers=ours)
        assert answer.headers["access-control-allow-origin"] == "https://shop.example"
        assert answer.headers["vary"] == "Authorization, Origin, X-Tenant-Id, Origin"
    for origin in ("https://evil.example", "null", "https://shop.example.evil.example"):
        answer = await send("GET", "/items", headers={"Origin": origin})
        assert "access-control-allow-origin" not in answer.headers
    assert "access-control-allow-credentials" not in answer.headers


async def test_a_preflight_says_what_may_be_sent(send: Client) -> None:
    asking = {"Origin": "https://shop.example", "Access-Control-Request-Method": "DELETE"}
    answer = await send("OPTIONS", "/items/7", headers=asking)
    assert answer.status == 204
    assert "DELETE" in answer.headers["access-control-allow-methods"]
    assert "Idempotency-Key" in answer.headers["access-control-allow-headers"]


async def test_options_and_405_say_what_is_allowed_and_head_has_no_body(send: Client) -> None:
    assert (await send("OPTIONS", "/items")).headers["allow"] == "GET, HEAD, OPTIONS, POST"
    refused(await send("OPTIONS", "/nowhere"), 404, "NOT_FOUND")
    assert (await send("PATCH", "/items")).headers["allow"] == "GET, HEAD, OPTIONS, POST"
    got, head = await send("GET", "/items"), await send("HEAD", "/items")
    assert (head.status, head.body) == (200, b"")
    assert head.headers["content-length"] == got.headers["content-length"]


async def test_the_role_is_checked_before_anything_is_looked_up(send: Client) -> None:
    for target in ("/items/7", "/items/none", "/items/%00"):
        refused(await send("DELETE", target, headers=bearer("adam")), 403, "FORBIDDEN")
    # Nor is the body read for a role that may not send it.
    refused(await send("POST", "/items", b"{", headers=bearer("ann")), 403, "FORBIDDEN")


@pytest.mark.parametrize("header", ["Bearer nobody", "Bearer", "Bearer ", "Basic YTpi", "nobody", ""])
async def test_a_token_that_is_not_valid_is_401_even_where_none_is_needed(send: Client, header: str) -> None:
    answer = await send("GET", "/items", headers={"Authorization": header})
    refused(answer, 401, "UNAUTHORIZED")
    assert answer.headers["www-authenticate"] == "Bearer"


async def test_a_token_names_its_store_and_only_platform_roles_another(send: Client) -> None:
    async def store(token: str, named: str) -> object:
        answer = await send("GET", "/items/7", headers=bearer(token) | {"X-Tenant-Id": named})
        return answer.json["data"]["name"] if answer.status == 200 else answer.status

    assert await store("ann", "other") == "default"
    assert await store("bea", "default") == "other"
    assert await store("olga", "other") == "other"
    assert await store("olga", "missing") == 404
    for name in ("missing", "OTHER", "../other", ""):
        answer = await send("GET", "/items", headers={"X-Tenant-Id": name})
        refused(answer, 404, "NOT_FOUND")


async def test_a_body_is_bounded_while_it_comes(send: Client) -> None:
    ann = bearer("ann")
    chunks: list[Message] = [{"type": "http.request", "body": b"{     ", "more_body": True}] * 3
    refused(await send("POST", "/items/7/touch", headers=ann, chunks=chunks), 413, "PAYLOAD_TOO_LARGE")
    declared = ann | {"Content-Length": "11"}
    refused(await send("POST", "/items/7/touch", headers=declared), 413, "PAYLOAD_TOO_LARGE")
    cut: list[Message] = [chunks[0], {"type": "http.disconnect"}]
    refused(await send("POST", "/items/7/touch", headers=ann, chunks=cut), 400, "BAD_REQUEST")


async def test_an_endpoint_without_a_body_takes_an_empty_object(send: Client) -> None:
    ann = bearer("ann")
    assert (await send("POST", "/items/7/touch", headers=ann)).status == 204
    assert (await send("POST", "/items/7/touch", {}, headers=ann)).status == 204
    refused(await send("POST", "/items/7/touch", {"a": 1}, headers=ann), 400, "VALIDATION_ERROR")


async def test_one_line_tells_of_each_request_and_no_secret(send: Client, shop: Shop) -> None:
    body = {"name": "hunter2", "price": 1}
    headers = bearer("adam") | {"X-Request-Id": "r-1", "Cookie": "hunter2"}
    await send("POST", "/items", body, headers=headers)
    await send("GET", "/items?after=hunter2")
    await send("GET", "/items", headers=bearer("hunter2"))
    await asyncio.sleep(0)
    first, *others = shop.lines
    assert isinstance(first.pop("ms"), float)
    assert first == {
        "ts": "2026-01-01T12:00:00Z",
        "level": "info",
        "event": "request",
        "request_id": "r-1",
        "method": "POST",
        "path": "/items",
        "route": "POST /items",
        "status": 201,
        "client": "192.0.2.7",
        "tenant": "default",
        "user": "user-adam",
    }
    assert [line.get("code") for line in others] == ["VALIDATION_ERROR", "UNAUTHORIZED"]
    assert b"hunter2" not in b"".join(shop.log)


async def test_metrics_are_by_route_and_never_by_id(send: Client, shop: Shop) -> None:
    for target in ("/items/7", "/items/8", "/nowhere/9"):
        await send("GET", target, headers=bearer("ann"))
    text = generate_latest(shop.registry).decode()
    assert 'route="GET /items/{item_id}",status="200"} 2.0' in text
    assert 'code="NOT_FOUND",route="unrouted",status="404"} 1.0' in text
    assert "/items/7" not in text


async def test_draining_waits_for_the_requests_in_flight(send: Client, shop: Shop) -> None:
    hanging = asyncio.create_task(send("GET", "/faults/hang"))
    await asyncio.sleep(0)
    assert len(shop.shell.under_way) == 1
    await shop.shell.under_way.drained()
    assert hanging.done() or (await hanging).status == 503
    assert len(shop.shell.under_way) == 0
