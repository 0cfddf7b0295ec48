"""Every declared path at the edges of HTTP: methods, media types, encodings, odd spellings."""

import asyncio
import gzip
import itertools
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import pytest
from msgspec.structs import fields

from mercato.kernel.clock import utc_now
from mercato.runtime.app import contract_of
from mercato.runtime.embedded import Embedded
from mercato.runtime.settings import Settings
from mercato.web.endpoint import Endpoint
from tests.running import Answer, Platform, Shopper, Store, add_product, items_of, open_store, order_of
from tests.system.test_hostile_tokens import operator_of
from tests.waiting import until

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "TRACE")
SAME_FOR_ALL = (
    "/health",
    "/health/live",
    "/health/ready",
    "/metrics",
    "/openapi.json",
    "/docs",
    "/docs/docs.js",
    "/products/health",
    "/orders/health",
    "/users/health",
)
CHANGING = {"date", "x-request-id", "x-cache"}
"""Headers that differ from one answer to the next."""
OWN_FIELDS = {
    "id",
    "tenant_id",
    "role",
    "status",
    "version",
    "created_at",
    "payment_status",
    "is_active",
    "price",
}
SQL = ("' OR 1=1 --", "1; DROP TABLE users", "name;--", "-name,price", "$ne", "{}", "*", '" OR ""="', "%")


@pytest.fixture(scope="module")
def endpoints(tmp_path_factory: pytest.TempPathFactory) -> list[Endpoint]:
    """What is declared, in either dialect."""
    folder: Path = tmp_path_factory.mktemp("declared")
    declared = contract_of(Embedded(Settings(data=str(folder))).process, utc_now)
    return [each for each in declared if each.in_contract]


def is_refused(answer: Answer, endpoint: Endpoint, status: int, code: str) -> bool:
    """Say whether a refusal has its status and, where the dialect tells it, its code."""
    return answer.status == status and (answer.code == code if endpoint.is_described else bool(told(answer)))


def told(answer: Answer) -> str:
    """Return the words of a refusal in the flat dialect, which has nothing else in it."""
    (text,) = answer.json.values()
    return str(text)


def path_of(endpoint: Endpoint) -> str:
    return endpoint.path.replace("{", "").replace("}", "")


async def test_each_path_tells_its_methods_and_takes_no_other(
    platform: Platform, endpoints: list[Endpoint]
) -> None:
    declared: dict[str, set[str]] = defaultdict(set)
    for each in endpoints:
        declared[path_of(each)].add(each.method)
    for path in SAME_FOR_ALL:
        declared[path].add("GET")
    async with platform.client() as shop:
        for path, methods in declared.items():
            allowed = methods | {"OPTIONS"} | ({"HEAD"} if "GET" in methods else set())
            told = await shop.call("OPTIONS", path)
            assert (told.status, told.body) == (204, b"")
            assert set(told.headers["allow"].split(", ")) >= allowed, path
            for method in set(METHODS) - set(told.headers["allow"].split(", ")):
                refused = await shop.call(method, path)
                assert (refused.status, refused.headers["allow"]) == (405, told.headers["allow"]), (
                    method,
                    path,
                )
                assert method == "HEAD" or refused.json["error"]
                if path.startswith("/api/"):
                    assert method == "HEAD" or refused.code == "METHOD_NOT_ALLOWED"
            assert (await shop.get(f"{path}/")).status == 404, path
            assert (await shop.get(path.replace("/", "//", 1))).status == 404, path


async def test_head_answers_like_get_without_a_body(platform: Platform, endpoints: list[Endpoint]) -> None:
    store = await open_store(platform, "heads")
    operator = await operator_of(platform, "heads")
    async with platform.client(store=store.id) as shop:
        product = await add_product(shop, store, "LAMP", stock=5)
        order = (await shop.post("/api/v1/orders", order_of(product), token=store.customer)).data
        ids = defaultdict(lambda: "nothing", product_id=product, order_id=order["id"], tenant_id=store.id)
        ids["user_id"] = ids["username"] = order["user_id"]
        paths = [each.path.format_map(ids) for each in endpoints if each.method == "GET"]
        await until(lambda: is_all_told(shop, store))
        for path, token in itertools.product([*paths, *SAME_FOR_ALL], (operator, None)):
            got, head = await shop.get(path, token=token), await shop.call("HEAD", path, token=token)
            assert (head.status, head.body) == (got.status, b""), path
            apart = CHANGING | ({"content-length"} if path in {"/metrics", "/health"} else set())
            assert without(head, apart) == without(got, apart), path


async def is_all_told(shop: Shopper, store: Store) -> bool:
    """Say whether what goes by events has come: two welcomes, the order's mail, who made the product."""
    sent = (await shop.get("/api/v1/notifications?status=sent", token=store.admin)).data
    acts = (await shop.get("/api/v1/audit-log", token=store.admin)).data
    return len(sent) == 3 and [each["action"] for each in acts] == ["products_create"]


