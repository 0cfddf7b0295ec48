"""GraphQL over HTTP: what is asked, by whom, and how it is answered."""

import re
from urllib.parse import urlencode

import msgspec
import pytest

from mercato.kernel.tenancy import Tier
from mercato.runtime.settings import Settings
from mercato.web.limits import Allowance, Limits
from tests.asgi_client import Answer, Client
from tests.graphql_http_shop import PASSWORD, GraphqlShop, open_graphql
from tests.shells import NO_LIMITS
from tests.shop import bearer

GRAPHQL = {"Accept": "application/graphql-response+json"}
JSON = {"Accept": "application/json"}
EVENTS = {"Accept": "text/event-stream"}
PRODUCTS = "{ products { data { name } } }"
LAMP = {"products": {"data": [{"name": "Brass desk lamp"}]}}
LOGIN = f'mutation {{ login(input: {{email: "ann@example.com", password: "{PASSWORD}"}}) {{ token }} }}'
SUBSCRIPTION = "subscription { orderStatusChanged { status } }"


@pytest.fixture
def shop() -> GraphqlShop:
    return GraphqlShop()


@pytest.fixture
def send(shop: GraphqlShop) -> Client:
    return open_graphql(shop)


def url(**parameters: str) -> str:
    return f"/graphql?{urlencode(parameters)}"


def refused(answer: Answer, status: int, code: str) -> None:
    assert (answer.status, [each["extensions"]["code"] for each in answer.json["errors"]]) == (status, [code])
    assert "data" not in answer.json
    assert answer.headers["content-type"].startswith("application/")


async def test_the_plainest_call_is_answered(send: Client) -> None:
    for path in ("/graphql", "/query"):
        answer = await send("POST", path, {"query": PRODUCTS}, headers={"Accept": "*/*"})
        assert (answer.status, answer.json["data"]) == (200, LAMP)
        assert answer.headers["content-type"] == "application/json; charset=utf-8"


async def test_variables_and_operation_names_are_understood_and_null_is_nothing(send: Client) -> None:
    query = "query One { me { id } } query Two($limit: Int) { products(limit: $limit) { data { name } } }"
    asked: dict[str, object]
    asked = {"query": query, "operationName": "Two", "variables": {"limit": 0}, "extensions": {}}
    assert (await send("POST", "/graphql", asked)).json["data"] == {"products": {"data": []}}
    asked = {"query": PRODUCTS, "operationName": None, "variables": None, "extensions": None}
    assert (await send("POST", "/graphql", asked)).json["data"] == LAMP
    asked = {"query": PRODUCTS, "operationName": "", "another": "clients send more, which is ignored"}
    assert (await send("POST", "/graphql?op=Products", asked)).json["data"] == LAMP
    got = await send("GET", url(query=query, operationName="Two", variables='{"limit":0}'), headers=JSON)
    assert got.json["data"] == {"products": {"data": []}}
    assert (await send("GET", url(query=PRODUCTS, operationName="", more="x"), headers=JSON)).json[
        "data"
    ] == LAMP


@pytest.mark.parametrize(
    "accept, kind, status",
    [
        (None, "application/json", 200),
        ("*/*", "application/json", 200),
        ("application/*", "application/json", 200),
        ("application/json", "application/json", 200),
        ("application/json, text/plain, */*", "application/json", 200),
        ("application/graphql-response+json", "application/graphql-response+json", 400),
        (
            "application/graphql-response+json, application/json;q=0.9",
            "application/graphql-response+json",
            400,
        ),
        ("application/json, application/graphql-response+json", "application/graphql-response+json", 400),
        ("application/graphql-response+json;q=0.5, application/json", "application/json", 200),
        ("application/graphql-response+json;q=0, */*", "application/json", 200),
        ("APPLICATION/GRAPHQL-RESPONSE+JSON; charset=utf-8", "application/graphql-response+json", 400),
    ],
)
async def test_the_client_chooses_the_type_and_with_it_what_a_refused_document_is(
    send: Client, accept: str | None, kind: str, status: int
) -> None:
    headers = {} if accept is None else {"Accept": accept}
    good = await send("POST", "/graphql", {"query": PRODUCTS}, headers=headers)
    assert (good.status, good.headers["content-type"]) == (200, f"{kind}; charset=utf-8")
    for query, code in (
        ("{", "GRAPHQL_PARSE_FAILED"),
        ("{ nothing }", "GRAPHQL_VALIDATION_FAILED"),
        ("query A { me { id } } query B { me { id } }", "OPERATION_RESOLUTION_FAILURE"),
    ):
        bad = await send("POST", "/graphql", {"query": query}, headers=headers)
        refused(bad, status, code)
        assert bad.headers["content-type"] == f"{kind}; charset=utf-8"
    partly = await send("POST", "/graphql", {"query": "{ orders { data { id } } }"}, headers=headers)
    assert (partly.status, partly.json["data"]) == (200, {"orders": None})
    assert partly.json["errors"][0]["extensions"]["code"] == "UNAUTHORIZED"
    assert "Accept" in partly.headers["vary"].split(", ")


