import asyncio
from typing import Any

import pytest

from mercato.adapters.sql.schema import SNAPSHOT, Schema, migrated_snapshot
from mercato.contracts.products import WantedLine
from mercato.kernel.ids import uuid7
from tests.behaviour.products_shop import ACME, Shop, open_shop
from tests.conftest import OpenDatabase

MUG: dict[str, Any] = {"sku": "MUG-1", "name": "Mug", "price": 19.99, "category": "kitchen", "stock": 5}


@pytest.fixture
async def shop(open_database: OpenDatabase) -> Shop:
    return open_shop(await open_database("products"))


async def test_a_product_is_shown_as_it_was_made(shop: Shop) -> None:
    made = await shop.request("POST", "", MUG)
    assert made.status == 201
    shown = await shop.request("GET", f"/{made.data['id']}", token=None, headers={"x-tenant-id": "acme"})
    assert (
        shown.data
        == made.data
        == {
            "id": made.data["id"],
            "tenant_id": "acme",
            "sku": "MUG-1",
            "name": "Mug",
            "description": None,
            "price": 19.99,
            "currency": "USD",
            "category": "kitchen",
            "in_stock": True,
            "created_at": "2026-01-01T12:00:00Z",
            "updated_at": "2026-01-01T12:00:00Z",
            "version": 1,
        }
    )
    [(kind, data)] = await shop.events()
    assert (kind, data["sku"], data["price"]) == ("product.created", "MUG-1", 1999)
    await shop.check_books()


async def test_prices_have_the_digits_of_the_stores_currency(shop: Shop) -> None:
    made = await shop.request("POST", "", MUG | {"price": 500}, token="admin@tokyo")
    assert (made.data["currency"], made.data["price"]) == ("JPY", 500)
    refused = await shop.request("POST", "", MUG | {"sku": "B", "price": 500.5}, token="admin@tokyo")
    assert (refused.status, list(refused.fields)) == (400, ["price"])


async def test_a_stores_currency_is_asked_for_once(shop: Shop) -> None:
    for sku in "ABC":
        await shop.add(sku)
    assert shop.stores.asked == 1


async def test_of_twenty_products_with_one_sku_one_is_made(shop: Shop) -> None:
    answers = await asyncio.gather(*(shop.request("POST", "", MUG) for _ in range(20)))
    assert sorted(answer.status for answer in answers) == [201] + [409] * 19
    assert {answer.code for answer in answers if answer.status == 409} == {"DUPLICATE_SKU"}
    assert (await shop.request("POST", "", MUG | {"price": 20}, token="admin@tokyo")).status == 201
    await shop.check_books()


async def test_a_repeated_key_makes_one_product(shop: Shop) -> None:
    answers = [await shop.request("POST", "", MUG, headers={"idempotency-key": "k"}) for _ in range(2)]
    assert [answer.status for answer in answers] == [201, 201]
    assert answers[0].data == answers[1].data
    assert answers[1].headers["idempotent-replayed"] == "true"
    assert len(await shop.events()) == 1


@pytest.mark.parametrize(
    "change, bad",
    [
        ({"sku": "a b"}, {"sku"}),
        ({"sku": "a\n"}, {"sku"}),
        ({"sku": "00000000-0000-7000-8000-00000000000A"}, {"sku"}),
        ({"price": -1}, {"price"}),
        ({"price": "1"}, {"price"}),
        ({"price": 1.999}, {"price"}),
        ({"price": 1e12}, {"price"}),
        ({"name": "  "}, {"name"}),
        ({"name": "x" * 201}, {"name"}),
        ({"stock": -1}, {"stock"}),
        ({"stock": 10**9 + 1}, {"stock"}),
        ({"stock": True}, {"stock"}),
        ({"sku": 1, "price": None, "colour": "red"}, {"sku", "price", "colour"}),
        ({"name": "a\0b", "description": "\0"}, {"name", "description"}),
    ],
)
async def test_bad_fields_are_refused_by_name(shop: Shop, change: dict[str, Any], bad: set[str]) -> None:
    refused = await shop.request("POST", "", MUG | change)
    assert (refused.status, set(refused.fields)) == (400, bad)


