"""Lists and searches of products: what they find, in which order, and what they cost."""

import asyncio
import base64
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from bench.catalogue import fill
from mercato.adapters.sql.schema import Schema, prepare
from mercato.adapters.sql.sqlite import SqliteDatabase
from mercato.contracts.products import WantedLine
from mercato.kernel.tenancy import TenantId
from tests.behaviour.products_shop import ACME, Answer, Shop, open_shop
from tests.conftest import OpenDatabase

PRODUCTS: list[dict[str, Any]] = [
    {"sku": "MUG-1", "name": "Éclair mug", "price": 5, "category": "kitchen", "stock": 1},
    {"sku": "MUG-2", "name": "blue Mug", "price": 7.5, "category": "kitchen", "description": "By hand."},
    {"sku": "LAMP-1", "name": "Lamp", "price": 5, "category": "living", "stock": 4},
    {"sku": "LAMP-2", "name": "apple lamp", "price": 20, "stock": 4, "description": "Größe: 5 m, „мир“"},
    {"sku": "BOX", "name": "Zebra box", "price": 1, "category": "living"},
]
SORTS = ("created_at", "-created_at", "price", "-price", "name", "-name")


@pytest.fixture
async def shop(open_database: OpenDatabase) -> Shop:
    shop = open_shop(await open_database("products"))
    for product in PRODUCTS:
        assert (await shop.request("POST", "", product)).status == 201
    return shop


async def skus(shop: Shop, query: str, token: str | None = "customer@acme") -> list[str]:
    answer = await shop.request("GET", f"?{query}", token=token)
    assert answer.status == 200, answer.body
    found = [each["sku"] for each in answer.data]
    assert answer.body["meta"]["total_count"] == len(found)
    return found


@pytest.mark.parametrize(
    "query, found",
    [
        ("sort=created_at", ["MUG-1", "MUG-2", "LAMP-1", "LAMP-2", "BOX"]),
        ("sort=-created_at", ["BOX", "LAMP-2", "LAMP-1", "MUG-2", "MUG-1"]),
        ("sort=price", ["BOX", "MUG-1", "LAMP-1", "MUG-2", "LAMP-2"]),
        ("sort=-price", ["LAMP-2", "MUG-2", "LAMP-1", "MUG-1", "BOX"]),
        ("sort=name", ["LAMP-2", "MUG-2", "MUG-1", "LAMP-1", "BOX"]),
        ("in_stock=true&sort=name", ["LAMP-2", "MUG-1", "LAMP-1"]),
        ("in_stock=false", ["BOX", "MUG-2"]),
        ("category=kitchen&in_stock=false", ["MUG-2"]),
        ("min_price=5&max_price=7.5&sort=name", ["MUG-2", "MUG-1", "LAMP-1"]),
        ("min_price=7.51", ["LAMP-2"]),
        ("max_price=0.99", []),
        ("sku=LAMP-1&max_price=4", []),
        ("sku=LAMP-1&in_stock=true&search=lamp&category=living", ["LAMP-1"]),
        ("search=mug", ["MUG-2", "MUG-1"]),
        ("search=MUG+blue", ["MUG-2"]),
        ("search=eclair", ["MUG-1"]),
        ("search=%C3%89CLAIR", ["MUG-1"]),
        ("search=hand", ["MUG-2"]),
        ("search=lamp-2", ["LAMP-2"]),
        ("search=gr%C3%B6sse", ["LAMP-2"]),
        ("search=%D0%9C%D0%98%D0%A0", ["LAMP-2"]),
        ("search=mug+lamp", []),
        ("search=mu", []),
        ("search=mug&category=living", []),
        ("search=lamp&sort=price", ["LAMP-1", "LAMP-2"]),
        ("search=lamp&min_price=6&in_stock=true&category=", []),
    ],
)
async def test_a_list_has_what_was_asked_for_in_that_order(shop: Shop, query: str, found: list[str]) -> None:
    assert await skus(shop, query) == found