async def test_a_client_that_takes_neither_type_is_told(send: Client, shop: GraphqlShop) -> None:
    for accept in ("text/xml", "image/*", "application/json;q=0, application/xml"):
        refused(
            await send("POST", "/graphql", {"query": LOGIN}, headers={"Accept": accept}),
            406,
            "NOT_ACCEPTABLE",
        )
        batch = await send("POST", "/graphql", [{"query": LOGIN}], headers={"Accept": accept})
        refused(batch, 406, "NOT_ACCEPTABLE")
    assert shop.asked == []


@pytest.mark.parametrize("headers", [GRAPHQL, JSON])
@pytest.mark.parametrize(
    "body",
    [
        b"NONSENSE",
        b'{"query":',
        b'"text"',
        b"7",
        b"null",
        b"[]",
        b"[7]",
        b"{}",
        b'{"qeury": "{ me { id } }"}',
        b'{"query": null}',
        b'{"query": {"a": 1}}',
        b'{"query": ["{ me { id } }"]}',
        b'{"query": "{ me { id } }", "variables": [7]}',
        b'{"query": "{ me { id } }", "variables": "{}"}',
        b'{"query": "{ me { id } }", "operationName": 7}',
        b'{"query": "{ me { id } }", "extensions": "none"}',
        b'{"query": "{ me { id } }", "variables": {"a": 1e999}}',
        b'{"query": "{ me { id } }", "variables": {"a": NaN}}',
        b'{"query": "{ me { id } }", "variables": {"a": "\\ud800"}}',
        b'{"query": "{ me { id } }", "variables": {"a": "\\u0000"}}',
        b'{"query": "{ me { id } }", "variables": {"\\u0000": "a"}}',
        b'{"query": "{ me { id } }", "variables": {"a": "\xff"}}',
        b'{"query": "{ me { id } }", "variables": {"a": ' + b"[" * 40_000 + b"]" * 40_000 + b"}}",
        b'{"query": "{ me { id } }", "extensions": {"persistedQuery": 1}}',
        b'{"query": "{ me { id } }", "extensions": {"persistedQuery": {"version": 2, "sha256Hash": "a"}}}',
        b'{"query": "{ me { id } }", "extensions": {"persistedQuery": {"version": 1, "sha256Hash": "A"}}}',
    ],
)
async def test_what_is_no_request_is_400_for_everybody(
    send: Client, shop: GraphqlShop, body: bytes, headers: dict[str, str]
) -> None:
    answer = await send("POST", "/graphql", body, headers=headers)
    assert answer.status == 400
    assert answer.json["errors"][0]["extensions"]["code"] in {
        "BAD_REQUEST",
        "VALIDATION_ERROR",
    }
    assert shop.asked == []


async def test_every_parameter_of_a_wrong_type_is_named(send: Client) -> None:
    asked = {"query": 1, "variables": [], "extensions": {}}
    told = (await send("POST", "/graphql", [{"query": PRODUCTS}, asked])).json["errors"][0]["extensions"]
    assert told == {
        "code": "VALIDATION_ERROR",
        "details": [
            {"field": "[1].query", "message": "must be a string"},
            {"field": "[1].variables", "message": "must be an object"},
        ],
    }
    for name in ("variables", "extensions"):
        refused(
            await send("GET", url(query=PRODUCTS, **{name: "[1]"}), headers=JSON), 400, "VALIDATION_ERROR"
        )
        refused(await send("GET", url(query=PRODUCTS, **{name: "{"}), headers=JSON), 400, "BAD_REQUEST")


