"""Values made to be misread, and secrets that must not be told."""

import base64
import statistics
import time
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import psutil
import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator

from tests.running import Platform, Shopper, Store, add_product, open_store, order_of

LEAKS = ("expected str", "regex", "Traceback", "sqlite", "SELECT", "msgspec", "mercato.", "/src/")


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    """One loop for the module, whose shop is shared."""
    return "asyncio"


@pytest.fixture(scope="module")
async def store(platform: Platform) -> Store:
    opened = await open_store(platform, "hostile-values")
    async with platform.client(opened.customer) as shop:
        await add_product(shop, opened, "LAMP", stock=1000)
    return opened


@pytest.fixture
async def shop(platform: Platform, store: Store) -> AsyncIterator[Shopper]:
    async with platform.client(store.customer, store.id) as client:
        yield client


async def send(platform: Platform, path: str, raw: bytes, token: str) -> tuple[int, bytes]:
    """Post bytes that no JSON encoder would make."""
    from http.client import HTTPConnection  # noqa: PLC0415  it sends what it is given

    connection = HTTPConnection("127.0.0.1", platform.port, timeout=20)
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {token}"}
    connection.request("POST", path, body=raw, headers=headers)
    answer = connection.getresponse()
    came = answer.read()
    connection.close()
    return answer.status, came


@pytest.mark.parametrize(
    "text", ["-1", "0", "2147483648", "1.5", '"1"', "true", "NaN", "1e400", "1e2", "null", "[]", "9" * 5000]
)
async def test_a_quantity_is_a_whole_number_above_none(platform: Platform, store: Store, text: str) -> None:
    body = b'{"items":[{"product_id":"LAMP","quantity":%s}],"shipping_address":"x"}' % text.encode()
    status, came = await send(platform, "/api/v1/orders", body, store.customer)
    assert status == 400
    assert not any(leak.encode() in came for leak in LEAKS)


@pytest.mark.parametrize(
    "text", ["-1", "0.001", "1e400", "1e-400", '"1"', "true", "null", "1000000000000", "1e999999999999999999"]
)
async def test_a_price_is_an_amount_of_the_currency(platform: Platform, store: Store, text: str) -> None:
    body = b'{"sku":"P","name":"n","price":%s}' % text.encode()
    status, _ = await send(platform, "/api/v1/products", body, store.admin)
    assert status == 400


@pytest.mark.parametrize(
    "raw",
    [
        b"[" * 100_000,
        b'{"a":' * 50_000,
        b'{"items":' + b"[" * 5000 + b"]" * 5000 + b"}",
        b'{"notes":"\xff"}',
        b'{"notes":"\xed\xa0\x80"}',
        b'{"notes":"\\ud800"}',
        b'{"notes":"a\0b"}',
        b'{"items":[{"product_id":"LAMP","quantity":1}],"shipping_address":"\\u0000"}',
        b"\xef\xbb\xbf{}",
        b"{} {}",
        b"[]",
        b"null",
    ],
)
async def test_a_body_that_is_no_good_json_object_is_400(
    platform: Platform, store: Store, raw: bytes
) -> None:
    status, came = await send(platform, "/api/v1/orders", raw, store.customer)
    assert status == 400
    assert not any(leak.encode() in came for leak in LEAKS)


def cpu_s(platform: Platform) -> float:
    """Return how long its processes have had a processor, whatever else the machine does."""
    assert platform.process is not None
    first = psutil.Process(platform.process.pid)
    used = [each.cpu_times() for each in (first, *first.children(recursive=True))]
    return sum(each.user + each.system for each in used)


@pytest.mark.parametrize(
    "raw",
    [
        b'{"items":[' + b",".join([b"{}"] * 300_000) + b"]}",
        b'{"items":[' + b",".join([b'{"product_id":"A","quantity":1}'] * 30_000) + b"]}",
        b"{" + b",".join(b'"k%d":0.1' % n for n in range(70_000)) + b"}",
    ],
    ids=["bad items", "good items", "unknown fields"],
)
async def test_a_megabyte_of_mistakes_is_refused_quickly(
    platform: Platform, store: Store, raw: bytes
) -> None:
    before = cpu_s(platform)
    status, came = await send(platform, "/api/v1/orders", raw, store.customer)
    assert status == 400
    assert cpu_s(platform) - before < 1.5
    assert len(came) < 10_000