@pytest.mark.parametrize(
    "text", ["", " ", "%22", "*", "-", "%22%22", "%E2%80%A6", "%F0%9F%8D%8E", "%C2%B7", "()", "%CC%81"]
)
async def test_a_search_without_a_word_finds_nothing(shop: Shop, text: str) -> None:
    assert await skus(shop, f"search={text}") == []


@pytest.mark.parametrize(
    "text",
    [
        "mug%22",
        "%22mug",
        "mug%22+OR+%22lamp",
        "mug*",
        "mu*",
        "NOT+mug",
        "words:mug",
        "mug+NEAR+lamp",
        "^mug",
        "acme%C2%B7mug",
        "'%20OR%201=1--",
        "%25",
        "mug%25",
        "x" * 200,
        "a+" * 100,
        "%EF%B7%BA" * 200,
    ],
)
async def test_hostile_searches_are_only_words(shop: Shop, text: str) -> None:
    assert set(await skus(shop, f"search={text}")) <= {"MUG-1", "MUG-2"}


async def test_another_stores_products_are_never_found(shop: Shop) -> None:
    theirs = {"sku": "MUG-1", "name": "Their mug", "price": 5, "category": "kitchen", "stock": 1}
    assert (await shop.request("POST", "", theirs, token="admin@tokyo")).status == 201
    for query in ("", "search=mug", "category=kitchen", "sku=MUG-1", "max_price=10", "in_stock=true"):
        for _ in range(2):
            assert await skus(shop, query, token="customer@tokyo") == ["MUG-1"]
    assert await skus(shop, "search=their") == []


@pytest.mark.parametrize(
    "query, field",
    [
        ("min_price=NaN", "min_price"),
        ("max_price=Infinity", "max_price"),
        ("max_price=-Infinity", "max_price"),
        ("min_price=-1", "min_price"),
        ("min_price=1.999", "min_price"),
        ("min_price=1e400", "min_price"),
        ("min_price=sNaN", "min_price"),
        ("min_price=1e-400", "min_price"),
        ("max_price=1000000000000", "max_price"),
        ("min_price=x", "min_price"),
        ("min_price=", "min_price"),
        ("min_price=2&max_price=1", "min_price"),
        ("sort=price,name", "sort"),
        ("sort=--price", "sort"),
        ("sort=id%20DESC;%20DROP%20TABLE%20products", "sort"),
        ("in_stock=perhaps", "in_stock"),
        ("search=" + "x" * 201, "search"),
        ("search=%00", "search"),
        ("colour=red", "colour"),
        ("search=a&search=b", "search"),
    ],
)
async def test_bad_filters_are_refused_by_name(shop: Shop, query: str, field: str) -> None:
    refused = await shop.request("GET", f"?{query}")
    assert (refused.status, list(refused.fields)) == (400, [field])


async def test_prices_are_in_the_stores_currency(shop: Shop) -> None:
    assert (await shop.request("GET", "?min_price=1.5", token="admin@tokyo")).status == 400
    assert (await shop.request("GET", "?min_price=15", token="admin@tokyo")).data == []


async def all_pages(shop: Shop, query: str, size: int = 7) -> tuple[list[str], Answer]:
    """Follow the cursors to the end and return the ids, and the last page."""
    ids: list[str] = []
    page = await shop.request("GET", f"?limit={size}{query}")
    while True:
        assert page.status == 200, page.body
        ids += [each["id"] for each in page.data]
        assert page.body["meta"]["has_more"] == ("next_cursor" in page.body["meta"])
        if not page.body["meta"]["has_more"]:
            return ids, page
        page = await shop.request("GET", f"?limit={size}{query}&after={page.body['meta']['next_cursor']}")


