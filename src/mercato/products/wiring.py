"""Builds products from its database, its neighbours and its settings."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta

from mercato.adapters.cache.coherence import coherent
from mercato.adapters.cache.lists import ListCache
from mercato.adapters.cache.memory import MemoryCache
from mercato.adapters.service import ServiceParts, Worker
from mercato.adapters.signals.port import NO_SIGNALS, Signals
from mercato.adapters.sql.claims import SqlClaims
from mercato.adapters.sql.database import Database
from mercato.adapters.sql.steps import Steps
from mercato.contracts.orders import OrderDesk
from mercato.contracts.product_reading import ProductReader
from mercato.contracts.products import Stock
from mercato.contracts.stock_books import HoldBook, StockBook
from mercato.contracts.stores import StoreDirectory
from mercato.kernel.clock import Clock
from mercato.products.routes import routes
from mercato.products.service.catalogue import Catalogue, Currencies
from mercato.products.service.imports import Imports
from mercato.products.service.lists import Lists
from mercato.products.service.orphans import Orphans
from mercato.products.service.reading import ProductReading
from mercato.products.service.reservations import Reservations
from mercato.products.stores.ledger import Ledger, stock_books
from mercato.products.stores.lists import SqlProductLists
from mercato.products.stores.reading import SqlCatalogueReads
from mercato.products.stores.sql import SqlCatalogue
from mercato.products.stores.sql_holds import SqlHolds, hold_books
from mercato.products.stores.sql_imports import SqlImports
from mercato.products.subscribers import FAMILIES, handlers
from mercato.products.workers import orphan_sweep
from mercato.web.idempotency import LEASE

NAME = "products"


@dataclass(frozen=True, slots=True)
class ProductsSettings:
    """What may be configured of products."""

    cache_ttl: timedelta = timedelta(minutes=5)
    cache_entries: int = 20_000
    cache_bytes: int = 16 * 1024 * 1024
    """For products, and as much again for lists."""
    list_ttl: timedelta = timedelta(minutes=2)
    max_import: int = 1 << 30
    """In bytes."""
    hold_grace: timedelta = timedelta(seconds=60)
    """How long after its expiry a hold is left alone; longer than any placement takes."""
    orphan_sweep_s: float = 5.0
    desk_deadline_s: float = 2.0


@dataclass(frozen=True, slots=True)
class Products:
    """The products service, and what it is to others."""

    parts: ServiceParts
    stock: Stock
    orphan_worker: Callable[[OrderDesk], Worker]
    """Makes the worker that asks orders about holds past their time."""
    reader: ProductReader
    books: Callable[[], Awaitable[tuple[list[StockBook], list[HoldBook]]]]
    """Reads the books of every store. Each book is of one moment, the two lists are not."""


def build(
    db: Database,
    *,
    clock: Clock,
    stores: StoreDirectory,
    settings: ProductsSettings,
    signals: Signals = NO_SIGNALS,
) -> Products:
    """Wire products on its own database, whose schema is there already. `signals` reach its replicas."""
    steps, claims = Steps(db, source=f"/mercato/{NAME}", clock=clock), SqlClaims(db)
    cache, list_cache = _memory(settings, settings.cache_ttl), ListCache(_memory(settings, settings.list_ttl))

    def invalidate(tenant: str, product_id: str) -> None:
        cache.invalidate((tenant, product_id))
        list_cache.invalidate(tenant)

    changed = coherent(NAME, signals, invalidate, cache, list_cache)
    ledger = Ledger(changed)
    holds = SqlHolds(steps, ledger)
    reservations = Reservations(holds, clock=clock, grace=settings.hold_grace)

    def orphan_worker(desk: OrderDesk) -> Worker:
        orphans = Orphans(
            holds, desk, clock=clock, again_after=settings.hold_grace, deadline_s=settings.desk_deadline_s
        )
        return orphan_sweep(orphans, every_s=settings.orphan_sweep_s)

    async def books() -> tuple[list[StockBook], list[HoldBook]]:
        return await stock_books(db), await hold_books(db)

    catalogue, listed = SqlCatalogue(steps, ledger, changed), SqlProductLists(db)
    imports, currencies = SqlImports(steps, ledger, changed), Currencies(stores)
    read = Lists(listed, currencies)
    cached = (*cache.measures("products"), *list_cache.measures("product_lists"))
    endpoints = routes(
        Catalogue(catalogue, currencies),
        catalogue,
        listed,
        Imports(imports, currencies, clock=clock, lease=LEASE),
        read,
        cache=cache,
        list_cache=list_cache,
        claims=claims,
        max_import=settings.max_import,
    )
    return Products(
        parts=ServiceParts(
            name=NAME,
            steps=steps,
            claims=claims,
            routes=endpoints,
            handlers=handlers(reservations),
            families=FAMILIES,
            measures=(reservations.stock_outs, *cached),
        ),
        stock=reservations,
        orphan_worker=orphan_worker,
        books=books,
        reader=ProductReading(SqlCatalogueReads(db), read),
    )


def _memory(settings: ProductsSettings, ttl: timedelta) -> MemoryCache:
    return MemoryCache(
        ttl_s=ttl.total_seconds(), max_entries=settings.cache_entries, max_bytes=settings.cache_bytes
    )