@pytest.mark.parametrize(
    "fields",
    [
        {"status": "confirmed"},
        {"total_amount": 0},
        {"payment_status": "paid"},
        {"tenant_id": "default"},
        {"id": "01a1fd3c-8657-7477-bee0-e412ef21c7bd"},
        {"user_id": "01a1fd3c-8657-7477-bee0-e412ef21c7bd"},
        {"currency": "EUR"},
        {"items": [{"product_id": "LAMP", "quantity": 1, "line_total": 0}]},
        {"items": [{"product_id": "LAMP", "quantity": 1}] * 91},
        {"items": [{"product_id": "'; DROP TABLE products; --", "quantity": 1}]},
        {"shipping_address": " \n"},
        {"name": "Gift\r\nBcc: everybody@example.com"},
    ],
)
async def test_an_order_takes_nothing_it_does_not_declare(shop: Shopper, fields: dict[str, Any]) -> None:
    refused = await shop.post("/api/v1/orders", {**order_of("LAMP"), **fields})
    assert (refused.status, refused.code) == (400, "VALIDATION_ERROR")
    assert all(each.split(".")[0].split("[")[0] in fields for each in named(refused.json))


@pytest.mark.parametrize(
    "field, value",
    [
        ("email", "a@b.example\r\nBcc: c@d.example"),
        ("email", "a@b.example\n"),
        ("email", "a@b@c.example"),
        ("email", "<a@b.example>"),
        ("first_name", "Ann\r\nBcc: c@d.example"),
        ("last_name", " "),
        ("role", "admin"),
        ("tenant_id", "default"),
        ("is_active", True),
        ("password", "short"),
        ("password", "x" * 129),
    ],
)
async def test_an_account_takes_no_forged_field(shop: Shopper, field: str, value: object) -> None:
    account = {
        "email": "new@b.example",
        "password": "long-enough",
        "first_name": "Ann",
        "last_name": "Lee",
        field: value,
    }
    refused = await shop.post("/api/v1/users/register", account)
    assert (refused.status, refused.code) == (400, "VALIDATION_ERROR")
    assert set(named(refused.json)) == {field}
    assert not any(leak in refused.body.decode() for leak in LEAKS)


async def test_refusals_say_in_plain_words_what_is_accepted(shop: Shopper, store: Store) -> None:
    product = {"sku": "a b", "name": "\n", "price": "1", "stock": -1, "category": 7}
    refused = await shop.post("/api/v1/products", product, token=store.admin)
    assert named(refused.json) == {
        "sku": "must be 1 to 64 letters, digits, dots, dashes or underscores, and no id",
        "name": "must be one line of 1 to 200 characters",
        "price": "must be a number",
        "stock": "must be a whole number from 0 to 1000000000",
        "category": "must be one line of 1 to 100 characters",
    }
    listed = await shop.get("/api/v1/orders?status=gold&page=x&limit=101&count=maybe&sort=id")
    assert named(listed.json) == {
        "status": "must be one of pending, confirmed, processing, shipped, delivered, cancelled",
        "page": "must be a whole number from 1 to 10000000",
        "limit": "must be a whole number from 1 to 100",
        "count": "must be true or false",
        "sort": "is not a known field",
    }


@pytest.mark.parametrize(
    "query",
    [
        "page=0",
        "page=10000001",
        "offset=9223372036854775808",
        "limit=%D9%A1%C2%B2",
        "page=" + "9" * 5000,
        "after=JyBPUiAxPTEtLQ",
        "after=x",
        "after=%C3%A9",
        "category=%00",
        "category=%ff",
        "category=%ed%a0%80",
        "category=a&category=b",
        "tenant_id=default",
        "sort=name;DROP",
        "limit=5;offset=2",
    ],
)
async def test_a_query_is_held_to_its_declaration(shop: Shopper, query: str) -> None:
    refused = await shop.get(f"/api/v1/products?{query}")
    assert refused.status == 400
    assert not any(leak in refused.body.decode() for leak in LEAKS)


@pytest.mark.parametrize("key", ["", "x" * 256, "clé", "a\tb"])
async def test_an_idempotency_key_is_short_and_printable(shop: Shopper, key: str) -> None:
    refused = await shop.post("/api/v1/orders", order_of("LAMP"), headers={"Idempotency-Key": key})
    assert (refused.status, refused.code) == (400, "VALIDATION_ERROR")


async def test_the_token_names_the_store_whatever_a_header_says(shop: Shopper, store: Store) -> None:
    for named_store in ("default", "no-such-store", "'; --"):
        found = await shop.get("/api/v1/users/me", headers={"X-Tenant-Id": named_store})
        assert found.data["tenant_id"] == store.id