@pytest.mark.parametrize(
    "kind",
    [
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "application/graphql",
        "",
        "json",
    ],
)
async def test_a_page_of_another_origin_cannot_post(send: Client, shop: GraphqlShop, kind: str) -> None:
    body = msgspec.json.encode({"query": LOGIN})
    refused(
        await send("POST", "/graphql", body, headers={"Content-Type": kind}), 415, "UNSUPPORTED_MEDIA_TYPE"
    )
    gzipped = {"Content-Type": "application/json", "Content-Encoding": "gzip"}
    refused(await send("POST", "/graphql", body, headers=gzipped), 415, "UNSUPPORTED_MEDIA_TYPE")
    assert shop.asked == []
    utf8 = await send("POST", "/graphql", body, headers={"Content-Type": "application/json; charset=utf-8"})
    assert utf8.json["data"] == {"login": {"token": "ann"}}


@pytest.mark.parametrize(
    "headers",
    [
        {"Accept": "*/*", "User-Agent": "curl/7.88.1"},
        {"Accept": "application/json", "User-Agent": "Mozilla/5.0"},
        {"Accept": "*/*", "User-Agent": "Mozilla/5.0", "Apollo-Require-Preflight": "true"},
        {"Accept": "*/*", "User-Agent": "Mozilla/5.0", "X-Tenant-Id": "acme"},
    ],
)
async def test_a_get_that_a_program_means_is_answered(send: Client, headers: dict[str, str]) -> None:
    answer = await send("GET", url(query=PRODUCTS), headers=headers)
    assert (answer.status, answer.json["data"]) == (200, LAMP)


@pytest.mark.parametrize(
    "headers",
    [
        {"Accept": "image/avif,image/webp,*/*;q=0.8", "User-Agent": "Mozilla/5.0"},
        {"Accept": "*/*", "User-Agent": "Mozilla/5.0"},
        {"Accept": "*/*", "Origin": "https://evil.example"},
        {"Accept": "text/event-stream", "User-Agent": "Mozilla/5.0"},
    ],
)
async def test_a_get_that_some_page_may_have_caused_is_refused(
    send: Client, shop: GraphqlShop, headers: dict[str, str]
) -> None:
    refused(await send("GET", url(query=PRODUCTS), headers=headers), 400, "BAD_REQUEST")
    assert shop.asked == []


async def test_a_get_changes_nothing(send: Client, shop: GraphqlShop) -> None:
    for query in (LOGIN, f"query A {PRODUCTS} {LOGIN.replace('mutation', 'mutation B')}"):
        answer = await send("GET", url(query=query, operationName="B" if "B" in query else ""), headers=JSON)
        refused(answer, 405, "METHOD_NOT_ALLOWED")
        assert answer.headers["allow"] == "POST"
    assert shop.asked == []
    other = await send("PUT", "/graphql", {"query": PRODUCTS})
    refused(other, 405, "METHOD_NOT_ALLOWED")
    assert other.headers["allow"] == "GET, HEAD, OPTIONS, POST"


async def test_a_token_is_needed_for_nothing_but_must_hold(send: Client, shop: GraphqlShop) -> None:
    me = {"query": "{ me { email tenantId } }"}
    assert (await send("POST", "/graphql", me)).json["data"] == {"me": None}
    known = await send("POST", "/graphql", me, headers=bearer("ann") | {"X-Tenant-Id": "acme"})
    assert known.json["data"] == {"me": {"email": "ann@example.com", "tenantId": "default"}}
    for header in (
        {"Authorization": "Bearer nobody"},
        {"Authorization": "Basic x"},
        {"Authorization": "ann"},
    ):
        answer = await send("POST", "/graphql", {"query": PRODUCTS}, headers=header)
        refused(answer, 401, "UNAUTHORIZED")
        assert answer.headers["www-authenticate"] == "Bearer"
        refused(await send("GET", url(query=PRODUCTS), headers=header | JSON), 401, "UNAUTHORIZED")
    named = await send("POST", "/graphql", {"query": PRODUCTS}, headers={"X-Tenant-Id": "acme"})
    assert named.json["data"] == LAMP
    assert shop.stores == ["default", "default", "acme"]
    refused(await send("POST", "/graphql", me, headers={"X-Tenant-Id": "nowhere"}), 404, "NOT_FOUND")


