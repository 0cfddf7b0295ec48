"""Changing and deleting products, and adjusting their stock."""

import asyncio
from typing import Any

import pytest

from mercato.contracts.orders import OrderStatus, StockState
from mercato.contracts.products import PriceChanged, WantedLine
from mercato.kernel.errors import ValidationFailed
from mercato.kernel.ids import uuid7
from mercato.products.domain import MAX_QUANTITY
from tests.behaviour.products_shop import Answer, Shop, changed, created, new_order, open_shop
from tests.conftest import OpenDatabase

MUG: dict[str, Any] = {
    "sku": "MUG-1",
    "name": "Mug",
    "price": 19.99,
    "category": "kitchen",
    "description": "Blue.",
}


@pytest.fixture
async def shop(open_database: OpenDatabase) -> Shop:
    return open_shop(await open_database("products"))


async def add_mug(shop: Shop, **change: Any) -> str:
    return str((await shop.request("POST", "", {**MUG, "stock": 5, **change})).data["id"])


async def test_a_put_replaces_all_that_describes_a_product(shop: Shop) -> None:
    mug = await add_mug(shop)
    shop.clock.forward(seconds=1)
    put = await shop.request("PUT", f"/{mug}", {"sku": "CUP", "name": "Cup", "price": 5})
    assert put.status == 200
    assert (put.data["description"], put.data["category"], put.data["version"]) == (None, None, 2)
    assert put.data["updated_at"] > put.data["created_at"]
    assert (await shop.request("GET", f"/{mug}")).data == put.data
    assert (await shop.request("PUT", f"/{mug}", {"sku": "CUP"})).fields.keys() == {"name", "price"}


async def test_a_patch_changes_what_it_names_and_null_clears(shop: Shop) -> None:
    mug = await add_mug(shop)
    patched = await shop.request("PATCH", f"/{mug}", {"price": 18.5, "description": None})
    assert (patched.data["price"], patched.data["description"], patched.data["category"]) == (
        18.5,
        None,
        "kitchen",
    )
    for bad in ({"sku": None}, {"name": ""}, {"price": -1}, {"price": 1.999}, {"stock": 3}, {"sku": "a b"}):
        refused = await shop.request("PATCH", f"/{mug}", bad)
        assert (refused.status, list(refused.fields)) == (400, list(bad))
    assert (await shop.request("GET", f"/{mug}")).data["version"] == 2


async def test_a_change_to_what_it_was_is_no_change(shop: Shop) -> None:
    mug = await add_mug(shop)
    same = await shop.request("PUT", f"/{mug}", MUG)
    assert (same.status, same.data["version"]) == (200, 1)
    assert (await shop.request("PATCH", f"/{mug}", {})).data["version"] == 1
    assert await shop.event_types() == []


async def test_the_events_of_a_product_are_numbered_in_order(shop: Shop) -> None:
    mug = await add_mug(shop)
    await shop.request("PATCH", f"/{mug}", {"price": 18.5})
    await shop.request("DELETE", f"/{mug}")
    rows = await shop.db.fetch_all(
        "SELECT sequence, type FROM outbox WHERE key = ? ORDER BY sequence", (f"acme/product/{mug}",)
    )
    assert rows == [(1, "product.created"), (2, "product.updated"), (3, "product.deleted")]
    events = dict(await shop.events())
    assert (events["product.updated"]["price"], events["product.deleted"]["sku"]) == (1850, "MUG-1")


async def test_a_sku_in_use_is_refused_and_a_deleted_products_is_free_at_once(shop: Shop) -> None:
    mug, other = await add_mug(shop), await shop.add("OTHER")
    taken = await shop.request("PATCH", f"/{other}", {"sku": "MUG-1"})
    assert (taken.status, taken.code) == (409, "DUPLICATE_SKU")
    assert (await shop.request("DELETE", f"/{mug}")).status == 204
    assert (await shop.request("PATCH", f"/{other}", {"sku": "MUG-1"})).status == 200


async def test_of_twenty_writers_with_one_version_one_writes(shop: Shop) -> None:
    mug = await add_mug(shop)
    tag = (await shop.request("GET", f"/{mug}")).headers["etag"]
    assert tag == '"1.in"'
    answers = await asyncio.gather(
        *(
            shop.request("PATCH", f"/{mug}", {"price": price}, headers={"if-match": tag})
            for price in range(20)
        )
    )
    assert sorted(answer.status for answer in answers) == [200] + [412] * 19
    assert {answer.code for answer in answers if answer.status == 412} == {"VERSION_MISMATCH"}
    stale = await shop.request("DELETE", f"/{mug}", headers={"if-match": tag})
    assert stale.status == 412
    assert (await shop.request("DELETE", f"/{mug}", headers={"if-match": '"2"'})).status == 204