@pytest.mark.parametrize("sort", SORTS)
async def test_cursors_meet_everything_once_whatever_is_equal(shop: Shop, sort: str) -> None:
    for number in range(60):
        body = {"sku": f"S{number}", "name": "Same", "price": number % 3, "stock": number % 2}
        await shop.request("POST", "", body)
    for query in ("", "&in_stock=true", "&search=same", "&max_price=1", "&search=same&in_stock=false"):
        ids, _ = await all_pages(shop, f"&sort={sort}{query}")
        whole = (await shop.request("GET", f"?limit=100&sort={sort}{query}")).data
        assert ids == [each["id"] for each in whole]
        by_page = [
            each["id"]
            for page in range(1, 12)
            for each in (await shop.request("GET", f"?page={page}&page_size=7&sort={sort}{query}")).data
        ]
        assert by_page == ids


@pytest.mark.parametrize("sort", SORTS)
async def test_cursors_go_on_when_the_product_they_stand_on_changes_or_is_deleted(
    shop: Shop, sort: str
) -> None:
    whole = await skus(shop, f"sort={sort}")
    first = await shop.request("GET", f"?limit=2&sort={sort}")
    cursor, last = first.body["meta"]["next_cursor"], first.data[-1]["id"]
    change = {"name": "mmm", "price": 6, "sku": "CHANGED"}
    await shop.request("PATCH", f"/{last}", change)
    await shop.request("DELETE", f"/{last}")
    later = await shop.request("GET", f"?limit=100&sort={sort}&after={cursor}")
    assert [each["sku"] for each in later.data] == whole[2:]


def forged(text: str) -> str:
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


async def test_a_cursor_is_only_good_for_its_own_list(shop: Shop) -> None:
    cursor = (await shop.request("GET", "?limit=2&sort=price")).body["meta"]["next_cursor"]
    assert (await shop.request("GET", f"?limit=4&sort=price&after={cursor}")).status == 200
    for query in ("limit=2", "sort=-price", "sort=name", "sort=price&in_stock=true", "sort=price&search=mug"):
        refused = await shop.request("GET", f"?{query}&after={cursor}")
        assert (refused.status, list(refused.fields)) == (400, ["after"])
    elsewhere = await shop.request("GET", f"?sort=price&after={cursor}", token="admin@tokyo")
    assert elsewhere.status == 400


async def test_hostile_cursors_are_refused(shop: Shop) -> None:
    page = await shop.request("GET", "?limit=2&sort=price&min_price=2&max_price=8")
    text = base64.urlsafe_b64decode(page.body["meta"]["next_cursor"] + "==").decode()
    of, key, product = text[1:-1].split(",")
    for hostile in (
        "",
        "[]",
        "null",
        "{}",
        "[" * 300,
        text + "]",
        f'[{of},"{key}",{product}]',
        f"[{of},null,{product}]",
        f"[{of},true,{product}]",
        f"[{of},-1,{product}]",
        f"[{of},1,{product}]",
        f"[{of},99999,{product}]",
        f"[{of},{2**63},{product}]",
        f"[{of},1e3,{product}]",
        f"[{of},{key},{product},1]",
        f'[{of},{key},"x"]',
        f'[{of},{key},"01900000-0000-7000-8000-000000000000"]',
        f'[{of},{key},"\' OR 1=1--"]',
        '["\\ud800",1,"x"]',
    ):
        query = f"?sort=price&min_price=2&max_price=8&after={forged(hostile)}"
        refused = await shop.request("GET", query)
        assert (refused.status, list(refused.fields)) == (400, ["after"]), hostile
    for query in ("after=%00", "after=%FF", f"after={'A' * 1025}", "after=!", "after=A&offset=1"):
        assert (await shop.request("GET", f"?{query}")).status == 400