async def test_only_admins_write(shop: Shop) -> None:
    product = await shop.add("MUG")
    stock = {"stock_quantity": 1}
    assert (await shop.request("POST", "", MUG, token=None)).status == 401
    assert (await shop.request("POST", "", MUG, token="customer@acme")).status == 403
    assert (await shop.request("PUT", "/no-id/inventory", stock, token="customer@acme")).status == 403
    assert (await shop.request("GET", f"/{product}/inventory", token=None)).status == 401
    assert (await shop.request("GET", f"/{product}/inventory", token="customer@acme")).status == 200


async def test_another_stores_product_is_not_there(shop: Shop) -> None:
    theirs = await shop.add("MUG", token="admin@tokyo")
    for product in (theirs, uuid7(), "no-id", "MUG", "%00", theirs.upper()):
        assert (await shop.request("GET", f"/{product}")).status == 404
        assert (await shop.request("GET", f"/{product}/inventory")).status == 404
        refused = await shop.request("PUT", f"/{product}/inventory", {"stock_quantity": 1})
        assert refused.status == 404
    assert await shop.stock_of(theirs, token="admin@tokyo") == (0, 0)


async def test_a_product_another_store_has_cached_is_not_shown(shop: Shop) -> None:
    theirs = await shop.add("MUG", token="admin@tokyo")
    assert (await shop.request("GET", f"/{theirs}", token="customer@tokyo")).status == 200
    assert (await shop.request("GET", f"/{theirs}", token="customer@acme")).status == 404


async def test_the_second_read_comes_from_the_cache(shop: Shop) -> None:
    product = await shop.add("MUG", stock=1)
    first, second = [await shop.request("GET", f"/{product}") for _ in range(2)]
    assert [first.headers["x-cache"], second.headers["x-cache"]] == ["MISS", "HIT"]
    assert first.data == second.data


async def test_a_cached_product_tells_at_once_that_it_is_sold_out(shop: Shop) -> None:
    product = await shop.add("MUG", stock=3)
    await shop.request("GET", f"/{product}")
    await shop.reserve([WantedLine(product, 2)])
    kept = await shop.request("GET", f"/{product}")
    assert (kept.headers["x-cache"], kept.data["in_stock"]) == ("HIT", True)
    await shop.reserve([WantedLine(product, 1)])
    sold_out = await shop.request("GET", f"/{product}")
    assert (sold_out.headers["x-cache"], sold_out.data["in_stock"]) == ("MISS", False)
    await shop.request("PUT", f"/{product}/inventory", {"stock_quantity": 4})
    assert (await shop.request("GET", f"/{product}")).data["in_stock"] is True


async def test_what_is_on_hand_can_be_counted_anew(shop: Shop) -> None:
    product = await shop.add("MUG", stock=1)
    shop.clock.forward(seconds=1)
    counted = await shop.request(
        "PUT", f"/{product}/inventory", {"stock_quantity": 7, "warehouse_location": "A-1"}
    )
    assert counted.data == {
        "product_id": product,
        "on_hand": 7,
        "reserved": 0,
        "available": 7,
        "warehouse_location": "A-1",
        "updated_at": "2026-01-01T12:00:01Z",
        "version": 3,
    }
    again = await shop.request("PUT", f"/{product}/inventory", {"stock_quantity": 6})
    assert (again.data["on_hand"], again.data["warehouse_location"]) == (6, "A-1")
    assert await shop.event_types() == ["inventory.updated"] * 2
    await shop.check_books()


async def test_less_than_is_reserved_cannot_be_on_hand(shop: Shop) -> None:
    product = await shop.add("MUG", stock=5)
    await shop.reserve([WantedLine("MUG", 3)])
    refused = await shop.request("PUT", f"/{product}/inventory", {"stock_quantity": 2})
    assert (refused.status, refused.code) == (409, "CONFLICT")
    assert "3 are reserved" in refused.body["error"]["message"]
    assert await shop.stock_of(product) == (5, 3)
    await shop.check_books()


