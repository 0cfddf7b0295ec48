"""The index of words says what the catalogue says, whatever was done to it or undone."""

import asyncio
from typing import Any
from urllib.parse import urlencode

import pytest

from tests.behaviour.products_shop import Shop, open_shop
from tests.behaviour.test_products_imports import ndjson, send
from tests.conftest import OpenDatabase

SORTS = ("created_at", "-created_at", "price", "name")


@pytest.fixture
async def shop(open_database: OpenDatabase) -> Shop:
    return open_shop(await open_database("products"))


async def red_mug(shop: Shop, sku: str = "M-1") -> str:
    product = {
        "sku": sku,
        "name": "Red mug",
        "price": 5,
        "category": "tea",
        "description": "Fine.",
        "stock": 1,
    }
    return str((await shop.request("POST", "", product)).data["id"])


async def found(shop: Shop, search: str, category: str | None = None, token: str = "admin@acme") -> int:
    """Return how many a search finds, which is the same in every order, and as it counts them."""
    wanted: dict[str, Any] = {"search": search} | ({} if category is None else {"category": category})
    counts = set()
    for extra in ({}, {"in_stock": "true"}, {"min_price": 0}):
        for sort in SORTS:
            asked = urlencode(wanted | {"sort": sort, "page_size": 100} | extra)
            page = await shop.request("GET", f"?{asked}", token=token)
            counts |= {len(page.data), page.body["meta"]["total_count"]}
    assert len(counts) == 1, (search, category, counts)
    return int(counts.pop())


@pytest.mark.parametrize(
    "change, gone, there",
    [
        ({"name": "Blue mug"}, "red", "blue"),
        ({"description": None}, "fine", "mug"),
        ({"description": "Rather coarse."}, "fine", "coarse"),
        ({"sku": "JUG"}, "m-1", "jug"),
        ({"name": "Red, red mug", "sku": "RED"}, "m", "red"),
    ],
)
async def test_a_changed_product_is_found_by_what_it_says_now(
    shop: Shop, change: dict[str, Any], gone: str, there: str
) -> None:
    mug = await red_mug(shop)
    assert (await shop.request("PATCH", f"/{mug}", change)).status == 200
    assert (await found(shop, gone), await found(shop, there), await found(shop, there, "tea")) == (0, 1, 1)


async def test_a_product_is_found_in_the_category_it_is_in_now(shop: Shop) -> None:
    mug = await red_mug(shop)
    for category in ("kitchen", None, "tea", "kitchen"):
        await shop.request("PATCH", f"/{mug}", {"category": category})
        assert await found(shop, "mug") == 1
        for each in ("tea", "kitchen"):
            assert await found(shop, "mug", each) == (each == category)


async def test_a_deleted_product_is_not_found_and_the_next_one_of_its_sku_is(shop: Shop) -> None:
    await shop.request("DELETE", f"/{await red_mug(shop)}")
    assert (await found(shop, "red"), await found(shop, "m-1", "tea")) == (0, 0)
    await red_mug(shop)
    assert (await found(shop, "red"), await found(shop, "m-1", "tea")) == (1, 1)
    again = ndjson({"sku": "M-1", "name": "Blue mug", "price": 5, "category": "kitchen"})
    assert (await send(shop, again)).data["updated"] == 1
    assert (await found(shop, "red"), await found(shop, "blue", "kitchen")) == (0, 1)


async def test_what_was_undone_is_not_found(shop: Shop) -> None:
    """The last line fails when all others are in the index; its neighbours in the commit succeed."""
    await red_mug(shop)
    lines = [
        {"sku": f"L-{n}", "name": f"Lost {n}", "price": 1, "category": "tea", "stock": 1} for n in range(90)
    ]
    aborted = ndjson(*lines, {"sku": "M-1", "name": "There", "price": 1})

    query = "?on_error=abort&existing=fail"
    refused, _ = await asyncio.gather(
        asyncio.gather(*(send(shop, aborted, query=query, key=key) for key in (None, "k"))),
        asyncio.gather(*(red_mug(shop, f"N-{n}") for n in range(5))),
    )

    assert [answer.status for answer in refused] == [400, 400]
    assert (await found(shop, "lost"), await found(shop, "lost", "tea"), await found(shop, "mug", "tea")) == (
        0,
        0,
        6,
    )
    assert (await send(shop, ndjson(*lines), query="?on_error=abort")).data["created"] == 90
    assert await found(shop, "lost", "tea") == 90
    await shop.check_books()


async def test_a_search_may_have_as_many_words_as_its_text(shop: Shop) -> None:
    letters = [chr(code) for code in range(0x4E00, 0x4E00 + 100)]
    await shop.request(
        "POST", "", {"sku": "H", "name": "All", "price": 1, "description": " ".join(letters), "stock": 1}
    )
    assert await found(shop, " ".join(letters)) == 1
    # Each of these letters stands for several words.
    assert await found(shop, "".join(chr(code) for code in range(0x2474, 0x2474 + 68)) * 2) == 0
    assert await found(shop, "\ufdfa" * 200) == 0
