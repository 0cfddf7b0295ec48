"""Products for clients of the AWS SaaS reference architecture: see docs/reference-clients.md."""

from typing import Annotated

import msgspec
from msgspec import UNSET, UnsetType

from mercato.kernel.errors import NotFound, ValidationFailed
from mercato.kernel.ids import ProductId, is_id
from mercato.kernel.money import Amount
from mercato.kernel.text import BLANK_OR_LINE_PATTERN
from mercato.kernel.versions import VersionMismatch
from mercato.products.domain import DuplicateSku, NewProduct, Product, ProductChange
from mercato.products.ports import CatalogueStore, Order, ProductFilter, SortBy
from mercato.products.routes.fields import Name, Sku
from mercato.products.routes.lists import ProductPages
from mercato.products.service.catalogue import Catalogue
from mercato.products.views import FlatInventory, FlatProduct, flat_inventory, flat_product
from mercato.web import dialect
from mercato.web.call import Call
from mercato.web.endpoint import ADMINS, PUBLIC, SIGNED_IN, Routes
from mercato.web.envelope import Encoded, Page, Reply
from mercato.web.etag import tag
from mercato.web.flat import FlatBody, FlatListQuery, fixed, local_id
from mercato.web.paging import window

DIALECT = dialect.flat({})

_NEWEST_FIRST = Order(SortBy.CREATED, descending=True)
_EXAMPLE = {"name": "Mug", "price": 19.99, "sku": "MUG-1", "category": "Kitchen"}
_Category = Annotated[
    str,
    msgspec.Meta(
        max_length=100, pattern=BLANK_OR_LINE_PATTERN, description="one line of up to 100 characters"
    ),
]


class CreateFlatProduct(FlatBody, frozen=True):
    """A new product. Forms send an empty category where none was chosen."""

    name: Name
    price: Amount
    sku: Sku
    category: _Category | None = None


class ChangeFlatProduct(FlatBody, frozen=True):
    """A product as it is to be. What is left out stays; ids may be sent back as they were."""

    product_id: str | None = None
    tenant_id: str | None = None
    name: Name | UnsetType = UNSET
    price: Amount | UnsetType = UNSET
    sku: Sku | UnsetType = UNSET
    category: _Category | UnsetType | None = UNSET


def flat(declared: Routes, catalogue: Catalogue, store: CatalogueStore, pages: ProductPages) -> None:
    """Declare the endpoints."""
    _reading(declared, store, pages)
    _writing(declared, catalogue)


def _reading(declared: Routes, store: CatalogueStore, pages: ProductPages) -> None:
    @declared.get("", allow=PUBLIC)
    async def list_products(call: Call, query: FlatListQuery) -> Encoded[Page[FlatProduct]]:
        """List all products, newest first."""
        return await pages.read(
            call.tenant, ProductFilter(), _NEWEST_FIRST, window(query.listed), flat_product
        )

    @declared.get("/{product_id}", allow=PUBLIC, raises=(NotFound,))
    async def product(call: Call, product_id: str) -> Reply[FlatProduct]:
        """Show a product."""
        named = local_id(call, product_id)
        found = await store.find(call.tenant, ProductId(named)) if is_id(named) else None
        if found is None:
            raise NotFound("There is no such product.")
        return _shown(found)

    @declared.get("/{product_id}/inventory", allow=SIGNED_IN, scope=None, raises=(NotFound,))
    async def inventory(call: Call, product_id: str) -> Reply[FlatInventory]:
        """Show a product's stock."""
        named = local_id(call, product_id)
        stock = await store.inventory(call.tenant, ProductId(named)) if is_id(named) else None
        if stock is None:
            raise NotFound("There is no such product.")
        return Reply(flat_inventory(stock), headers=(("etag", tag(stock.version)),))


def _writing(declared: Routes, catalogue: Catalogue) -> None:
    @declared.post("", status=201, allow=ADMINS, idempotent=True, raises=(DuplicateSku,), example=_EXAMPLE)
    async def create(call: Call, body: CreateFlatProduct) -> Reply[FlatProduct]:
        """Add a product to the catalogue."""
        draft = NewProduct(body.sku, body.name, body.price, category=body.category or None)
        made = await catalogue.create(
            call.tenant, ProductId(call.new_id()), draft, by=call.cause(flat_product), at=call.now
        )
        return _shown(made)

    @declared.put(
        "/{product_id}",
        allow=ADMINS,
        versioned=True,
        raises=(NotFound, DuplicateSku, VersionMismatch),
        example=_EXAMPLE,
    )
    async def change(call: Call, product_id: str, body: ChangeFlatProduct) -> Reply[FlatProduct]:
        """Change a product; its stock and its description stay."""
        named = local_id(call, product_id)
        own = (named, f"{call.tenant}:{named}")
        changed = await catalogue.change(
            call.tenant, named, _change(body, call.tenant, own), call.expected, by=call.part(), at=call.now
        )
        return _shown(changed)

    @declared.delete("/{product_id}", allow=ADMINS, versioned=True, raises=(NotFound, VersionMismatch))
    async def delete(call: Call, product_id: str) -> None:
        """Take a product out of the catalogue. Its SKU is free at once; its orders go on."""
        named = local_id(call, product_id)
        await catalogue.delete(call.tenant, named, call.expected, by=call.part(), at=call.now)


def _change(body: ChangeFlatProduct, tenant: str, own: tuple[str, ...]) -> ProductChange:
    """Return what is to change. Raises ValidationFailed for ids that are other ones."""
    refused = fixed("productId", body.product_id, *own) + fixed("tenantId", body.tenant_id, tenant)
    if refused:
        raise ValidationFailed.of(*refused)
    category = body.category if isinstance(body.category, UnsetType) else body.category or None
    return ProductChange(sku=body.sku, name=body.name, price=body.price, category=category)


def _shown(product: Product) -> Reply[FlatProduct]:
    return Reply(flat_product(product), headers=(("etag", tag(product.version)),))