def without(answer: Answer, names: set[str]) -> dict[str, str]:
    return {name: value for name, value in answer.headers.items() if name not in names}


@pytest.mark.parametrize(
    "kind, content",
    [
        ("application/octet-stream", b"{}"),
        ("text/plain", b"{}"),
        ("application/x-www-form-urlencoded", b"role=admin"),
        ("multipart/form-data; boundary=x", b"--x--"),
        ("application/json", gzip.compress(b" " * 30_000_000)),
    ],
    ids=["bytes", "text", "form", "multipart", "gzip bomb"],
)
async def test_a_body_of_another_kind_is_415_wherever_one_is_taken(
    platform: Platform, endpoints: list[Endpoint], kind: str, content: bytes
) -> None:
    operator = await operator_of(platform, f"kinds-{len(kind)}-{len(content)}")
    coding = {"Content-Encoding": "gzip"} if content.startswith(b"\x1f\x8b") else {}
    async with platform.client(operator) as shop:
        for endpoint in (each for each in endpoints if each.takes_body):
            path = path_of(endpoint)
            answer = await shop.send(endpoint.method, path, kind, content, headers=coding)
            assert is_refused(answer, endpoint, 415, "UNSUPPORTED_MEDIA_TYPE"), endpoint.route


async def test_ten_thousand_parameters_are_400_on_every_path(
    platform: Platform, endpoints: list[Endpoint]
) -> None:
    operator = await operator_of(platform, "parameters")
    async with platform.client(operator) as shop:
        for endpoint in endpoints:
            answer = await shop.call(endpoint.method, f"{path_of(endpoint)}?{'&'.join(['a=1'] * 10_000)}")
            assert is_refused(answer, endpoint, 400, "BAD_REQUEST"), endpoint.route


async def test_odd_spellings_of_an_id_name_nothing(platform: Platform) -> None:
    store = await open_store(platform, "spellings")
    async with platform.client(store.customer) as shop:
        product = await add_product(shop, store, "LAMP", stock=5)
        order = (await shop.post("/api/v1/orders", order_of(product))).data["id"]
        spellings: list[Callable[[str], str]] = [
            str.upper,
            lambda text: text.replace("-", ""),
            lambda text: text.replace("-", "%252d"),
            lambda text: f"%257B{text}%257D",
            lambda text: f"{text}%20",
            lambda text: f"{text}%00",
            lambda text: f"{text}%0A",
            lambda text: f"{text}%2F",
            lambda text: f"{text}%2F..",
            lambda text: f"{text}%2f{text}",
            lambda text: f"x%2F..%2F{text}",
            lambda text: f"spellings:{text}",
            lambda text: f"{text};v=1",
            lambda text: f"{text}.json",
            lambda text: text.replace("-", "\N{FULLWIDTH HYPHEN-MINUS}", 1),
        ]
        for spell in spellings:
            for path in (f"/api/v1/orders/{spell(order)}", f"/api/v1/products/{spell(product)}"):
                assert (await shop.get(path)).status == 404, path
        # Where the separator is encoded the path is the one it decodes to, with that one's rights.
        for path in ("/api/v1%2Fdead-letters", "/api%2fv1%2fusers", f"/api/v1/tenants%2F{store.id}%2F"):
            assert (await shop.get(path)).status in {403, 404}, path
        async with platform.client() as nobody:
            assert (await nobody.get(f"/api/v1/orders%2F{order}")).status == 401


async def test_what_nobody_may_write_is_refused_by_name_wherever_a_body_is_taken(
    platform: Platform, endpoints: list[Endpoint]
) -> None:
    operator = await operator_of(platform, "forged-fields")
    async with platform.client(operator) as shop:
        for endpoint in endpoints:
            if not endpoint.takes_body or endpoint.accepts:
                continue
            forged = OWN_FIELDS - set(endpoint.body_type.__struct_encode_fields__)
            answer = await shop.call(endpoint.method, path_of(endpoint), dict.fromkeys(sorted(forged), 1))
            assert is_refused(answer, endpoint, 400, "VALIDATION_ERROR"), endpoint.route
            if endpoint.is_described:
                named = {each["field"] for each in answer.json["error"]["details"]}
            else:
                named = {each for each in forged if f"{each} is not a known field" in told(answer)}
            assert named >= forged, endpoint.route


