"""The HTTP endpoints of products."""

from mercato.adapters.cache.lists import ListCache
from mercato.adapters.cache.port import Cache
from mercato.products.ports import CatalogueStore, ProductLists
from mercato.products.routes.flat import DIALECT, flat
from mercato.products.routes.inventory import inventory
from mercato.products.routes.lists import ProductPages, lists
from mercato.products.routes.products import products
from mercato.products.routes.transfer import transfer
from mercato.products.service.catalogue import Catalogue
from mercato.products.service.imports import Imports
from mercato.products.service.lists import Lists
from mercato.web.endpoint import Routes
from mercato.web.idempotency import Claims


def routes(  # noqa: PLR0913  each is one collaborator
    catalogue: Catalogue,
    store: CatalogueStore,
    listed: ProductLists,
    imports: Imports,
    read: Lists,
    *,
    cache: Cache,
    list_cache: ListCache,
    claims: Claims,
    max_import: int,
) -> Routes:
    """Declare the endpoints. `max_import` is the bytes that an import's file may have."""
    declared = Routes("products", prefix="/api/v1/products", claims=claims)
    pages = ProductPages(read, list_cache)
    lists(declared, pages, read)
    products(declared, catalogue, store, cache)
    inventory(declared, catalogue, store)
    transfer(declared, imports, listed, max_import=max_import)
    flat(declared.speaking(DIALECT, prefix="/products"), catalogue, store, pages)
    return declared
