"""Products and their stock are read in one process and over HTTP, in one statement each time."""

import itertools
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from decimal import Decimal
from typing import Any, get_args

import msgspec
import pytest

from mercato.clients.product_reading import ProductReaderClient, serve_product_reading
from mercato.contracts.product_reading import Product, ProductReader, ProductSort, ProductsWanted
from mercato.contracts.products import WantedLine
from mercato.kernel.errors import NotFound, ValidationFailed
from mercato.kernel.ids import UserId, uuid7
from mercato.kernel.principal import Principal, Role
from mercato.kernel.tenancy import TenantId
from mercato.products.service.catalogue import Currencies
from mercato.products.service.lists import Lists
from mercato.products.service.reading import ProductReading
from mercato.products.stores.lists import SqlProductLists
from mercato.products.stores.reading import SqlCatalogueReads
from mercato.web.paging import cursor, read_cursor
from tests.behaviour.products_shop import ACME, TOKYO, Shop, open_shop
from tests.behaviour.readers import MANY_IDS, NO_IDS, WAYS, Counting, Way, reached, window
from tests.conftest import OpenDatabase

ALL = ProductsWanted()
SORTS: tuple[ProductSort, ...] = get_args(ProductSort)


@pytest.fixture
async def shop(open_database: OpenDatabase) -> Shop:
    return open_shop(await open_database("products"))


@pytest.fixture(params=WAYS)
async def reader(request: pytest.FixtureRequest, shop: Shop) -> AsyncIterator[ProductReader]:
    async with AsyncExitStack() as stack:
        way: Way = request.param
        yield await reached(
            way, shop.products.reader, "products", serve_product_reading, ProductReaderClient, stack
        )


def caller(role: Role = Role.CUSTOMER, tenant: TenantId = ACME) -> Principal:
    return Principal(UserId(uuid7()), "", role, tenant)


def builtins(read: Any) -> dict[str, Any]:
    """Return what was read as JSON has it."""
    return dict(msgspec.json.decode(msgspec.json.encode(read)))


async def test_a_product_is_read_as_rest_shows_it(shop: Shop, reader: ProductReader) -> None:
    product_id = await shop.add("LAMP", stock=2, price=19.99)
    gone = await shop.add("MUG")
    assert (await shop.request("DELETE", f"/{gone}")).status == 204

    found = await reader.many(ACME, [product_id, gone, uuid7(), *NO_IDS, product_id])

    assert set(found) == {product_id}
    shown = (await shop.request("GET", f"/{product_id}")).data
    read = builtins(found[product_id])
    assert read | {"price": 19.99} == shown
    assert (read["price"], read["currency"], read["in_stock"]) == (1_999, "USD", True)
    assert await reader.many(TOKYO, [product_id]) == {}
    assert (await reader.page(ACME, ALL, window())).items == (found[product_id],)


async def test_stock_is_read_as_it_is_by_whoever_has_signed_in(shop: Shop, reader: ProductReader) -> None:
    lamp, mug = await shop.add("LAMP", stock=5), await shop.add("MUG")
    gone = await shop.add("TRAY", stock=1)
    assert (await shop.request("DELETE", f"/{gone}")).status == 204
    await shop.reserve([WantedLine("LAMP", 2)])

    for role in Role:
        found = await reader.inventories(caller(role), [lamp, mug, gone, uuid7(), *NO_IDS])
        assert set(found) == {lamp, mug}
        assert (found[lamp].on_hand, found[lamp].reserved, found[lamp].available) == (5, 2, 3)
        assert (found[mug].on_hand, found[mug].available) == (0, 0)
        assert await reader.inventories(caller(role, TOKYO), [lamp, mug]) == {}
    shown = (await shop.request("GET", f"/{lamp}/inventory")).data
    assert builtins(found[lamp]) | {"available": 3} == shown


async def test_a_change_is_read_at_once(shop: Shop, reader: ProductReader) -> None:
    lamp = await shop.add("LAMP", stock=1)
    await reader.many(ACME, [lamp])
    assert (await shop.request("PATCH", f"/{lamp}", {"price": 12.5})).status == 200
    await shop.reserve([WantedLine("LAMP", 1)])

    read = (await reader.many(ACME, [lamp]))[lamp]

    assert (read.price, read.in_stock, read.version) == (1_250, False, 2)


@pytest.mark.parametrize("sort", SORTS)
async def test_a_list_is_the_one_that_rest_shows_from_its_begin_to_its_end(
    shop: Shop, reader: ProductReader, sort: ProductSort
) -> None:
    for number, price in enumerate((5, 3, 3, 8, 1, 5, 2)):
        await shop.add(f"S-{number}", stock=number % 2, price=price)
    shown = (await shop.request("GET", f"?sort={sort}")).data
    walked, added = list[Product](), 0
    after: str | None = None
    while True:
        part = await reader.page(ACME, ProductsWanted(sort=sort), window(3, after=after, counted=False))
        walked += part.items
        assert part.total is None
        after = part.end
        if not part.has_more:
            break
        # What comes to the front, or to the end, of what is listed.
        added += 1
        await shop.add(f"NEW-{added}", price=0 if sort == "price" else 9)

    seen = [each.id for each in walked if each.sku.startswith("S-")]
    assert seen == [each["id"] for each in shown]
    assert len({each.id for each in walked}) == len(walked)
    by_offset = await reader.page(ACME, ProductsWanted(sort=sort), window(3, 3))
    assert (len(by_offset.items), by_offset.has_more, by_offset.total) == (3, True, 7 + added)


