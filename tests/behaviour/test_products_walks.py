"""Walking a list of products to its end: what is met on the way, whatever happens meanwhile."""

import itertools
import unicodedata
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import urlencode

from hypothesis import given, settings
from hypothesis import strategies as st

from mercato.adapters.sql.schema import Schema, prepare
from mercato.adapters.sql.sqlite import SqliteDatabase
from tests.behaviour.products_shop import Shop, open_shop

Product = dict[str, Any]

# Letters that are equal without case and accents, that grow when they are folded, and of all sorts.
_WORDS = ("a", "Ä", "S", "ß", "\u0131", "i", "Λ", "ﬁ", "日", "🎉")
_NAME = st.one_of(
    st.lists(st.sampled_from(_WORDS), min_size=1, max_size=3).map(" ".join),
    st.text("aAäÁbßsşİi\u0131ΛλжЖñ日🎉ﬁ\u0301 ", min_size=1, max_size=4),
).filter(lambda name: name.strip(" \u0301") != "")
_SKUS = itertools.count()
_PRODUCT = st.fixed_dictionaries(
    {
        "name": _NAME,
        "price": st.sampled_from([0, 1, 1.5, 2]),
        "category": st.sampled_from([None, "a", "b"]),
        "stock": st.sampled_from([0, 1]),
    }
)
_FILTERS = st.fixed_dictionaries(
    {},
    optional={
        "category": st.sampled_from(["a", "b"]),
        "min_price": st.sampled_from([0, 1, 1.5]),
        "max_price": st.sampled_from([1.5, 2]),
        "in_stock": st.sampled_from(["true", "false"]),
        "search": st.sampled_from([*_WORDS, "A ä", "i S", "ss", "fi"]),
    },
)
_SORTS = st.sampled_from(["created_at", "-created_at", "price", "-price", "name", "-name"])
_CHANGES = st.lists(
    st.one_of(
        st.tuples(st.just("add"), _PRODUCT),
        st.tuples(st.sampled_from(["delete", "again"]), st.integers(0, 11)),
        st.tuples(st.just("edit"), st.integers(0, 11), _PRODUCT),
        st.tuples(st.just("count"), st.integers(0, 11), st.sampled_from([0, 1])),
    ),
    max_size=8,
)


@asynccontextmanager
async def new_shop() -> AsyncIterator[Shop]:
    """Open a shop on a database of its own."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "products.db"
        prepare(path, Schema("products", "mercato.products.migrations"))
        database = SqliteDatabase(path)
        yield open_shop(database)
        await database.close()


async def add(shop: Shop, product: Product) -> Product:
    made = await shop.request("POST", "", {"sku": f"N-{next(_SKUS)}", **product})
    assert made.status == 201, made.body
    return dict(made.data)


async def change(shop: Shop, there: list[Product], step: tuple[Any, ...]) -> str | None:
    """Change the catalogue; return the id of the product that is not as it was."""
    kind, which = step[0], step[1]
    if kind == "add":
        await add(shop, which)
        return None
    if not there:
        return None
    product = there[which % len(there)]
    if kind in {"delete", "again"}:
        await shop.request("DELETE", f"/{product['id']}")
    if kind == "again":
        await shop.request("POST", "", {name: product[name] for name in ("sku", "name", "price")})
    if kind == "edit":
        wanted = {name: value for name, value in step[2].items() if name != "stock"}
        await shop.request("PATCH", f"/{product['id']}", wanted)
    if kind == "count":
        await shop.request("PUT", f"/{product['id']}/inventory", {"stock_quantity": step[2]})
    return str(product["id"])


async def walk(shop: Shop, query: dict[str, Any], limit: int) -> AsyncIterator[Product]:
    """Yield a list's products page by page, to its end."""
    after: dict[str, str] = {}
    while True:
        asked = urlencode({**query, "limit": limit, **after})
        page = await shop.request("GET", f"?{asked}", token="customer@acme")
        assert page.status == 200, page.body
        assert len(page.data) <= limit
        for product in page.data:
            yield product
        meta = page.body["meta"]
        assert meta["has_more"] == ("next_cursor" in meta)
        if not meta["has_more"]:
            return
        after = {"after": meta["next_cursor"]}


