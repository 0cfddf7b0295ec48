"""The HTTP endpoints of products."""

from typing import Annotated

import msgspec

from mercato.adapters.cache.port import Cache
from mercato.kernel.errors import NotFound
from mercato.kernel.ids import ProductId, is_id
from mercato.kernel.money import Amount
from mercato.kernel.tenancy import TenantId
from mercato.kernel.text import LINE_PATTERN
from mercato.products.domain import (
    MAX_QUANTITY,
    SKU_PATTERN,
    SKU_WORDS,
    DuplicateSku,
    NewProduct,
    StockIsReserved,
)
from mercato.products.ports import CatalogueStore, ProductFilter
from mercato.products.service.catalogue import Catalogue
from mercato.products.views import InventoryView, ProductView, inventory_view, product_view
from mercato.web.call import Call
from mercato.web.decode import Body
from mercato.web.endpoint import ADMINS, PUBLIC, SIGNED_IN, Routes
from mercato.web.envelope import Encoded, Page, encode
from mercato.web.idempotency import Claims
from mercato.web.paging import ListQuery, newest_first

_HIT = (("x-cache", "HIT"),)
_MISS = (("x-cache", "MISS"),)

_Quantity = Annotated[int, msgspec.Meta(ge=0, le=MAX_QUANTITY)]
_Name = Annotated[
    str, msgspec.Meta(max_length=200, pattern=LINE_PATTERN, description="one line of 1 to 200 characters")
]
_Category = Annotated[
    str, msgspec.Meta(max_length=100, pattern=LINE_PATTERN, description="one line of 1 to 100 characters")
]


class CreateProduct(Body, frozen=True):
    """A new product. `price` is in the store's currency."""

    sku: Annotated[str, msgspec.Meta(pattern=SKU_PATTERN, description=SKU_WORDS)]
    name: _Name
    price: Amount
    description: Annotated[str, msgspec.Meta(max_length=10_000)] | None = None
    category: _Category | None = None
    stock: _Quantity = 0


class SetInventory(Body, frozen=True):
    """What was counted. Without a `warehouse_location`, that stays as it is."""

    stock_quantity: _Quantity
    warehouse_location: Annotated[str, msgspec.Meta(max_length=200)] | None = None


class ProductQuery(ListQuery, frozen=True):
    """Which products to list."""

    category: Annotated[str, msgspec.Meta(max_length=100)] | None = None
    sku: Annotated[str, msgspec.Meta(max_length=64)] | None = None


def routes(catalogue: Catalogue, store: CatalogueStore, cache: Cache, claims: Claims) -> Routes:
    """Declare the endpoints."""
    declared = Routes("products", prefix="/api/v1/products", claims=claims)
    _products(declared, catalogue, store, cache)
    _inventory(declared, catalogue, store)
    return declared


def _products(declared: Routes, catalogue: Catalogue, store: CatalogueStore, cache: Cache) -> None:
    async def load(tenant: TenantId, product_id: str) -> bytes:
        product = await store.find(tenant, ProductId(product_id)) if is_id(product_id) else None
        if product is None:
            raise NotFound("There is no such product.")
        return encode(product_view(product))

    @declared.post("", status=201, allow=ADMINS, idempotent=True, raises=(DuplicateSku,))
    async def create(call: Call, body: CreateProduct) -> ProductView:
        """Add a product to the catalogue."""
        draft = NewProduct(
            sku=body.sku,
            name=body.name,
            price=body.price,
            description=body.description,
            category=body.category,
            stock=body.stock,
        )
        product = await catalogue.create(
            call.tenant, ProductId(call.new_id()), draft, by=call.cause(product_view), at=call.now
        )
        return product_view(product)

    @declared.get("", allow=PUBLIC)
    async def list_products(call: Call, query: ProductQuery) -> Page[ProductView]:
        """List products, newest first."""
        wanted = ProductFilter(category=query.category, sku=query.sku)
        return await newest_first(
            query,
            lambda part: store.page(call.tenant, wanted, part),
            lambda: store.count(call.tenant, wanted),
            product_view,
        )

    @declared.get("/{product_id}", allow=PUBLIC, raises=(NotFound,))
    async def get(call: Call, product_id: str) -> Encoded[ProductView]:
        """Show a product."""
        key = (call.tenant, product_id)
        kept = cache.get(key)
        if kept is not None:
            return Encoded(kept, _HIT)
        return Encoded(await cache.load(key, lambda: load(call.tenant, product_id)), _MISS)


def _inventory(declared: Routes, catalogue: Catalogue, store: CatalogueStore) -> None:
    @declared.get("/{product_id}/inventory", allow=SIGNED_IN, raises=(NotFound,))
    async def inventory(call: Call, product_id: str) -> InventoryView:
        """Show a product's stock."""
        found = await store.inventory(call.tenant, ProductId(product_id)) if is_id(product_id) else None
        if found is None:
            raise NotFound("There is no such product.")
        return inventory_view(found)

    @declared.put("/{product_id}/inventory", allow=ADMINS, raises=(NotFound, StockIsReserved))
    async def set_inventory(call: Call, product_id: str, body: SetInventory) -> InventoryView:
        """Set what is on hand of a product."""
        counted = await catalogue.count(
            call.tenant,
            product_id,
            body.stock_quantity,
            body.warehouse_location,
            by=call.cause(inventory_view),
            at=call.now,
        )
        return inventory_view(counted)
