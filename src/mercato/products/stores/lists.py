"""Lists of products in SQL, whose cost does not grow with the catalogue.

Every order of a list has an index, within a shelf and within a category of it; a list of both
shelves merges two walks along it. What an index's order does not say, a price range in a list by
name or the words of a search, is tested on the walk, which is quick where much matches. Where
little matches it is fetched whole and sorted. Which of the two it is to be, a count tells that
stops at the number from which the walk is the shorter way.

One case grows with the catalogue: very many match, and all of them stand at the far end of the
order. Then the walk is as long as the index, some 150 ms for a million products.
"""

from collections.abc import AsyncIterator, Sequence
from math import isqrt
from types import NoneType

import msgspec

from mercato.adapters.sql.database import Database, Row, Value
from mercato.kernel.errors import ValidationFailed
from mercato.kernel.ids import ProductId
from mercato.kernel.tenancy import TenantId
from mercato.products.ports import After, Exported, Listed, Order, Part, ProductFilter, SortBy
from mercato.products.stores import words
from mercato.products.stores.rows import COLUMNS, IN_STOCK, SOLD_OUT, load_product
from mercato.products.stores.word_index import INDEXES, WordIndex

_KEYS = {SortBy.CREATED: "p.position", SortBy.PRICE: "p.price", SortBy.NAME: "p.name_key"}
_KEY_TYPES: dict[SortBy, type] = {SortBy.CREATED: NoneType, SortBy.NAME: str}
_MIN_SORTED, _MAX_SORTED = 200, 5_000
_GLANCE = 2_000
"""Rows at the begin of a walk that are looked at one by one, at most."""
_MAX_LOOKED_AT = 20_000
"""Rows that a count looks at one by one; of more it is not counted."""
_ALL = ProductFilter()
_BY_MAKING = Order(SortBy.CREATED, descending=False)


class _Sql(msgspec.Struct, frozen=True):
    """A piece of SQL with its parameters."""

    text: str
    params: tuple[Value, ...] = ()

    def __add__(self, other: "_Sql | str") -> "_Sql":
        if isinstance(other, str):
            return _Sql(self.text + other, self.params)
        return _Sql(self.text + other.text, self.params + other.params)


class _Seek(msgspec.Struct, frozen=True):
    """Where a list goes on: behind this key and position."""

    key: Value
    position: int


class _Wanted(msgspec.Struct, frozen=True):
    """A list that is asked for."""

    tenant: TenantId
    filter: ProductFilter
    words: tuple[str, ...] = ()
    index: WordIndex = INDEXES["sqlite"]
    limits_walks: bool = False
    """Whether each of the walks that are merged is limited: PostgreSQL sorts whole shelves otherwise."""

    @property
    def shelves(self) -> tuple[int, ...]:
        """The shelves the products are on."""
        if self.filter.in_stock is None:
            return SOLD_OUT, IN_STOCK
        return (IN_STOCK,) if self.filter.in_stock else (SOLD_OUT,)

    @property
    def has_prices(self) -> bool:
        """Whether the price is limited."""
        return self.filter.min_price is not None or self.filter.max_price is not None

    def shelf(self, shelf: int) -> _Sql:
        """Say which products of a shelf: what every index begins with."""
        place = _Sql(" p.tenant_id = ? AND p.shelf = ?", (self.tenant, shelf))
        if self.filter.category is not None:
            place += _Sql(" AND p.category = ?", (self.filter.category,))
        return place

    def min_price(self, column: str) -> _Sql:
        """Say which prices are too low."""
        least = self.filter.min_price
        return _Sql("") if least is None else _Sql(f" AND {column} >= ?", (least,))

    def max_price(self, column: str) -> _Sql:
        """Say which prices are too high."""
        most = self.filter.max_price
        return _Sql("") if most is None else _Sql(f" AND {column} <= ?", (most,))

    def prices(self, column: str) -> _Sql:
        """Say which prices."""
        return self.min_price(column) + self.max_price(column)

    def prices_tested(self) -> _Sql:
        """Say which prices, in a way that no index is chosen for."""
        return self.prices("p.price + 0")

    def words_tested(self) -> _Sql:
        """Say which words, of rows found otherwise."""
        tested = _Sql("")
        for word in self.words:
            tested += _Sql(" AND p.words LIKE ?", (words.pattern(word),))
        return tested

    def shelf_tested(self) -> _Sql:
        """Say which shelves, of rows found otherwise."""
        return _Sql(" AND p.shelf + 0 = ?", self.shelves) if len(self.shelves) == 1 else _Sql("")

    def matches(self) -> _Sql:
        """Ask the index of words."""
        return _Sql(*self.index.matches(self.tenant, self.words, self.filter.category))


