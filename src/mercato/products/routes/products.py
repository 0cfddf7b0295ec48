"""One product over HTTP."""

import msgspec
from msgspec import UNSET, UnsetType

from mercato.adapters.cache.port import Cache
from mercato.kernel.errors import NotFound
from mercato.kernel.ids import ProductId, is_id
from mercato.kernel.money import Amount
from mercato.kernel.tenancy import TenantId
from mercato.kernel.versions import VersionMismatch
from mercato.products.domain import DuplicateSku, NewProduct, ProductChange
from mercato.products.ports import CatalogueStore
from mercato.products.routes.fields import Category, Description, Name, Quantity, Sku
from mercato.products.service.catalogue import Catalogue
from mercato.products.views import ProductView, product_view
from mercato.web.call import Call
from mercato.web.decode import Body
from mercato.web.endpoint import ADMINS, PUBLIC, Routes
from mercato.web.envelope import Encoded, encode

_HIT = (("x-cache", "HIT"),)
_MISS = (("x-cache", "MISS"),)
_EXAMPLE = {"sku": "MUG-1", "name": "Mug", "price": 19.99, "category": "Kitchen"}


class CreateProduct(Body, frozen=True):
    """A new product. `price` is in the store's currency."""

    sku: Sku
    name: Name
    price: Amount
    description: Description | None = None
    category: Category | None = None
    stock: Quantity = 0


class ReplaceProduct(Body, frozen=True):
    """All of a product. What is left out is nothing."""

    sku: Sku
    name: Name
    price: Amount
    description: Description | None = None
    category: Category | None = None


class EditProduct(Body, frozen=True):
    """What is to be different of a product. What is left out stays."""

    sku: Sku | UnsetType = UNSET
    name: Name | UnsetType = UNSET
    price: Amount | UnsetType = UNSET
    description: Description | UnsetType | None = UNSET
    category: Category | UnsetType | None = UNSET


def products(declared: Routes, catalogue: Catalogue, store: CatalogueStore, cache: Cache) -> None:
    """Declare the endpoints."""
    _create(declared, catalogue)
    _get(declared, store, cache)
    _edit(declared, catalogue)


def _create(declared: Routes, catalogue: Catalogue) -> None:
    @declared.post(
        "",
        status=201,
        allow=ADMINS,
        idempotent=True,
        raises=(DuplicateSku,),
        example={**_EXAMPLE, "stock": 5},
    )
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


def _get(declared: Routes, store: CatalogueStore, cache: Cache) -> None:
    async def load(tenant: TenantId, product_id: str) -> bytes:
        product = await store.find(tenant, ProductId(product_id)) if is_id(product_id) else None
        if product is None:
            raise NotFound("There is no such product.")
        view = product_view(product)
        # The tag is kept before the data, so that a hit decodes nothing.
        return view.etag.encode() + b"\n" + encode(view)

    @declared.get("/{product_id}", allow=PUBLIC, raises=(NotFound,))
    async def get(call: Call, product_id: str) -> Encoded[ProductView]:
        """Show a product."""
        key = (call.tenant, product_id)
        kept, headers = cache.get(key), _HIT
        if kept is None:
            kept, headers = await cache.load(key, lambda: load(call.tenant, product_id)), _MISS
        etag, _, data = kept.partition(b"\n")
        return Encoded(data, headers, etag.decode())


def _edit(declared: Routes, catalogue: Catalogue) -> None:
    async def change(call: Call, product_id: str, change: ProductChange) -> ProductView:
        product = await catalogue.change(
            call.tenant, product_id, change, call.expected, by=call.cause(product_view), at=call.now
        )
        return product_view(product)

    refusals = (NotFound, DuplicateSku, VersionMismatch)

    @declared.put("/{product_id}", allow=ADMINS, versioned=True, raises=refusals, example=_EXAMPLE)
    async def replace(call: Call, product_id: str, body: ReplaceProduct) -> ProductView:
        """Replace what describes a product; its stock stays."""
        return await change(call, product_id, _change(body))

    @declared.patch("/{product_id}", allow=ADMINS, versioned=True, raises=refusals, example={"price": 17.5})
    async def edit(call: Call, product_id: str, body: EditProduct) -> ProductView:
        """Change some of what describes a product."""
        return await change(call, product_id, _change(body))

    @declared.delete("/{product_id}", allow=ADMINS, versioned=True, raises=(NotFound, VersionMismatch))
    async def delete(call: Call, product_id: str) -> None:
        """Take a product out of the catalogue. Its SKU is free at once; its orders go on."""
        await catalogue.delete(call.tenant, product_id, call.expected, by=call.part(), at=call.now)


def _change(body: ReplaceProduct | EditProduct) -> ProductChange:
    return ProductChange(**msgspec.structs.asdict(body))
