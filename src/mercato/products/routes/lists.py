"""Lists and searches of products over HTTP."""

from collections.abc import Callable
from decimal import Decimal
from typing import Annotated, TypeVar

import msgspec

from mercato.adapters.cache.lists import ListCache
from mercato.contracts.product_reading import Product, ProductSort
from mercato.kernel.paging import Window
from mercato.kernel.tenancy import TenantId
from mercato.products.ports import Order, ProductFilter
from mercato.products.service.lists import MAX_CATEGORY, MAX_SEARCH, MAX_SKU, Lists
from mercato.products.views import ProductView, product_view
from mercato.web.call import Call
from mercato.web.endpoint import PUBLIC, Routes
from mercato.web.envelope import Encoded, Page, PageMeta, encode
from mercato.web.paging import ListQuery, page_meta, window

V = TypeVar("V")

Show = Callable[[Product], V]

_HIT = (("x-cache", "HIT"),)
_MISS = (("x-cache", "MISS"),)
_meta = msgspec.json.Decoder(PageMeta)


class ProductQuery(ListQuery, frozen=True):
    """Which products to list. `search` finds products with all its words; prices are the store's."""

    search: Annotated[str, msgspec.Meta(max_length=MAX_SEARCH)] | None = None
    category: Annotated[str, msgspec.Meta(max_length=MAX_CATEGORY)] | None = None
    sku: Annotated[str, msgspec.Meta(max_length=MAX_SKU)] | None = None
    min_price: Decimal | None = None
    max_price: Decimal | None = None
    in_stock: bool | None = None
    sort: ProductSort = "-created_at"


class ProductPages:
    """Reads pages of lists of products, and keeps them for a while as clients are shown them."""

    def __init__(self, lists: Lists, cache: ListCache) -> None:
        self._lists = lists
        self._cache = cache

    async def read(
        self,
        tenant: TenantId,
        wanted: ProductFilter,
        order: Order,
        seen: Window,
        view: Show[V],
    ) -> Encoded[Page[V]]:
        """Return a page, each product as `view` shows it. Raises ValidationFailed for a wrong cursor."""

        async def load() -> bytes:
            return await self._load(tenant, wanted, order, seen, view)

        key = encode((view.__name__, wanted, order, seen)).decode()
        kept, headers = self._cache.get(tenant, key), _HIT
        if kept is None:
            kept, headers = await self._cache.load(tenant, key, load), _MISS
        meta, _, data = kept.partition(b"\n")
        return Encoded(data, headers, meta=_meta.decode(meta))

    async def _load(
        self,
        tenant: TenantId,
        wanted: ProductFilter,
        order: Order,
        seen: Window,
        view: Show[V],
    ) -> bytes:
        part = await self._lists.page(tenant, wanted, order, seen)
        meta = page_meta(seen, part.end, part.total, has_more=part.has_more)
        # The meta is kept before the data: JSON has no line break of its own.
        return encode(meta) + b"\n" + encode([view(each) for each in part.items])


def lists(declared: Routes, pages: ProductPages, read: Lists) -> None:
    """Declare the endpoints."""

    @declared.get("", allow=PUBLIC)
    async def list_products(call: Call, query: ProductQuery) -> Encoded[Page[ProductView]]:
        """List products, newest first unless sorted otherwise.

        `total_count` is left out where a search with further conditions finds too much to count.
        """
        seen = window(query)
        prices = await read.prices(call.tenant, query.min_price, query.max_price)
        wanted = ProductFilter(query.search, query.category, query.sku, *prices, query.in_stock)
        return await pages.read(call.tenant, wanted, Order.named(query.sort), seen, product_view)