async def test_a_list_is_cached_until_anything_in_it_may_have_changed(shop: Shop) -> None:
    async def cached() -> str:
        return (await shop.request("GET", "?search=mug&sort=name")).headers["x-cache"]

    mug = (await shop.request("GET", "?sku=MUG-1")).data[0]["id"]
    box = (await shop.request("GET", "?sku=BOX")).data[0]["id"]
    assert [await cached(), await cached()] == ["MISS", "HIT"]
    writes: list[Callable[[], Awaitable[object]]] = [
        lambda: shop.request("PATCH", f"/{mug}", {"price": 6}),
        lambda: shop.add("NEW"),
        lambda: shop.reserve([WantedLine(mug, 1)]),
        lambda: shop.request("PUT", f"/{box}/inventory", {"stock_quantity": 3}),
        lambda: shop.request("DELETE", f"/{box}"),
        lambda: shop.request(
            "POST",
            "/import",
            b'{"sku":"I","name":"I","price":1}',
            headers={"content-type": "application/x-ndjson"},
        ),
    ]
    for write in writes:
        await write()
        assert [await cached(), await cached()] == ["MISS", "HIT"]
    await shop.add("THEIRS", token="admin@tokyo")
    await shop.request("PATCH", f"/{mug}", {"price": 6})
    assert await cached() == "HIT"


async def test_a_list_whose_reading_a_write_overtook_is_not_kept(shop: Shop) -> None:
    search, held, go_on = shop.db.search, asyncio.Event(), asyncio.Event()

    async def slow(sql: str, params: Any = ()) -> list[Any]:
        rows = await search(sql, params)
        held.set()
        await go_on.wait()
        return rows

    shop.db.search = slow  # type: ignore[method-assign]  # a read that takes its time
    reading = asyncio.create_task(shop.request("GET", "?sort=name&count=false"))
    await held.wait()
    shop.db.search = search  # type: ignore[method-assign]
    await shop.add("NEW")
    mine = await shop.request("GET", "?sort=name&count=false")
    assert "NEW" in [each["sku"] for each in mine.data]
    go_on.set()
    assert "NEW" not in [each["sku"] for each in (await reading).data]
    again = await shop.request("GET", "?sort=name&count=false")
    assert (again.headers["x-cache"], again.data) == ("HIT", mine.data)


async def test_counts_are_right_after_races(shop: Shop) -> None:
    made = [await shop.add(f"R{number}", stock=1) for number in range(20)]
    await asyncio.gather(
        *(shop.reserve([WantedLine(each, 1)]) for each in made),
        *(shop.request("DELETE", f"/{each}") for each in made[::2]),
        *(shop.request("PATCH", f"/{each}", {"category": "raced"}) for each in made[1::2]),
        *(shop.request("PUT", f"/{each}/inventory", {"stock_quantity": 2}) for each in made),
        return_exceptions=True,
    )
    for query in (
        "",
        "&in_stock=true",
        "&in_stock=false",
        "&category=raced",
        "&category=raced&in_stock=true",
    ):
        await skus(shop, f"limit=100{query}")


class Watched(SqliteDatabase):
    """A database that remembers what it was asked."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.asked: list[tuple[str, Any]] = []

    async def search(self, sql: str, params: Any = ()) -> list[Any]:
        self.asked.append((sql, params))
        return await super().search(sql, params)


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The database of a store with 100,000 products, and a neighbour with some."""
    path = tmp_path_factory.mktemp("large") / "products.db"
    prepare(path, Schema("products", "mercato.products.migrations"))
    fill(path, ACME, 100_000)
    fill(path, TenantId("tokyo"), 100)
    return path


@pytest.fixture
async def crowd(large: Path) -> AsyncIterator[tuple[Shop, Watched]]:
    database = Watched(large)
    yield open_shop(database), database
    await database.close()


FILTERS = {
    "all": "",
    "category": "&category=category-3",
    "in stock": "&in_stock=true",
    "sold out": "&in_stock=false",
    "category, sold out": "&category=category-3&in_stock=false",
    "price": "&min_price=50&max_price=50.5",
    "wide price": "&min_price=10&max_price=900",
    "category, price": "&category=category-0&min_price=10&max_price=900",
    "every word": "&search=daily",
    "a common word": "&search=mug",
    "two words": "&search=amber+MUG",
    "a rare word": "&search=rare",
    "words, category": "&search=mug&category=category-3",
    "words, sold out": "&search=mug&in_stock=false",
    "words, price": "&search=mug&min_price=50&max_price=50.5",
    "words, wide price": "&search=mug&min_price=10&max_price=900",
    "sku": "&sku=SKU-0000042",
}