async def test_a_cached_product_has_its_tag_and_a_reader_who_has_it_gets_304(shop: Shop) -> None:
    mug = await add_mug(shop, stock=1)
    for cached in ("MISS", "HIT"):
        got = await shop.request("GET", f"/{mug}")
        assert (got.headers["x-cache"], got.headers["etag"]) == (cached, '"1.in"')
    known = {"if-none-match": '"1.in"'}
    assert (await shop.request("GET", f"/{mug}", headers=known)).status == 304
    await shop.reserve([WantedLine("MUG-1", 1)])
    sold_out = await shop.request("GET", f"/{mug}", headers=known)
    assert (sold_out.status, sold_out.headers["etag"]) == (200, '"1.out"')


async def test_a_deleted_product_is_nowhere(shop: Shop) -> None:
    mug = await add_mug(shop)
    await shop.request("GET", f"/{mug}")
    await shop.request("GET", "?search=mug")
    assert (await shop.request("DELETE", f"/{mug}")).status == 204
    for method, path, body in (
        ("GET", f"/{mug}", None),
        ("DELETE", f"/{mug}", None),
        ("PUT", f"/{mug}", MUG),
        ("PATCH", f"/{mug}", {"price": 1}),
        ("GET", f"/{mug}/inventory", None),
        ("PUT", f"/{mug}/inventory", {"stock_quantity": 1}),
        ("POST", f"/{mug}/inventory/adjust", {"delta": 1, "reason": "found"}),
        ("GET", f"/{mug}/inventory/movements", None),
    ):
        assert (await shop.request(method, path, body)).status == 404, (method, path)
    for query in ("", "?search=mug", "?category=kitchen", "?sku=MUG-1", "?in_stock=true", "?min_price=1"):
        listed = await shop.request("GET", query)
        assert (listed.data, listed.body["meta"]["total_count"]) == ([], 0), query
    for name in (mug, "MUG-1"):
        with pytest.raises(ValidationFailed):
            await shop.reserve([WantedLine(name, 1)])
    await shop.check_books()


async def test_an_order_that_waited_for_a_deleted_product_is_rejected(shop: Shop) -> None:
    mug, order = await shop.add("MUG", stock=5), new_order()
    await shop.request("DELETE", f"/{mug}")
    await shop.deliver(created(order, [(mug, 1)], stock=StockState.AWAITING, at=shop.clock()))
    assert (await shop.event_types())[-1] == "stock.rejected"


async def test_open_holds_of_a_deleted_product_still_settle(shop: Shop) -> None:
    mug = await shop.add("MUG", stock=2)
    paid, dropped = new_order(), new_order()
    for order in (paid, dropped):
        await shop.reserve([WantedLine("MUG", 1)], order=order)
    await shop.request("DELETE", f"/{mug}")
    await shop.deliver(changed(paid, OrderStatus.CONFIRMED))
    await shop.deliver(changed(dropped, OrderStatus.CANCELLED))
    [row] = await shop.db.fetch_all("SELECT on_hand, reserved FROM inventory WHERE product_id = ?", (mug,))
    assert row == (1, 0)
    assert (await shop.request("GET", "?in_stock=true")).data == []
    assert (await shop.request("GET", f"/{mug}")).status == 404
    await shop.check_books()


async def test_deletions_racing_orders_leave_the_books_right(shop: Shop) -> None:
    mug = await shop.add("MUG", stock=10)
    reserving = (shop.reserve([WantedLine("MUG", 1)]) for _ in range(20))
    await asyncio.gather(*reserving, shop.request("DELETE", f"/{mug}"), return_exceptions=True)
    with pytest.raises(ValidationFailed):
        await shop.reserve([WantedLine("MUG", 1)])
    await shop.check_books()


async def test_a_price_that_changed_is_not_paid_unseen(shop: Shop) -> None:
    mug = await shop.add("MUG", stock=10, price=10)
    price = (await shop.request("GET", f"/{mug}")).data["price"]
    await shop.request("PATCH", f"/{mug}", {"price": 11})
    with pytest.raises(PriceChanged):
        await shop.reserve([WantedLine(mug, 1, price)])


async def test_what_another_store_has_cannot_be_changed_or_deleted(shop: Shop) -> None:
    theirs = await shop.add("MUG", token="admin@tokyo")
    for product in (theirs, uuid7(), "no-id", "%00"):
        assert (await shop.request("PATCH", f"/{product}", {"price": 1})).status == 404
        assert (await shop.request("PUT", f"/{product}", MUG)).status == 404
        assert (await shop.request("DELETE", f"/{product}")).status == 404
        adjust = {"delta": 1, "reason": "x"}
        assert (await shop.request("POST", f"/{product}/inventory/adjust", adjust)).status == 404
        assert (await shop.request("GET", f"/{product}/inventory/movements")).status == 404
    assert (await shop.request("GET", f"/{theirs}", token="admin@tokyo")).data["version"] == 1
    for method, path in (("PATCH", f"/{theirs}"), ("DELETE", f"/{theirs}")):
        assert (await shop.request(method, path, token="customer@tokyo")).status == 403