async def test_every_token_that_is_not_ours_gets_the_same_answer(shop: Shopper, store: Store) -> None:
    header, claims, signature = store.customer.split(".")

    def part(value: object) -> str:
        return base64.urlsafe_b64encode(msgspec.json.encode(value)).rstrip(b"=").decode()

    told: dict[str, Any] = msgspec.json.decode(base64.urlsafe_b64decode(claims + "=="))
    kid = msgspec.json.decode(base64.urlsafe_b64decode(header + "=="))["kid"]
    ours = {"alg": "ES256", "kid": kid, "typ": "JWT"}
    tokens = [
        f"{part({**ours, 'alg': 'none'})}.{claims}.",
        f"{part({**ours, 'alg': 'none'})}.{claims}.{signature}",
        f"{part({**ours, 'alg': 'HS256'})}.{claims}.{signature}",
        f"{part({**ours, 'jku': 'http://127.0.0.1/'})}.{claims}.{signature}",
        *[
            f"{part({**ours, 'kid': odd})}.{claims}.{signature}"
            for odd in ("", "../../x", "' OR 1", "x" * 999)
        ],
        f"{header}.{part({**told, 'role': 'operator'})}.{signature}",
        f"{header}.{part({**told, 'tenant_id': 'default'})}.{signature}",
        f"{header}.{claims}.{'A' * 86}",
        f"{header}.{claims}.{signature}.x",
        "x" * 10_000,
        "e30.e30.e30",
    ]
    answers = [await shop.get("/api/v1/users/me", token=token) for token in tokens]
    assert {answer.status for answer in answers} == {401}
    assert {answer.json["error"]["message"] for answer in answers} == {"The token is not valid."}


async def test_a_wrong_password_and_an_unknown_email_cannot_be_told_apart(
    shop: Shopper, store: Store
) -> None:
    known, unknown = f"customer@{store.id}.example", f"nobody@{store.id}.example"
    took: dict[str, list[float]] = {known: [], unknown: []}
    said = set()
    for _ in range(10):
        for email, times in took.items():
            began = time.perf_counter()
            refused = await shop.post("/api/v1/users/login", {"email": email, "password": "wrong-password"})
            times.append(time.perf_counter() - began)
            said.add((refused.status, refused.code, refused.json["error"]["message"]))
    assert len(said) == 1
    quick, slow = sorted(map(statistics.median, took.values()))
    assert slow < 2 * quick


async def test_no_secret_is_in_the_log(platform: Platform, shop: Shopper, store: Store) -> None:
    canary = "canary-secret-5d1f"
    account = {"email": "canary@b.example", "password": canary, "first_name": "Ann", "last_name": "Lee"}
    made = (await shop.post("/api/v1/users/register", account, key="canary-key")).data
    login = {"email": account["email"], "password": canary}
    await shop.post("/api/v1/users/login", login)
    await shop.post("/api/v1/users/login", {**login, "password": f"{canary}-wrong"})
    await shop.post("/api/v1/users/login", {**login, canary: canary})
    await shop.get(f"/api/v1/products?sku={canary}")
    await shop.get("/api/v1/users/me", token=f"{canary}.a.b")
    order = (await shop.post("/api/v1/orders", order_of("LAMP"))).data["id"]
    paying = {"order_id": order, "method": "card", "token": f"tok_{canary}"}
    paid = await shop.post("/api/v1/payments", paying)
    if paid.status == 201:
        assert canary.encode() not in paid.body
        processed = await shop.post(f"/api/v1/payments/{paid.data['id']}/process")
        assert canary.encode() not in processed.body
    log = platform.log()
    for secret in (canary, made["token"], made["refresh_token"], store.admin, store.customer):
        assert secret not in log


async def test_the_served_openapi_document_is_valid_and_explains_every_pattern(shop: Shopper) -> None:
    document = (await shop.get("/openapi.json")).json
    OpenAPIV31SpecValidator(document).validate()

    def patterns(part: Any) -> list[dict[str, Any]]:
        if isinstance(part, list):
            return [found for each in part for found in patterns(each)]
        if not isinstance(part, dict):
            return []
        own = [part] if isinstance(part.get("pattern"), str) else []
        return own + patterns(list(part.values()))

    found = patterns(document)
    assert found
    assert all("description" in each and r"\Z" not in each["pattern"] for each in found)


def named(refusal: Any) -> dict[str, str]:
    return {each["field"]: each["message"] for each in refusal["error"]["details"]}
