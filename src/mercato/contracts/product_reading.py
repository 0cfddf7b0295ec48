"""Products and their stock, as whoever may read them sees them."""

from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from typing import Literal, Protocol

import msgspec

from mercato.contracts.reading import Listed
from mercato.kernel.ids import ProductId
from mercato.kernel.paging import Window
from mercato.kernel.principal import Principal
from mercato.kernel.tenancy import TenantId

ProductSort = Literal["-created_at", "created_at", "price", "-price", "name", "-name"]
"""What a list is sorted by; `-` is for descending."""


class Product(msgspec.Struct, frozen=True):
    """A product of a store. `price` is in minor units; `in_stock` says if any is available."""

    id: ProductId
    tenant_id: TenantId
    sku: str
    name: str
    description: str | None
    price: int
    currency: str
    category: str | None
    in_stock: bool
    created_at: datetime
    updated_at: datetime
    version: int


class Inventory(msgspec.Struct, frozen=True):
    """What there is of a product on the shelf."""

    product_id: ProductId
    on_hand: int
    reserved: int
    warehouse_location: str | None
    updated_at: datetime
    version: int

    @property
    def available(self) -> int:
        """What no order has reserved."""
        return self.on_hand - self.reserved


class ProductsWanted(msgspec.Struct, frozen=True, kw_only=True):
    """Which products a list holds; None leaves a criterion open. Prices are in the store's currency.

    A `search` wants products that have all its words; one without a word finds nothing.
    """

    search: str | None = None
    category: str | None = None
    sku: str | None = None
    min_price: Decimal | None = None
    max_price: Decimal | None = None
    in_stock: bool | None = None
    sort: ProductSort = "-created_at"


class ProductReader(Protocol):
    """Reads what is in a store's catalogue, fresh. Everybody may, and nobody has to say who they are.

    Raises ValidationFailed for what is out of bounds, and Unavailable.
    """

    async def page(self, tenant: TenantId, wanted: ProductsWanted, window: Window) -> Listed[Product]:
        """Return a part of a list. Raises ValidationFailed also for an `after` of another list.

        `total` is None also where a search with further conditions finds too much to count.
        """
        ...

    async def many(self, tenant: TenantId, product_ids: Sequence[str]) -> dict[ProductId, Product]:
        """Return those of the products that are in the catalogue."""
        ...

    async def inventories(self, caller: Principal, product_ids: Sequence[str]) -> dict[ProductId, Inventory]:
        """Return the stock of those of the products that are in the catalogue.

        Whoever has signed in may see it. A machine needs no scope.
        """
        ...