async def test_no_parameter_of_a_list_is_more_than_it_says(
    platform: Platform, endpoints: list[Endpoint]
) -> None:
    store = await open_store(platform, "forged-queries")
    operator = await operator_of(platform, "forged-queries")
    free = {"search", "category", "sku", "consumer", "actor", "action", "object_kind", "object_id"}
    odd = {"where", "order_by", "filter[role]", "tenant_id"}
    async with platform.client(operator, store.id) as shop:
        product = await add_product(shop, store, "LAMP", stock=5)
        for endpoint in (each for each in endpoints if each.takes_query and each.method == "GET"):
            path = endpoint.path.format(product_id=product, user_id=product)
            known = {each.encode_name for each in fields(endpoint.query_type)}
            for name, text in itertools.product(sorted(known | odd), SQL):
                quoted = "".join(f"%{byte:02x}" for byte in text.encode())
                answer = await shop.get(f"{path}?{name}={quoted}")
                case = (answer.status, endpoint.route, name, text)
                if name in free & known:
                    assert answer.status == 200, case
                    assert answer.data == [] or name == "search", case
                elif name in {"order_id", "recipient"}:
                    assert answer.status == 400 or answer.data == [], case
                else:
                    assert answer.status == 400, case


async def test_a_cursor_of_one_store_shows_another_nothing_of_it(platform: Platform) -> None:
    store, other = await open_store(platform, "cursors"), await open_store(platform, "cursors-other")
    async with platform.client() as shop:
        for each in (store, other):
            for number in range(3):
                await add_product(shop, each, f"LAMP-{number}", stock=9)
                placed = await shop.post("/api/v1/orders", order_of(f"LAMP-{number}"), token=each.customer)
                assert placed.status == 201
        for kind, flat_id in (("products", "productId"), ("orders", "orderId"), ("users", "username")):
            token, path = {"token": other.admin}, f"/api/v1/{kind}"
            mine = {each["id"] for each in (await shop.get(path, **token)).data}
            meta = (await shop.get(f"{path}?limit=1", token=store.admin)).json["meta"]
            for asked, name in ((path, "id"), (f"/{kind}", flat_id)):
                found = await shop.get(f"{asked}?limit=100&after={meta['next_cursor']}", **token)
                assert found.status == 400 or {each[name] for each in items_of(found)} <= mine, asked


async def test_no_path_forges_a_line_of_the_log(own_platform: Platform) -> None:
    own_platform.environ["MERCATO_LOG_FORMAT"] = "pretty"
    own_platform.start()
    forged = "12:00:00 200 DELETE /everything 1.0 ms"
    async with own_platform.client() as shop:
        for separator in ("%0a", "%0d", "%0d%0a", "%c2%85", "%e2%80%a8", "%1b[2J", "%0b"):
            await shop.get(f"/x{separator}{forged.replace(' ', '%20')}")
    assert own_platform.stop() == 0
    lines = own_platform.log().splitlines()
    assert sum(forged in line for line in lines) == 7
    assert not any(line.startswith(forged) for line in lines)
    assert "\x1b[2J" not in own_platform.log()


@pytest.mark.parametrize("head", ["Content-Length: 400000", "Transfer-Encoding: chunked"])
async def test_whoever_is_refused_in_the_middle_of_a_body_is_told_that_the_connection_ends(
    platform: Platform, head: str
) -> None:
    lines = ["POST /api/v1/orders HTTP/1.1", "Host: x", "Content-Type: application/json", head]
    reader, writer = await asyncio.open_connection("127.0.0.1", platform.port)
    try:
        writer.write("\r\n".join([*lines, "", ""]).encode())
        async with asyncio.timeout(5):
            answered = await reader.readuntil(b"\r\n\r\n")
            assert await reader.read(-1)
    finally:
        writer.close()
    assert answered.startswith(b"HTTP/1.1 401 ")
    assert b"\r\nconnection: close\r\n" in answered.lower()


@pytest.mark.parametrize("framing", ["length", "chunks"])
async def test_whoever_sends_all_before_reading_anything_is_told_why_it_is_refused(
    platform: Platform, framing: str
) -> None:
    """As most clients do. Had the server hung up meanwhile, the answer might be lost with the connection."""
    piece, count = b"x" * 65_536, 100
    length = f"Content-Length: {len(piece) * count}"
    head = length if framing == "length" else "Transfer-Encoding: chunked"
    lines = ["POST /api/v1/products/import HTTP/1.1", "Host: x", "Content-Type: text/csv", head]
    for _ in range(5):
        reader, writer = await asyncio.open_connection("127.0.0.1", platform.port)
        try:
            writer.write("\r\n".join([*lines, "", ""]).encode())
            for _ in range(count):
                writer.write(piece if framing == "length" else b"%x\r\n%b\r\n" % (len(piece), piece))
                await writer.drain()
            async with asyncio.timeout(10):
                came = await reader.read(-1)
        finally:
            writer.close()
        assert came.startswith(b"HTTP/1.1 401 ")


async def test_a_refusal_after_the_whole_body_keeps_the_connection(platform: Platform) -> None:
    store = await open_store(platform, "kept-connections")
    content = b'{"notes":"' + b"x" * 100_000 + b'"}'
    async with platform.client(store.customer) as shop:
        refused = await shop.send("POST", "/api/v1/orders", "application/json", content)
        assert (refused.status, "connection" in refused.headers) == (400, False)