async def test_a_count_racing_reservations_never_leaves_less_than_is_reserved(shop: Shop) -> None:
    product = await shop.add("MUG", stock=10)
    reserving = (shop.reserve([WantedLine(product, 1)]) for _ in range(20))
    counting = (
        shop.request("PUT", f"/{product}/inventory", {"stock_quantity": quantity}) for quantity in range(20)
    )
    await asyncio.gather(*reserving, *counting, return_exceptions=True)
    on_hand, reserved = await shop.stock_of(product)
    assert on_hand >= reserved
    await shop.check_books()


async def test_every_change_of_stock_says_who_made_it(shop: Shop) -> None:
    product = await shop.add("MUG", stock=2)
    await shop.request("PUT", f"/{product}/inventory", {"stock_quantity": 5})
    rows = await shop.db.fetch_all(
        "SELECT kind, on_hand_delta, reserved_delta, actor FROM stock_movements ORDER BY id"
    )
    admin = "00000000-0000-7000-8000-0000000admin"
    assert rows == [("opening", 2, 0, admin), ("count", 3, 0, admin)]


async def test_lists_are_newest_first_and_stable_under_inserts(shop: Shop) -> None:
    made = [await shop.add(f"SKU-{number}") for number in range(5)]
    first = await shop.request("GET", "?limit=2")
    assert [each["id"] for each in first.data] == made[4:2:-1]
    meta = first.body["meta"]
    assert (meta["total_count"], meta["total_pages"], meta["has_more"]) == (5, 3, True)
    await shop.add("LATER")
    second = await shop.request("GET", f"?limit=2&after={meta['next_cursor']}")
    assert [each["id"] for each in second.data] == made[2:0:-1]
    third = await shop.request("GET", f"?limit=2&after={second.body['meta']['next_cursor']}")
    assert [each["id"] for each in third.data] == made[:1]
    assert (third.body["meta"]["has_more"], "next_cursor" in third.body["meta"]) == (False, False)
    by_page = await shop.request("GET", "?page=2&page_size=4")
    assert [each["id"] for each in by_page.data] == made[1::-1]


async def test_lists_are_filtered_by_category_and_sku_within_the_store(shop: Shop) -> None:
    mug = (await shop.request("POST", "", MUG)).data
    assert (await shop.request("POST", "", MUG | {"price": 20}, token="admin@tokyo")).status == 201
    await shop.add("OTHER")
    for query in ("category=kitchen", "sku=MUG-1", "sku=MUG-1&category=kitchen"):
        found = await shop.request("GET", f"?{query}", token="customer@acme")
        assert ([each["id"] for each in found.data], found.body["meta"]["total_count"]) == ([mug["id"]], 1)
    for query in ("category=", "category=%25", "sku=mug-1", "sku=MUG-1&category=garden"):
        assert (await shop.request("GET", f"?{query}")).data == []


@pytest.mark.parametrize(
    "query",
    ["limit=0", "limit=101", "page=0", "page=1&limit=1", "after=AAA", "after=!", "colour=red", "offset=-1"],
)
async def test_bad_list_parameters_are_refused(shop: Shop, query: str) -> None:
    assert (await shop.request("GET", f"?{query}")).status == 400


async def test_the_snapshot_is_what_the_migrations_make(tmp_path: Any) -> None:
    schema = Schema("products", "mercato.products.migrations")
    assert migrated_snapshot(tmp_path / "scratch.db", schema) == schema.snapshot(), SNAPSHOT


async def test_stock_cannot_be_oversold_even_past_the_rules(shop: Shop) -> None:
    product = await shop.add("MUG", stock=1)

    async def oversell(tx: Any) -> None:
        await tx.execute(
            "UPDATE inventory SET reserved = 2 WHERE tenant_id = ? AND product_id = ?", (ACME, product)
        )

    with pytest.raises(Exception, match="inventory_available"):
        await shop.db.transact(oversell)