class SqlProductLists:
    """See products.ports.ProductLists."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._index = INDEXES[db.dialect]
        self._limits_walks = db.dialect == "postgres"

    async def page(self, tenant: TenantId, wanted: ProductFilter, order: Order, part: Part) -> list[Listed]:
        """Return a page of products."""
        seek = None if part.after is None else await self._seek(tenant, wanted, order, part.after)
        asked = _asked(self._index, tenant, wanted)
        if asked is None:
            return []
        asked = msgspec.structs.replace(asked, limits_walks=self._limits_walks)
        found: list[Row] = []
        async for way in self._ways(asked, order, seek, part.limit + 1 + part.offset):
            positions = way + _Sql(" LIMIT ? OFFSET ?", (part.limit + 1, part.offset))
            select = _Sql(f"SELECT {COLUMNS}, y.k, p.position FROM (") + positions
            found = await self._search(select + ") y JOIN products p ON p.position = y.position")
            if len(found) > part.limit:
                break
        found.sort(key=lambda row: row[-2:], reverse=order.descending)
        keyed = order.by is not SortBy.CREATED
        return [Listed(load_product(row[:-2]), row[-2] if keyed else None) for row in found]

    async def count(self, tenant: TenantId, wanted: ProductFilter) -> int | None:
        """Return how many products there are.

        Kept counts answer for a store and its categories. Prices or words alone are counted along
        an index (a million in some 50 ms). Words together with prices or stock, and a SKU, are
        looked at row by row, unless those are more than 20,000.
        """
        asked = _asked(self._index, tenant, wanted)
        if asked is None:
            return 0
        if wanted.sku is not None:
            return len(await self._search(_of_sku(asked, _BY_MAKING)))
        if not asked.words:
            if not asked.has_prices:
                return await self._kept_count(asked)
            return await self._number(_union([_Sql("SELECT 1") + each for each in _priced(asked)]))
        if not asked.has_prices and wanted.in_stock is None:
            return await self._number(_Sql("SELECT 1") + asked.matches())
        return await self._looked_at(asked)

    async def export(self, tenant: TenantId, after: ProductId | None, limit: int) -> list[Exported]:
        """Return the products that were made next."""
        seek = None if after is None else await self._seek(tenant, _ALL, _BY_MAKING, After(None, after))
        asked = _Wanted(tenant, _ALL, limits_walks=self._limits_walks)
        walk = _walk(asked, _BY_MAKING, seek, limit) + _Sql(" LIMIT ?", (limit,))
        found = await self._search(
            _Sql(f"SELECT {COLUMNS}, i.on_hand, p.position FROM (")
            + walk
            + ") y JOIN products p ON p.position = y.position"
            + " JOIN inventory i ON i.tenant_id = p.tenant_id AND i.product_id = p.id"
        )
        found.sort(key=lambda row: row[-1])
        return [Exported(load_product(row[:-2]), row[-2]) for row in found]

    async def _ways(
        self, asked: _Wanted, order: Order, seek: _Seek | None, depth: int
    ) -> AsyncIterator[_Sql]:
        """Yield ways to a list's positions in its order. The last one finds all, others perhaps too few.

        `depth` is how many are needed.
        """
        if asked.filter.sku is not None:
            yield _of_sku(asked, order, seek)
            return
        tested_prices = asked.has_prices and order.by is not SortBy.PRICE
        if not asked.words and not tested_prices:
            yield _walk(asked, order, seek, depth)
            return
        if asked.words and order.by is SortBy.CREATED and len(asked.shelves) > 1 and not asked.has_prices:
            yield _matched(asked, order, seek)
            return
        there = await self._kept_count(asked)
        if asked.words and order.by is not SortBy.CREATED:
            # Where nearly all match, a glance is enough.
            yield _glance(asked, order, seek, 2 * depth)
        few = await self._few(asked, there, depth)
        if few is not None:
            yield _sorted(asked, order, seek, few)
        elif asked.words and order.by is SortBy.CREATED:
            yield _matched(asked, order, seek)
        else:
            many = there // 20
            if asked.words and await self._number_to(many + 1, _matches(asked)) > many:
                yield _glance(asked, order, seek, 20 * depth)
            yield _walk(asked, order, seek, depth)

    async def _few(self, asked: _Wanted, there: int, depth: int) -> _Sql | None:
        """Return the rows that match a part of what is wanted, if sorting them is the shorter way."""
        # Of n that match, sorting looks at n rows, and a walk at depth * there / n. To look at a
        # row costs as much as some sixteen steps of a walk.
        most = min(_MAX_SORTED, max(_MIN_SORTED, isqrt(there * depth // 16)))
        priced = _union([_Sql("SELECT p.position AS position") + each for each in _priced(asked)])
        if there <= most:
            return priced
        if asked.words and await self._at_most(most, _matches(asked)):
            return _matches(asked)
        return priced if asked.has_prices and await self._at_most(most, priced) else None

    async def _seek(self, tenant: TenantId, wanted: ProductFilter, order: Order, after: After) -> _Seek:
        # A deleted product still says where a list goes on.
        row = await self._db.fetch_one(
            "SELECT position FROM products WHERE tenant_id = ? AND id = ?", (tenant, after.id)
        )
        if row is None or not _is_key(after.key, wanted, order):
            raise ValidationFailed.field("after", "must be a next_cursor from an earlier page")
        return _Seek(after.key, row[0])

    async def _kept_count(self, asked: _Wanted) -> int:
        """Return how many products are on the shelves, of the category if one is wanted."""
        row = await self._db.fetch_one(
            "SELECT COALESCE(SUM(products), 0) FROM product_counts"
            " WHERE tenant_id = ? AND category = ? AND shelf IN (?, ?)",
            (asked.tenant, asked.filter.category or "", asked.shelves[0], asked.shelves[-1]),
        )
        return 0 if row is None else int(row[0])

    async def _at_most(self, most: int, rows: _Sql) -> bool:
        """Say whether there are no more rows than that, without counting them all."""
        return await self._number_to(most + 1, rows) <= most

    async def _number_to(self, most: int, rows: _Sql) -> int:
        """Return how many rows there are, counting no further than `most`."""
        return await self._number(rows + _Sql(" LIMIT ?", (most,)))

    async def _looked_at(self, asked: _Wanted) -> int | None:
        priced = _union([_Sql("SELECT p.position AS position") + each for each in _priced(asked)])
        for rows in (_matches(asked), priced):
            if await self._at_most(_MAX_LOOKED_AT, rows):
                return await self._number(_Sql("SELECT 1") + _among(asked, rows))
        return None

    async def _number(self, rows: _Sql) -> int:
        found = await self._search(_Sql("SELECT count(*) FROM (") + rows + ") counted")
        return int(found[0][0])

    async def _search(self, sql: _Sql) -> list[Row]:
        return await self._db.search(sql.text, sql.params)


def _asked(index: WordIndex, tenant: TenantId, wanted: ProductFilter) -> _Wanted | None:
    """Return the list to find, or None if it can have nothing in it."""
    if wanted.category == "":
        return None
    if wanted.search is None:
        return _Wanted(tenant, wanted)
    found = words.words_of(wanted.search)
    return _Wanted(tenant, wanted, found, index) if found else None


def _is_key(key: int | str | None, wanted: ProductFilter, order: Order) -> bool:
    """Say whether a product of the list can have the key."""
    if order.by is not SortBy.PRICE:
        return isinstance(key, _KEY_TYPES[order.by])
    least, most = wanted.min_price or 0, wanted.max_price
    return isinstance(key, int) and least <= key and (most is None or key <= most)


def _walk(asked: _Wanted, order: Order, seek: _Seek | None, depth: int) -> _Sql:
    """Walk along the order's index, on each shelf, and test each entry for what else is wanted.

    No more than `depth` are taken of all.
    """
    tested = _Sql("")
    if asked.words:
        # Found all at once, before the walk, which then needs no row.
        tested += _Sql(" AND p.position + 0 IN (") + _matches(asked) + ")"
    if order.by is not SortBy.PRICE:
        tested += asked.prices_tested()
    key = _KEYS[order.by]
    select = _Sql(f"SELECT p.position AS position, {key} AS k FROM products p WHERE")
    walks = [
        select + asked.shelf(shelf) + start + tested
        for shelf in asked.shelves
        for start in _starts(asked, order, seek)
    ]
    if asked.limits_walks and len(walks) > 1:
        limit = _Sql(_by(key, "p.position", order) + " LIMIT ?", (depth,))
        walks = [
            _Sql("SELECT * FROM (") + walk + limit + f") walk{number}" for number, walk in enumerate(walks)
        ]
    return _union(walks) + _by("k", "position", order)


def _glance(asked: _Wanted, order: Order, seek: _Seek | None, most: int) -> _Sql:
    """Look at the rows at the begin of a walk: where much matches, that is enough."""
    most = min(most, _GLANCE)
    walk = _walk(msgspec.structs.replace(asked, words=()), order, seek, most) + _Sql(" LIMIT ?", (most,))
    looked_at = " JOIN products p ON p.position = w.position WHERE p.shelf + 0 > 0"
    rows = _Sql("SELECT w.position AS position, w.k AS k FROM (") + walk + ") w" + looked_at
    return rows + asked.words_tested() + _by("w.k", "w.position", order)


def _starts(asked: _Wanted, order: Order, seek: _Seek | None) -> list[_Sql]:
    """Return where walks begin: among products with the key of the last one, and behind them.

    An index is entered by one limit on each side, so the last price stands for the one it is within.
    """
    limited = order.by is SortBy.PRICE
    if seek is None:
        return [asked.prices("p.price") if limited else _Sql("")]
    sign = "<" if order.descending else ">"
    if order.by is SortBy.CREATED:
        return [_Sql(f" AND p.position {sign} ?", (seek.position,))]
    key = _KEYS[order.by]
    behind = _Sql(f" AND {key} {sign} ?", (seek.key,))
    if limited:
        behind += asked.min_price("p.price") if order.descending else asked.max_price("p.price")
    return [_Sql(f" AND {key} = ? AND p.position {sign} ?", (seek.key, seek.position)), behind]


def _sorted(asked: _Wanted, order: Order, seek: _Seek | None, rows: _Sql) -> _Sql:
    """Sort rows of which there are few, those that are wanted."""
    key = _KEYS[order.by]
    select = _Sql(f"SELECT p.position AS position, {key} AS k") + _among(asked, rows)
    return select + _behind(order, seek) + _by(key, "p.position", order)


def _behind(order: Order, seek: _Seek | None) -> _Sql:
    """Say which rows are behind the last one, of rows found otherwise."""
    if seek is None:
        return _Sql("")
    sign = "<" if order.descending else ">"
    if order.by is SortBy.CREATED:
        return _Sql(f" AND p.position {sign} ?", (seek.position,))
    pair = f"({_KEYS[order.by]}, p.position)"
    return _Sql(f" AND {pair} {sign} (?, ?)", (seek.key, seek.position))


def _among(asked: _Wanted, rows: _Sql) -> _Sql:
    """Look at rows by their positions, and test each for all that is wanted."""
    # The limit says that these rows come first: they are few.
    chosen = _Sql(" FROM (") + rows + _Sql(" LIMIT ?", (_MAX_LOOKED_AT,)) + ") x"
    tested = asked.shelf_tested() + asked.prices_tested() + asked.words_tested()
    return chosen + " JOIN products p ON p.position = x.position WHERE p.shelf + 0 > 0" + tested


def _matches(asked: _Wanted) -> _Sql:
    """Find the positions of all that match the words."""
    return _Sql(f"SELECT {asked.index.position} AS position") + asked.matches()


def _matched(asked: _Wanted, order: Order, seek: _Seek | None) -> _Sql:
    """Walk along the matches of the words, which the index yields in the order of making."""
    found = asked.index.position
    matches = _Sql(f"SELECT {found} AS position, {found} AS k") + asked.matches()
    if seek is not None:
        matches += _Sql(f" AND {found} {'<' if order.descending else '>'} ?", (seek.position,))
    tested = asked.shelf_tested() + asked.prices_tested()
    if tested.text:
        looked_up = " AND EXISTS (SELECT 1 FROM products p WHERE p.position = " + found
        matches += _Sql(looked_up) + tested + ")"
    return matches + f" ORDER BY {found} {'DESC' if order.descending else 'ASC'}"


def _of_sku(asked: _Wanted, order: Order, seek: _Seek | None = None) -> _Sql:
    """Find the one product with the SKU, if it is wanted otherwise too."""
    sku = _Sql(
        f"SELECT p.position AS position, {_KEYS[order.by]} AS k FROM products p"
        " WHERE p.tenant_id = ? AND p.live_sku = ?",
        (asked.tenant, asked.filter.sku),
    )
    if asked.filter.category is not None:
        sku += _Sql(" AND p.category = ?", (asked.filter.category,))
    tested = asked.shelf_tested() + asked.prices_tested() + asked.words_tested()
    return sku + tested + _behind(order, seek)


def _priced(asked: _Wanted) -> list[_Sql]:
    """Find what has the wanted price, along the index of prices of each shelf."""
    place = _Sql(" FROM products p WHERE")
    return [place + asked.shelf(shelf) + asked.prices("p.price") for shelf in asked.shelves]


def _union(selects: Sequence[_Sql]) -> _Sql:
    joined = selects[0]
    for each in selects[1:]:
        joined = joined + " UNION ALL " + each
    return joined


def _by(key: str, position: str, order: Order) -> str:
    way = "DESC" if order.descending else "ASC"
    if order.by is SortBy.CREATED:
        return f" ORDER BY {position} {way}"
    return f" ORDER BY {key} {way}, {position} {way}"
