"""What products needs of its database."""

import enum
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Protocol

import msgspec

from mercato.contracts import product_reading
from mercato.contracts.events import Events
from mercato.contracts.product_reading import ProductSort
from mercato.kernel.cause import ByCall, Cause, Claim
from mercato.kernel.ids import OrderId, ProductId
from mercato.kernel.paging import Window
from mercato.kernel.tenancy import TenantId
from mercato.products.domain import Hold, Inventory, Movement, Outcome, Product, Short
from mercato.products.domain.importing import Batch, Decided, ImportRow, Progress, Report

Change = Callable[[Product], tuple[Product, Events]]
"""Decides a change of a product. Pure; it may run again. Returning the very product changes nothing."""

Count = Callable[[Inventory], tuple[Inventory, tuple[Movement, ...], Events]]
"""Decides a change of a product's inventory. Pure; it may run again."""

Decide = Callable[[Hold | None, Mapping[str, Product]], Outcome]
"""Decides what becomes of an order's hold, if it has one, given the products found.

Pure; it may run again. Returning the very hold it was given changes nothing.
"""

DecideRow = Callable[[ImportRow, Product | None, Inventory | None], Decided]
"""Decides what a line of an import does, given the product that has its SKU, and its stock.

It raises what is wrong with the line. Pure; it may run again.
"""


class Shortage(Exception):
    """Too little is available; the step is rolled back."""

    def __init__(self, short: Sequence[Short]) -> None:
        super().__init__(", ".join(map(str, short)))
        self.short = tuple(short)


class ProductFilter(msgspec.Struct, frozen=True):
    """Which products are wanted; None wants all. Prices are in minor units.

    A `search` wants products that have all its words; one without a word finds nothing.
    """

    search: str | None = None
    category: str | None = None
    sku: str | None = None
    min_price: int | None = None
    max_price: int | None = None
    in_stock: bool | None = None


class SortBy(enum.StrEnum):
    """What products can be sorted by."""

    CREATED = "created_at"
    PRICE = "price"
    NAME = "name"


class Order(msgspec.Struct, frozen=True):
    """The order of a list. Products that are equal in it are in the order they were made in."""

    by: SortBy
    descending: bool

    @classmethod
    def named(cls, sort: ProductSort) -> "Order":
        """Return the order that a list is asked for in."""
        return cls(SortBy(sort.removeprefix("-")), sort.startswith("-"))


class After(msgspec.Struct, frozen=True):
    """The last product of the page before: what it was sorted by then, and its id."""

    key: int | str | None
    id: ProductId


class Part(msgspec.Struct, frozen=True):
    """Which part of a list is wanted, and one more to see whether there are more."""

    limit: int
    offset: int = 0
    after: After | None = None


class Listed(msgspec.Struct, frozen=True):
    """A product of a list, and the key it was sorted by; by creation it has none."""

    product: Product
    key: int | str | None


class Exported(msgspec.Struct, frozen=True):
    """A product as it is exported, with its stock."""

    product: Product
    on_hand: int


class MovementRecord(msgspec.Struct, frozen=True):
    """A movement as it was written down. `actor` is the user or what else made it."""

    id: str
    movement: Movement
    actor: str
    at: datetime


class CatalogueStore(Protocol):
    """Keeps products and their stock. A deleted product is not there, in all that is asked."""

    async def add(
        self, product: Product, opening: Sequence[Movement], events: Events, *, by: Cause
    ) -> Product:
        """Store a new product with its opening stock, and return it. Raises DuplicateSku.

        It counts as made no earlier than the product before it.
        """
        ...

    async def find(self, tenant: TenantId, product_id: ProductId) -> Product | None:
        """Return the product."""
        ...

    async def change(self, tenant: TenantId, product_id: ProductId, change: Change, *, by: Cause) -> Product:
        """Change a product in one step. Raises NotFound, DuplicateSku, and what `change` raises."""
        ...

    async def delete(self, tenant: TenantId, product_id: ProductId, change: Change, *, by: Cause) -> None:
        """Take a product out of the catalogue in one step. Raises NotFound, and what `change` raises."""
        ...

    async def inventory(self, tenant: TenantId, product_id: ProductId) -> Inventory | None:
        """Return a product's stock, read fresh."""
        ...

    async def change_inventory(
        self, tenant: TenantId, product_id: ProductId, count: Count, *, by: Cause
    ) -> Inventory:
        """Change a product's stock in one step. Raises NotFound, and what `count` raises."""
        ...

    async def movements(
        self, tenant: TenantId, product_id: ProductId, window: Window
    ) -> list[MovementRecord]:
        """Return up to `window.fetch` movements of a product, newest first; `window.after` is an id."""
        ...

    async def count_movements(self, tenant: TenantId, product_id: ProductId) -> int:
        """Return how many movements a product has had."""
        ...


class CatalogueReads(Protocol):
    """Reads the catalogue for others, fresh, each call in one statement."""

    async def many(self, tenant: TenantId, product_ids: Sequence[str]) -> list[product_reading.Product]:
        """Return those of the products that are in the catalogue."""
        ...

    async def inventories(
        self, tenant: TenantId, product_ids: Sequence[str]
    ) -> list[product_reading.Inventory]:
        """Return the stock of those of the products that are in the catalogue."""
        ...


class ProductLists(Protocol):
    """Lists the products of a store that are in its catalogue."""

    async def page(self, tenant: TenantId, wanted: ProductFilter, order: Order, part: Part) -> list[Listed]:
        """Return up to `part.limit + 1` products.

        Raises ValidationFailed for an `after` that is no product of the store.
        """
        ...

    async def count(self, tenant: TenantId, wanted: ProductFilter) -> int | None:
        """Return how many products there are; None where that would take too long to find out."""
        ...

    async def export(self, tenant: TenantId, after: ProductId | None, limit: int) -> list[Exported]:
        """Return the `limit` products that were made next after one, with their stock."""
        ...


class Lease(msgspec.Struct, frozen=True):
    """A claim that a call goes on holding until then."""

    claim: Claim
    until: datetime


class ImportStore(Protocol):
    """Writes imports, and how far they have come."""

    async def find(self, tenant: TenantId, import_id: str) -> Progress | None:
        """Return how far an import has come, if anything of it is done."""
        ...

    async def apply(
        self,
        tenant: TenantId,
        batch: Batch,
        decide: DecideRow,
        *,
        lease: Lease | None = None,
        by: ByCall,
        at: datetime,
    ) -> Report:
        """Carry out the batch's lines in one step and return the report, with them in it.

        Where there is a claim, the import's progress is stored in that step: under the `lease`,
        which is made longer, or for the last step under the claim of `by`. Raises ClaimLost, and
        what is wrong with the lines of a batch that is all or nothing.
        """
        ...


class HoldStore(Protocol):
    """Keeps what orders hold."""

    async def change(
        self,
        tenant: TenantId,
        order_id: OrderId,
        decide: Decide,
        *,
        products: Sequence[str] = (),
        by: Cause,
        at: datetime,
    ) -> Hold | None:
        """Decide on an order's hold and carry it out in one step, all or nothing.

        `products` are ids and SKUs; those that exist are given to `decide` under these names.
        Raises Shortage, and what `decide` raises.
        """
        ...

    async def due(self, at: datetime, limit: int) -> list[Hold]:
        """Return holds of any store that are to be checked, the most overdue first."""
        ...