def plain(text: str) -> str:
    folded = unicodedata.normalize("NFKD", text).casefold()
    return "".join(each for each in folded if not unicodedata.combining(each))


def words_of(text: str) -> list[str]:
    return "".join(each if each.isalnum() else " " for each in plain(text)).split()


def is_wanted(product: Product, query: dict[str, Any]) -> bool:
    text = f"{product['name']} {product['sku']}"
    if "search" in query and not words_of(query["search"]):
        return False
    return (
        query.get("category", product["category"]) == product["category"]
        and query.get("min_price", 0) <= product["price"] <= query.get("max_price", 9)
        and query.get("in_stock", str(product["in_stock"]).lower()) == str(product["in_stock"]).lower()
        and ("search" not in query or set(words_of(query["search"])) <= set(words_of(text)))
    )


def in_order(products: list[Product], sort: str) -> list[Product]:
    """Sort products, which are in the order they were made in."""
    made = list(enumerate(products))
    keys = {
        "created_at": lambda each: (0, each[0]),
        "price": lambda each: (each[1]["price"], each[0]),
        "name": lambda each: (plain(each[1]["name"]), each[0]),
    }
    made.sort(key=keys[sort.removeprefix("-")], reverse=sort.startswith("-"))
    return [product for _, product in made]


@given(
    products=st.lists(_PRODUCT, max_size=12),
    filters=_FILTERS,
    sort=_SORTS,
    limit=st.integers(1, 4),
)
@settings(max_examples=120, deadline=None)
async def test_a_list_is_what_a_look_at_everything_finds(
    products: list[Product], filters: dict[str, Any], sort: str, limit: int
) -> None:
    async with new_shop() as shop:
        there = [await add(shop, product) for product in products]
        query = {**filters, "sort": sort}
        wanted = [each["id"] for each in in_order([p for p in there if is_wanted(p, filters)], sort)]

        assert [each["id"] async for each in walk(shop, query, limit)] == wanted
        page = await shop.request("GET", f"?{urlencode(query)}&page_size=100")
        assert [each["id"] for each in page.data] == wanted
        assert page.body["meta"]["total_count"] == len(wanted)


@given(
    products=st.lists(_PRODUCT, min_size=2, max_size=12),
    filters=_FILTERS,
    sort=_SORTS,
    changes=_CHANGES,
    every=st.integers(1, 3),
)
@settings(max_examples=120, deadline=None)
async def test_whatever_changes_on_the_way_nothing_is_met_twice_and_what_stays_is_met(
    products: list[Product], filters: dict[str, Any], sort: str, changes: list[Any], every: int
) -> None:
    async with new_shop() as shop:
        there = [await add(shop, product) for product in products]
        touched: set[str] = set()
        steps = iter(changes)
        met: list[str] = []
        async for product in walk(shop, {**filters, "sort": sort}, every):
            met.append(product["id"])
            for step in itertools.islice(steps, 2):
                touched.add(await change(shop, there, step) or "")

        untouched = [each for each in met if each not in touched]
        assert len(untouched) == len(set(untouched))
        stayed = [p for p in there if p["id"] not in touched and is_wanted(p, filters)]
        wanted = [each["id"] for each in in_order(stayed, sort)]
        assert [each for each in met if each in wanted] == wanted
        await shop.check_books()
        # The index of words, the counts and the shelves are right whatever happened.
        left = (await shop.request("GET", "?page_size=100&sort=created_at")).data
        found = in_order([p for p in left if is_wanted(p, filters)], sort)
        assert [each["id"] async for each in walk(shop, {**filters, "sort": sort}, 100)] == [
            each["id"] for each in found
        ]
