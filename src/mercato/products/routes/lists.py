"""Lists and searches of products over HTTP."""

import hashlib
from collections.abc import Callable
from decimal import Decimal
from typing import Annotated, Literal, TypeVar

import msgspec

from mercato.adapters.cache.lists import ListCache
from mercato.kernel.errors import FieldError, ValidationFailed
from mercato.kernel.ids import ProductId, is_id
from mercato.kernel.money import to_minor
from mercato.kernel.paging import Window
from mercato.kernel.tenancy import TenantId
from mercato.products.domain import Product
from mercato.products.ports import After, Listed, Order, Part, ProductFilter, ProductLists, SortBy
from mercato.products.service.catalogue import Currencies
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

_Sort = Literal["-created_at", "created_at", "price", "-price", "name", "-name"]
_BIGGEST = 2**63 - 1


class ProductQuery(ListQuery, frozen=True):
    """Which products to list. `search` finds products with all its words; prices are the store's."""

    search: Annotated[str, msgspec.Meta(max_length=200)] | None = None
    category: Annotated[str, msgspec.Meta(max_length=100)] | None = None
    sku: Annotated[str, msgspec.Meta(max_length=64)] | None = None
    min_price: Decimal | None = None
    max_price: Decimal | None = None
    in_stock: bool | None = None
    sort: _Sort = "-created_at"


class _Cursor(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """Where the next page begins, and of which list: sort and filter make it another."""

    of: str
    key: Annotated[int, msgspec.Meta(ge=0, le=_BIGGEST)] | str | None
    id: str


_cursor = msgspec.json.Decoder(_Cursor)


class ProductPages:
    """Reads pages of lists of products, and keeps them for a while as clients are shown them."""

    def __init__(self, listed: ProductLists, cache: ListCache) -> None:
        self._listed = listed
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
        of = _fingerprint(wanted, order)
        part = Part(seen.limit, seen.offset, None if seen.after is None else _after(seen.after, of))
        found = await self._listed.page(tenant, wanted, order, part)
        total = await self._listed.count(tenant, wanted) if seen.counted else None
        shown = found[: seen.limit]
        last = _text(shown[-1], of) if shown else None
        meta = page_meta(seen, found, last, total)
        # The meta is kept before the data: JSON has no line break of its own.
        return encode(meta) + b"\n" + encode([view(each.product) for each in shown])


def lists(declared: Routes, pages: ProductPages, currencies: Currencies) -> None:
    """Declare the endpoints."""

    @declared.get("", allow=PUBLIC)
    async def list_products(call: Call, query: ProductQuery) -> Encoded[Page[ProductView]]:
        """List products, newest first unless sorted otherwise.

        `total_count` is left out where a search with further conditions finds too much to count.
        """
        seen = window(query)
        wanted = await _filter(query, call.tenant, currencies)
        order = Order(SortBy(query.sort.removeprefix("-")), query.sort.startswith("-"))
        return await pages.read(call.tenant, wanted, order, seen, product_view)


async def _filter(query: ProductQuery, tenant: TenantId, currencies: Currencies) -> ProductFilter:
    """Return which products are wanted. Raises ValidationFailed naming every bad price."""
    prices: dict[str, int | None] = {"min_price": None, "max_price": None}
    problems: list[FieldError] = []
    if query.min_price is not None or query.max_price is not None:
        currency = await currencies.of(tenant)
        for name in prices:
            given = getattr(query, name)
            try:
                prices[name] = None if given is None else to_minor(given, currency, field=name)
            except ValidationFailed as refused:
                problems.extend(refused.details)
    least, most = prices["min_price"], prices["max_price"]
    if least is not None and most is not None and least > most:
        problems.append(FieldError("min_price", "must not be above max_price"))
    if problems:
        raise ValidationFailed.of(*problems)
    return ProductFilter(query.search, query.category, query.sku, least, most, query.in_stock)


def _fingerprint(wanted: ProductFilter, order: Order) -> str:
    """Return what tells a list from others; it guards nothing, but mistakes."""
    return hashlib.blake2b(encode((wanted, order)), digest_size=6).hexdigest()


def _text(last: Listed, of: str) -> str:
    return encode(_Cursor(of, last.key, last.product.id)).decode()


def _after(text: str, of: str) -> After:
    try:
        found = _cursor.decode(text)
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        found = None
    if found is None or not is_id(found.id):
        raise ValidationFailed.field("after", "must be a next_cursor from an earlier page")
    if found.of != of:
        raise ValidationFailed.field("after", "must be used with the sort and filters of the page it is from")
    return After(found.key, ProductId(found.id))
