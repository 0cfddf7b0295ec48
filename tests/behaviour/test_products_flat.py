"""Products for clients of the AWS SaaS reference architecture."""

import re
from typing import Any

import pytest

from mercato.kernel.ids import uuid7
from tests.behaviour.products_shop import Answer, Shop, open_shop
from tests.conftest import OpenDatabase

MUG: dict[str, Any] = {"name": "Mug", "price": 19.99, "sku": "MUG-1", "category": "kitchen"}
PRODUCT = {"productId", "tenantId", "name", "price", "sku", "category"}


@pytest.fixture
async def shop(open_database: OpenDatabase) -> Shop:
    return open_shop(await open_database("products"))


async def flat(shop: Shop, method: str, path: str = "", body: object = None, **options: Any) -> Answer:
    return await shop.request(method, path, body, below="/products", **options)


async def add_mug(shop: Shop, **change: Any) -> str:
    made = await flat(shop, "POST", "", MUG | change)
    assert made.status == 201, made.body
    return str(made.body["productId"])


def refused(answer: Answer, status: int, *words: str) -> None:
    assert (answer.status, set(answer.body)) == (status, {"error"})
    for word in words:
        assert word in answer.body["error"], answer.body


async def test_a_product_is_made_and_shown_as_the_clients_expect_it(shop: Shop) -> None:
    made = await flat(shop, "POST", "", MUG)
    assert (made.status, set(made.body)) == (201, PRODUCT)
    assert {name: made.body[name] for name in MUG} == MUG
    assert (made.body["tenantId"], made.headers["etag"]) == ("acme", '"1"')
    mug = made.body["productId"]
    for token in ("admin@acme", "customer@acme"):
        for name in (mug, f"acme:{mug}"):
            shown = await flat(shop, "GET", f"/{name}", token=token)
            assert (shown.status, shown.body) == (200, made.body)
    assert (await shop.request("GET", f"/{mug}")).data["sku"] == "MUG-1"
    assert (await flat(shop, "GET")).body == [made.body]
    assert [kind for kind, _ in await shop.events()] == ["product.created"]


async def test_the_catalogue_is_read_without_a_token_in_the_store_that_is_named(shop: Shop) -> None:
    mug = await add_mug(shop)
    acme, tokyo = {"x-tenant-id": "acme"}, {"x-tenant-id": "tokyo"}
    assert len((await flat(shop, "GET", token=None, headers=acme)).body) == 1
    assert (await flat(shop, "GET", token=None, headers=tokyo)).body == []
    assert (await flat(shop, "GET", f"/acme:{mug}", token=None, headers=acme)).status == 200
    refused(await flat(shop, "GET", f"/acme:{mug}", token=None, headers=tokyo), 404)
    refused(await flat(shop, "GET", f"/{mug}/inventory", token=None, headers=acme), 401)
    refused(await flat(shop, "POST", "", MUG, token=None, headers=acme), 401)


@pytest.mark.parametrize("empty", [{}, {"category": ""}, {"category": None}])
async def test_a_category_that_was_not_filled_in_is_none_and_shown_as_an_empty_text(
    shop: Shop, empty: dict[str, Any]
) -> None:
    body = {name: value for name, value in MUG.items() if name != "category"} | empty
    made = await flat(shop, "POST", "", body)
    assert (made.status, made.body["category"]) == (201, "")
    assert (await shop.request("GET", f"/{made.body['productId']}")).data["category"] is None


async def test_what_is_wrong_is_told_by_name(shop: Shop) -> None:
    await add_mug(shop)
    bad = await flat(shop, "POST", "", {"name": "", "price": "5", "stock": 3})
    refused(bad, 400, "name must be", "price must be a number", "sku is required", "stock is not a known")
    refused(await flat(shop, "POST", "", MUG | {"price": 1.999, "sku": "x"}), 400, "price must have at most")
    refused(await flat(shop, "POST", "", MUG | {"price": -1, "sku": "x"}), 400, "price must be at least 0")
    refused(await flat(shop, "POST", "", MUG | {"sku": uuid7()}), 400, "sku must be")
    refused(await flat(shop, "POST", "", MUG), 409, "SKU")
    refused(await flat(shop, "POST", "", MUG | {"sku": "a\0"}), 400, "sku must")


async def test_a_client_sends_back_what_it_read_and_changes_some_of_it(shop: Shop) -> None:
    mug = str((await shop.request("POST", "", {**MUG, "description": "Blue.", "stock": 5})).data["id"])
    read = (await flat(shop, "GET", f"/{mug}")).body
    put = await flat(shop, "PUT", f"/acme:{mug}", read | {"name": "Cup", "price": 5})
    assert (put.status, put.body) == (200, read | {"name": "Cup", "price": 5.0})
    assert put.headers["etag"] == '"2"'
    seen = (await shop.request("GET", f"/{mug}")).data
    assert (seen["description"], seen["category"], seen["in_stock"]) == ("Blue.", "kitchen", True)
    older = {"productId": mug, "name": "Cup, large", "price": 6}
    assert (await flat(shop, "PUT", f"/{mug}", older)).body["sku"] == "MUG-1"
    emptied = await flat(shop, "PUT", f"/{mug}", {"category": ""})
    assert emptied.body["category"] == ""
    assert await shop.event_types() == ["product.updated"] * 3