async def test_stock_is_adjusted_once_per_key_and_says_why(shop: Shop) -> None:
    mug = await shop.add("MUG", stock=5)
    path, body = f"/{mug}/inventory/adjust", {"delta": -2, "reason": "broken"}
    for replayed in (False, True):
        answer = await shop.request("POST", path, body, headers={"idempotency-key": "k"})
        assert (answer.data["on_hand"], "idempotent-replayed" in answer.headers) == (3, replayed)
    [newest, opening] = (await shop.request("GET", f"/{mug}/inventory/movements")).data
    assert (newest["kind"], newest["on_hand"], newest["reason"]) == ("adjust", -2, "broken")
    assert (newest["actor"], opening["kind"]) == ("00000000-0000-7000-8000-0000000admin", "opening")
    assert await shop.event_types() == ["inventory.updated"]
    await shop.check_books()


@pytest.mark.parametrize(
    "body, field",
    [
        ({"delta": 0, "reason": "x"}, "delta"),
        ({"delta": 1.5, "reason": "x"}, "delta"),
        ({"delta": 10**10, "reason": "x"}, "delta"),
        ({"delta": 1, "reason": " "}, "reason"),
        ({"delta": 1, "reason": "a\nb"}, "reason"),
        ({"delta": 1}, "reason"),
    ],
)
async def test_a_bad_adjustment_is_refused_by_name(shop: Shop, body: dict[str, Any], field: str) -> None:
    mug = await shop.add("MUG", stock=5)
    refused = await shop.request("POST", f"/{mug}/inventory/adjust", body)
    assert (refused.status, list(refused.fields)) == (400, [field])


async def test_no_more_is_on_hand_than_can_be_counted(shop: Shop) -> None:
    mug = await shop.add("MUG", stock=MAX_QUANTITY - 1)
    more = {"delta": 1, "reason": "found"}
    answers = [await shop.request("POST", f"/{mug}/inventory/adjust", more) for _ in range(2)]
    assert [each.status for each in answers] == [200, 409]
    assert answers[1].code == "CONFLICT"
    assert await shop.stock_of(mug) == (MAX_QUANTITY, 0)
    await shop.check_books()


async def test_adjustments_racing_reservations_never_take_what_is_held(shop: Shop) -> None:
    mug = await shop.add("MUG", stock=20)
    take = {"delta": -1, "reason": "lost"}
    answers = await asyncio.gather(
        *(shop.reserve([WantedLine("MUG", 1)]) for _ in range(20)),
        *(shop.request("POST", f"/{mug}/inventory/adjust", take) for _ in range(20)),
        return_exceptions=True,
    )
    on_hand, reserved = await shop.stock_of(mug)
    assert on_hand == reserved
    refused = [each for each in answers if isinstance(each, Answer) and each.status == 409]
    assert {each.code for each in refused} == {"CONFLICT"}
    await shop.check_books()


async def test_every_change_of_stock_is_another_version_of_it(shop: Shop) -> None:
    mug = await shop.add("MUG", stock=5)
    seen = [(await shop.request("GET", f"/{mug}/inventory")).headers["etag"]]
    await shop.reserve([WantedLine("MUG", 1)])
    seen.append((await shop.request("GET", f"/{mug}/inventory")).headers["etag"])
    stale = await shop.request(
        "PUT", f"/{mug}/inventory", {"stock_quantity": 9}, headers={"if-match": seen[0]}
    )
    assert stale.status == 412
    fresh = await shop.request(
        "PUT", f"/{mug}/inventory", {"stock_quantity": 9}, headers={"if-match": seen[1]}
    )
    seen.append(fresh.headers["etag"])
    assert fresh.status == 200
    assert len(set(seen)) == 3
    assert (await shop.request("GET", f"/{mug}/inventory", headers={"if-none-match": seen[2]})).status == 304


async def test_movements_are_paged_newest_first_and_for_staff_alone(shop: Shop) -> None:
    mug = await shop.add("MUG", stock=1)
    for quantity in range(2, 7):
        await shop.request("PUT", f"/{mug}/inventory", {"stock_quantity": quantity})
    first = await shop.request("GET", f"/{mug}/inventory/movements?limit=4")
    assert (first.body["meta"]["total_count"], [each["kind"] for each in first.data]) == (6, ["count"] * 4)
    rest = await shop.request(
        "GET", f"/{mug}/inventory/movements?limit=4&after={first.body['meta']['next_cursor']}"
    )
    assert [each["kind"] for each in rest.data] == ["count", "opening"]
    assert (await shop.request("GET", f"/{mug}/inventory/movements", token="customer@acme")).status == 403