async def test_filters_mean_what_they_mean_in_rest(shop: Shop, reader: ProductReader) -> None:
    for sku, price, category, stock in (
        ("LAMP-1", 10, "Light", 0),
        ("LAMP-2", 25, "Light", 3),
        ("MUG-1", 10, "Kitchen", 4),
        ("MUG-2", 4, None, 0),
    ):
        body = {"sku": sku, "name": sku.title(), "price": price, "stock": stock, "category": category}
        assert (await shop.request("POST", "", body)).status == 201
    filters: list[dict[str, Any]] = [
        {"search": "lamp"},
        {"search": "-"},
        {"category": "Light"},
        {"sku": "MUG-2"},
        {"min_price": "10"},
        {"max_price": "9.99"},
        {"min_price": "5", "max_price": "20.00"},
        {"in_stock": "true"},
        {"in_stock": "false"},
    ]
    pairs = [one | other for one, other in itertools.combinations(filters, 2)]
    for chosen in [{}, *filters, *pairs]:
        query = "&".join(f"{name}={value}" for name, value in chosen.items())
        shown = await shop.request("GET", f"?{query}")
        texts: dict[str, Any] = dict(chosen)
        for name in ("min_price", "max_price"):
            if name in texts:
                texts[name] = Decimal(texts[name])
        if "in_stock" in texts:
            texts["in_stock"] = texts["in_stock"] == "true"

        if shown.status == 400:
            with pytest.raises(ValidationFailed):
                await reader.page(ACME, ProductsWanted(**texts), window())
            continue
        read = await reader.page(ACME, ProductsWanted(**texts), window())

        assert [each.id for each in read.items] == [each["id"] for each in shown.data], chosen
        assert read.total == shown.body["meta"].get("total_count"), chosen


async def test_a_cursor_of_rest_goes_on_here_and_the_other_way_round(
    shop: Shop, reader: ProductReader
) -> None:
    for number in range(5):
        await shop.add(f"S-{number}")
    meta = (await shop.request("GET", "?limit=2")).body["meta"]

    part = await reader.page(ACME, ALL, window(2, after=read_cursor(meta["next_cursor"])))

    assert [each.sku for each in part.items] == ["S-2", "S-1"]
    assert part.end is not None
    rest = await shop.request("GET", f"?limit=2&after={cursor(part.end)}")
    assert [each["sku"] for each in rest.data] == ["S-0"]


async def test_prices_are_in_the_store_s_currency(shop: Shop, reader: ProductReader) -> None:
    await shop.add("LAMP", price=1_500, token="admin@tokyo")

    listed = await reader.page(TOKYO, ProductsWanted(min_price=Decimal(1_500)), window())

    assert [(each.price, each.currency) for each in listed.items] == [(1_500, "JPY")]
    with pytest.raises(ValidationFailed) as refused:
        await reader.page(TOKYO, ProductsWanted(min_price=Decimal("1.5")), window())
    assert [each.field for each in refused.value.details] == ["min_price"]
    with pytest.raises(NotFound):
        await reader.page(TenantId("nowhere"), ProductsWanted(min_price=Decimal(1)), window())


async def test_what_is_out_of_bounds_is_refused(shop: Shop, reader: ProductReader) -> None:
    await shop.add("LAMP")
    await shop.add("MUG")
    other = await reader.page(ACME, ProductsWanted(sort="name"), window(1))
    assert await reader.many(ACME, MANY_IDS[1:]) == {}
    for reading in (
        reader.many(ACME, MANY_IDS),
        reader.inventories(caller(), MANY_IDS),
        reader.page(ACME, ALL, window(0)),
        reader.page(ACME, ALL, window(101)),
        reader.page(ACME, ALL, window(1, -1)),
        reader.page(ACME, ALL, window(after="x")),
        reader.page(ACME, ALL, window(after=other.end)),
        reader.page(ACME, ProductsWanted(search="x" * 201), window()),
        reader.page(ACME, ProductsWanted(category="x" * 101), window()),
        reader.page(ACME, ProductsWanted(sku="x" * 65), window()),
        reader.page(ACME, ProductsWanted(min_price=Decimal(-1)), window()),
        reader.page(ACME, ProductsWanted(min_price=Decimal("NaN")), window()),
        reader.page(ACME, ProductsWanted(min_price=Decimal("1e400")), window()),
        reader.page(ACME, ProductsWanted(min_price=Decimal(2), max_price=Decimal(1)), window()),
    ):
        with pytest.raises(ValidationFailed):
            await reading


async def test_each_reading_is_one_statement_however_much_is_read(shop: Shop) -> None:
    there = [await shop.add(f"S-{number}") for number in range(8)]
    counting: Any = Counting(shop.db)
    lists = Lists(SqlProductLists(counting), Currencies(shop.stores))
    reader = ProductReading(SqlCatalogueReads(counting), lists)

    assert len(await reader.many(ACME, there)) == 8
    assert len(await reader.inventories(caller(), there)) == 8
    assert len((await reader.page(ACME, ALL, window(5, counted=False))).items) == 5
    assert len(counting.statements) == 3
    assert counting.stores == {ACME}