async def test_a_body_over_the_limit_is_not_read(send: Client, shop: GraphqlShop) -> None:
    most = Settings().graphql_max_body
    filler = " " * (most - len(msgspec.json.encode({"query": PRODUCTS})))
    refused(await send("POST", "/graphql", {"query": PRODUCTS + filler}), 200, "DOCUMENT_TOO_LARGE")
    refused(await send("POST", "/graphql", {"query": PRODUCTS + filler + " "}), 413, "PAYLOAD_TOO_LARGE")
    assert shop.asked == []


async def test_a_batch_is_answered_in_order_each_for_itself(send: Client) -> None:
    batch = [
        {"query": LOGIN},
        {"query": "{"},
        {"query": "{ orders { data { id } } }"},
        {"qeury": "?"},
        {"query": SUBSCRIPTION},
        {"query": PRODUCTS},
    ]
    for headers in (GRAPHQL, JSON):
        answer = await send("POST", "/graphql", batch, headers=headers)
        assert (answer.status, answer.headers["cache-control"]) == (200, "private, no-store")
        assert [each.get("data", "none") for each in answer.json] == [
            {"login": {"token": "ann"}},
            "none",
            {"orders": None},
            "none",
            "none",
            LAMP,
        ]
        codes = [error["extensions"]["code"] for each in answer.json for error in each.get("errors", ())]
        assert codes == [
            "GRAPHQL_PARSE_FAILED",
            "UNAUTHORIZED",
            "BAD_REQUEST",
            "OPERATION_RESOLUTION_FAILURE",
        ]


async def test_operations_of_a_batch_wait_for_each_other_no_longer_than_they_must(
    send: Client, shop: GraphqlShop
) -> None:
    # The second lets the first go on.
    batch = [{"query": "{ slow }"}, {"query": '{ products(search: "go") { data { name } } }'}]
    answer = await send("POST", "/graphql", batch)
    assert [each["data"] for each in answer.json] == [{"slow": "done"}, LAMP]
    assert shop.asked == ["slow", "products"]


async def test_a_batch_is_bounded_and_each_of_it_counts_against_the_limits(shop: GraphqlShop) -> None:
    tiers = {**NO_LIMITS, Tier.UNLIMITED: Allowance(per_s=1, burst=10)}
    send = open_graphql(shop, limits=Limits(tiers, address=Allowance(per_s=1, burst=15)))
    batch = [{"query": PRODUCTS}] * 10
    refused(await send("POST", "/graphql", [*batch, *batch]), 400, "BAD_REQUEST")
    assert (await send("POST", "/graphql", batch, headers=bearer("ann"))).status == 200
    over = await send("POST", "/graphql", batch, headers=bearer("ann"))
    refused(over, 429, "RATE_LIMIT_EXCEEDED")
    assert int(over.headers["retry-after"]) >= 1
    assert over.headers["x-ratelimit-remaining"] == "0"
    refused(await send("POST", "/graphql", batch), 429, "RATE_LIMIT_EXCEEDED")
    assert shop.asked == ["products"] * 10


async def test_only_what_everybody_may_see_is_kept_by_caches(send: Client) -> None:
    asked = url(query=PRODUCTS)
    kept = await send("GET", asked, headers=JSON)
    assert kept.headers["cache-control"] == "public, max-age=60"
    assert set(kept.headers["vary"].split(", ")) == {"Accept", "Authorization", "Origin", "X-Tenant-Id"}
    again = await send("GET", asked, headers=JSON | {"If-None-Match": kept.headers["etag"]})
    assert (again.status, again.body, again.headers["etag"]) == (304, b"", kept.headers["etag"])
    assert again.headers["cache-control"] == "public, max-age=60"
    other = await send("GET", asked, headers=GRAPHQL | {"If-None-Match": kept.headers["etag"]})
    assert other.status == 200

    for_one = [
        await send("GET", asked, headers=JSON | bearer("ann")),
        await send("GET", url(query="{ me { id } }"), headers=JSON),
        await send("GET", url(query="{ me { id } products { data { name } } }"), headers=JSON),
        await send("GET", url(query='{ products(search: "away") { data { name } } }'), headers=JSON),
        await send("GET", url(query="{"), headers=JSON),
        await send("POST", "/graphql", {"query": PRODUCTS}),
        await send("POST", "/graphql", {"query": LOGIN}),
    ]
    for answer in for_one:
        assert answer.headers["cache-control"] == "private, no-store"
        assert "etag" not in answer.headers