@pytest.mark.parametrize("filtered", FILTERS.values(), ids=FILTERS.keys())
@pytest.mark.parametrize("sort", SORTS)
async def test_no_list_of_100000_scans_or_sorts_them(
    crowd: tuple[Shop, Watched], sort: str, filtered: str
) -> None:
    shop, database = crowd
    query = f"?limit=3&sort={sort}{filtered}"
    first = await shop.request("GET", query)
    assert first.status == 200
    if (cursor := first.body["meta"].get("next_cursor")) is not None:
        assert (await shop.request("GET", f"{query}&after={cursor}")).status == 200
    assert (await shop.request("GET", f"{query}&offset=5&count=false")).status == 200
    for sql, params in database.asked:
        plan = await database.fetch_all(f"EXPLAIN QUERY PLAN {sql}", params)
        steps = [row[3] for row in plan]
        # What is scanned is made by the statement itself, and is limited in it.
        scanned = [step for step in steps if step.startswith("SCAN") and " VIRTUAL TABLE" not in step]
        assert {step.split()[1] for step in scanned} <= {"x", "y", "w", "counted", "(subquery-1)"}, steps
        assert all(
            "shelf=?" in step or "rowid=?" in step or "live_sku=?" in step
            for step in steps
            if "SEARCH p" in step
        ), steps
        if "category=" in filtered:
            # Testing each entry for its category would be a walk past all the others.
            assert all("category=?" in step for step in steps if "shelf=?" in step), steps
        if any("TEMP B-TREE" in step for step in steps):
            assert any(step.startswith("SCAN") and step.split()[1] in {"x", "w"} for step in steps), steps


@pytest.mark.parametrize("filtered", FILTERS.values(), ids=FILTERS.keys())
async def test_every_way_to_a_list_finds_the_same(crowd: tuple[Shop, Watched], filtered: str) -> None:
    shop, _ = crowd
    expected = await shop.db.search(*plainly(filtered))
    for sort in SORTS:
        key = {"created_at": 1, "price": 2, "name": 3}[sort.removeprefix("-")]
        ordered = sorted(expected, key=lambda row: (row[key], row[1]), reverse=sort.startswith("-"))
        page = await shop.request("GET", f"?limit=30&sort={sort}{filtered}")
        assert [each["id"] for each in page.data] == [row[0] for row in ordered[:30]]
        assert page.body["meta"].get("total_count", len(expected)) == len(expected)
        if len(ordered) > 30:
            later = await shop.request(
                "GET", f"?limit=30&sort={sort}{filtered}&after={page.body['meta']['next_cursor']}"
            )
            assert [each["id"] for each in later.data] == [row[0] for row in ordered[30:60]]


def plainly(filtered: str) -> tuple[str, list[Any]]:
    """Return the statement that finds the same by looking at everything."""
    params: list[Any] = []
    where = "tenant_id = 'acme' AND shelf > 0"
    for pair in filter(None, filtered.split("&")):
        name, _, value = pair.partition("=")
        if name == "search":
            for word in value.lower().split("+"):
                where += f" AND words LIKE '% {word} %'"
        elif name in {"min_price", "max_price"}:
            where += f" AND price {'>=' if name == 'min_price' else '<='} ?"
            params.append(round(float(value) * 100))
        elif name == "in_stock":
            where += f" AND shelf = {2 if value == 'true' else 1}"
        else:
            where += f" AND {name} = ?"
            params.append(value)
    return f"SELECT id, position, price, name_key FROM products WHERE {where}", params