@pytest.mark.parametrize(
    "forged",
    [
        {"productId": uuid7()},
        {"tenantId": "tokyo"},
        {"productId": f"tokyo:{uuid7()}"},
        {"tenantId": ""},
        {"productId": ""},
    ],
)
async def test_nothing_writes_a_products_id_or_store(shop: Shop, forged: dict[str, str]) -> None:
    mug = await add_mug(shop)
    answer = await flat(shop, "PUT", f"/{mug}", MUG | {"name": "Other"} | forged)
    refused(answer, 400, f"{next(iter(forged))} cannot be changed here")
    for field in ("id", "version", "tenant_id", "createdAt", "key"):
        refused(await flat(shop, "PUT", f"/{mug}", MUG | {field: mug}), 400, f"{field} is not a known field")
    assert (await flat(shop, "GET", f"/{mug}")).body["name"] == "Mug"


async def test_a_product_is_changed_only_as_it_was_seen(shop: Shop) -> None:
    mug = await add_mug(shop)
    seen = (await flat(shop, "GET", f"/{mug}")).headers["etag"]
    first = await flat(shop, "PUT", f"/{mug}", {"name": "Cup"}, headers={"if-match": seen})
    assert first.status == 200
    refused(await flat(shop, "PUT", f"/{mug}", {"name": "Jug"}, headers={"if-match": seen}), 412)
    refused(await flat(shop, "DELETE", f"/{mug}", headers={"if-match": seen}), 412)
    unchanged = await flat(shop, "GET", f"/{mug}", headers={"if-none-match": first.headers["etag"]})
    assert (unchanged.status, unchanged.body) == (304, None)


async def test_a_deleted_product_is_gone_from_both_apis(shop: Shop) -> None:
    mug = await add_mug(shop)
    assert (await flat(shop, "DELETE", f"/acme:{mug}")).status == 204
    refused(await flat(shop, "GET", f"/{mug}"), 404)
    assert (await shop.request("GET", f"/{mug}")).status == 404
    assert (await flat(shop, "GET")).body == []
    refused(await flat(shop, "DELETE", f"/{mug}"), 404)


async def test_stock_is_shown_to_whoever_is_signed_in(shop: Shop) -> None:
    mug = str((await shop.request("POST", "", {**MUG, "stock": 5})).data["id"])
    shown = await flat(shop, "GET", f"/acme:{mug}/inventory", token="customer@acme")
    assert shown.body | {"updatedAt": ""} == {
        "productId": mug,
        "onHand": 5,
        "reserved": 0,
        "available": 5,
        "warehouseLocation": None,
        "updatedAt": "",
    }
    refused(await flat(shop, "GET", f"/tokyo:{mug}/inventory"), 404)


async def test_another_stores_product_is_not_there_however_it_is_written(shop: Shop) -> None:
    mug = await add_mug(shop)
    for name in (mug, f"acme:{mug}", f"tokyo:{mug}", f"tokyo:acme:{mug}", f"acme:tokyo:{mug}"):
        for method, path in (
            ("GET", f"/{name}"),
            ("PUT", f"/{name}"),
            ("DELETE", f"/{name}"),
            ("GET", f"/{name}/inventory"),
        ):
            body = {"name": "Mine"} if method == "PUT" else None
            refused(await flat(shop, method, path, body, token="admin@tokyo"), 404, "There is no such")
    assert (await flat(shop, "GET", f"/{mug}")).body["name"] == "Mug"


async def test_a_repeated_key_answers_the_first_product_and_is_apart_from_the_other_apis(shop: Shop) -> None:
    key = {"idempotency-key": "mug"}
    first = await flat(shop, "POST", "", MUG, headers=key)
    again = await flat(shop, "POST", "", MUG, headers=key)
    assert (again.status, again.body, again.headers["idempotent-replayed"]) == (201, first.body, "true")
    refused(await flat(shop, "POST", "", MUG | {"name": "Cup"}, headers=key), 422)
    assert (await shop.request("POST", "", MUG, headers=key)).code == "DUPLICATE_SKU"


async def test_the_links_lead_through_all_products_each_once(shop: Shop) -> None:
    made = [await add_mug(shop, sku=f"MUG-{number}") for number in range(25)]
    found: list[str] = []
    query, pages = "?limit=10", 0
    while query:
        answer = await flat(shop, "GET", query)
        found += [each["productId"] for each in answer.body]
        link = re.fullmatch(r'<(\?[^>]+)>; rel="next"', answer.headers.get("link", ""))
        query, pages = link[1] if link else "", pages + 1
        if pages == 1:
            # What comes in meanwhile neither repeats nor hides a product.
            await add_mug(shop, sku="LATE")
    assert (found, pages) == (made[::-1], 3)


async def test_a_list_is_kept_until_anything_changes(shop: Shop) -> None:
    await add_mug(shop)
    answers = [await flat(shop, "GET") for _ in range(2)]
    assert [each.headers["x-cache"] for each in answers] == ["MISS", "HIT"]
    # The list of the other API, of the same products, is another one.
    assert (await shop.request("GET", "?limit=100&count=false")).data[0]["sku"] == "MUG-1"
    await add_mug(shop, sku="MUG-2")
    fresh = await flat(shop, "GET")
    assert (fresh.headers["x-cache"], len(fresh.body)) == ("MISS", 2)


async def test_a_cursor_of_another_list_is_refused(shop: Shop) -> None:
    for number in range(3):
        await add_mug(shop, sku=f"MUG-{number}")
    by_price = (await shop.request("GET", "?limit=1&sort=price")).body["meta"]["next_cursor"]
    refused(await flat(shop, "GET", f"?after={by_price}"), 400, "after must")
    for after in ("x", "", "%00", "e30"):
        refused(await flat(shop, "GET", f"?after={after}"), 400, "after must")