async def test_keeping_is_a_setting() -> None:
    send = open_graphql(GraphqlShop(Settings(graphql_public_age=0)))
    answer = await send("GET", url(query=PRODUCTS), headers=JSON)
    assert answer.headers["cache-control"] == "private, no-store"


async def test_a_subscription_comes_as_events_or_not_at_all(send: Client, shop: GraphqlShop) -> None:
    asked, ann = {"query": SUBSCRIPTION}, bearer("ann")
    for accept in ("text/event-stream", "text/event-stream, application/graphql-response+json;q=0.5", "*/*"):
        told = await send("POST", "/graphql", asked, headers=ann | {"Accept": accept})
        assert (told.status, told.headers["content-type"]) == (200, "text/event-stream")
        assert re.findall(rb'"status":"(\w+)"', told.body) == [b"pending", b"confirmed"]
        assert told.body.count(b"event: next") == 2
        assert told.body.endswith(b"event: complete\ndata:\n\n")
    shop.asked.clear()
    refused(await send("POST", "/graphql", asked, headers=ann | GRAPHQL), 400, "OPERATION_RESOLUTION_FAILURE")
    refused(await send("POST", "/graphql", asked, headers=ann | JSON), 200, "OPERATION_RESOLUTION_FAILURE")
    silent = open_graphql(shop, streams=False)
    refused(await silent("POST", "/graphql", asked, headers=ann | EVENTS), 406, "NOT_ACCEPTABLE")
    refused(await silent("POST", "/graphql", asked, headers=ann), 200, "OPERATION_RESOLUTION_FAILURE")
    assert shop.asked == []


async def test_a_query_may_come_as_an_event_and_a_refused_one_does_not(send: Client) -> None:
    told = await send("POST", "/graphql", {"query": PRODUCTS}, headers=EVENTS)
    assert told.body.startswith(b'event: next\ndata: {"data":{"products":')
    assert told.body.endswith(b"event: complete\ndata:\n\n")
    refused(await send("POST", "/graphql", {"query": "{"}, headers=EVENTS), 400, "GRAPHQL_PARSE_FAILED")


async def test_an_operation_that_takes_too_long_is_given_up() -> None:
    shop = GraphqlShop(Settings(graphql_deadline=0.5))
    send = open_graphql(shop)
    for method, target, body in (
        ("POST", "/graphql", {"query": "{ slow }"}),
        ("GET", url(query="{ slow }"), None),
    ):
        answer = await send(method, target, body, headers=JSON)
        refused(answer, 503, "SERVICE_UNAVAILABLE")
        assert answer.headers["retry-after"] == "1"
    batch = await send("POST", "/graphql", [{"query": "{ slow }"}, {"query": PRODUCTS}])
    assert [each.get("data") for each in batch.json] == [None, LAMP]


async def test_the_metrics_tell_what_became_of_operations(shop: GraphqlShop, send: Client) -> None:
    for asked in (
        {"query": PRODUCTS},
        {"query": PRODUCTS},
        {"query": "{ orders { data { id } } }"},
        {"query": "{"},
        {"query": "{ nothing { at } all }"},
        {"extensions": {"persistedQuery": {"version": 1, "sha256Hash": "0" * 64}}},
        [{"query": LOGIN}, {"query": "{"}],
    ):
        await send("POST", "/graphql", asked)
    await send("POST", "/graphql", {"query": SUBSCRIPTION}, headers=EVENTS | bearer("ann"))
    counted = {
        tuple(sample.labels.values()): sample.value
        for family in shop.registry.collect()
        for sample in family.samples
        if sample.name.endswith("_total")
    }
    assert counted == {
        ("query", "good"): 2,
        ("query", "with_errors"): 1,
        ("mutation", "good"): 1,
        ("subscription", "good"): 2,
        ("unknown", "refused"): 4,
        ("UNAUTHORIZED",): 1,
        ("GRAPHQL_PARSE_FAILED",): 2,
        ("GRAPHQL_VALIDATION_FAILED",): 2,
        ("PERSISTED_QUERY_NOT_FOUND",): 1,
    }
    (cost,) = (family for family in shop.registry.collect() if family.name == "mercato_graphql_cost")
    assert [sample.value for sample in cost.samples if sample.name.endswith("_count")] == [5]
