"""A product's stock over HTTP."""

from typing import Annotated

import msgspec

from mercato.kernel.errors import NotFound
from mercato.kernel.ids import ProductId, is_id
from mercato.kernel.tenancy import TenantId
from mercato.kernel.versions import VersionMismatch
from mercato.products.domain import MAX_QUANTITY, Inventory, NotSoMany, StockIsReserved, adjust, count
from mercato.products.ports import CatalogueStore
from mercato.products.routes.fields import Quantity, Reason
from mercato.products.service.catalogue import Catalogue
from mercato.products.views import InventoryView, MovementView, inventory_view, movement_view
from mercato.web.call import Call
from mercato.web.decode import Body
from mercato.web.endpoint import ADMINS, SIGNED_IN, Routes
from mercato.web.envelope import Page
from mercato.web.paging import ListQuery, newest_first


class SetInventory(Body, frozen=True):
    """What was counted. Without a `warehouse_location`, that stays as it is."""

    stock_quantity: Quantity
    warehouse_location: Annotated[str, msgspec.Meta(max_length=200)] | None = None


class AdjustInventory(Body, frozen=True):
    """How much more or, below 0, less there is on hand, and why."""

    delta: Annotated[int, msgspec.Meta(ge=-MAX_QUANTITY, le=MAX_QUANTITY)]
    reason: Reason


def inventory(declared: Routes, catalogue: Catalogue, store: CatalogueStore) -> None:
    """Declare the endpoints."""
    _show(declared, store)
    _change(declared, catalogue)


def _show(declared: Routes, store: CatalogueStore) -> None:
    async def found(tenant: TenantId, product_id: str) -> Inventory:
        stock = await store.inventory(tenant, ProductId(product_id)) if is_id(product_id) else None
        if stock is None:
            raise NotFound("There is no such product.")
        return stock

    # Machines may see stock as every customer may, whatever else they were given.
    @declared.get("/{product_id}/inventory", allow=SIGNED_IN, scope=None, raises=(NotFound,))
    async def inventory(call: Call, product_id: str) -> InventoryView:
        """Show a product's stock."""
        return inventory_view(await found(call.tenant, product_id))

    @declared.get("/{product_id}/inventory/movements", allow=ADMINS, raises=(NotFound,))
    async def movements(call: Call, product_id: str, query: ListQuery) -> Page[MovementView]:
        """List what has changed a product's stock, newest first."""
        stock = await found(call.tenant, product_id)
        return await newest_first(
            query,
            lambda part: store.movements(call.tenant, stock.product_id, part),
            lambda: store.count_movements(call.tenant, stock.product_id),
            movement_view,
        )


def _change(declared: Routes, catalogue: Catalogue) -> None:
    @declared.put(
        "/{product_id}/inventory",
        allow=ADMINS,
        versioned=True,
        raises=(NotFound, StockIsReserved, VersionMismatch),
        example={"stock_quantity": 12, "warehouse_location": "A-1"},
    )
    async def set_inventory(call: Call, product_id: str, body: SetInventory) -> InventoryView:
        """Set what is on hand of a product."""
        quantity, location = body.stock_quantity, body.warehouse_location
        counted = await catalogue.change_stock(
            call.tenant,
            product_id,
            lambda stock: count(stock, quantity, location, tenant=call.tenant, at=call.now),
            call.expected,
            by=call.cause(inventory_view),
        )
        return inventory_view(counted)

    @declared.post(
        "/{product_id}/inventory/adjust",
        allow=ADMINS,
        versioned=True,
        idempotent=True,
        raises=(NotFound, NotSoMany, VersionMismatch),
        example={"delta": -2, "reason": "broken in the warehouse"},
    )
    async def adjust_inventory(call: Call, product_id: str, body: AdjustInventory) -> InventoryView:
        """Change what is on hand of a product by a difference."""
        adjusted = await catalogue.change_stock(
            call.tenant,
            product_id,
            lambda stock: adjust(stock, body.delta, body.reason, tenant=call.tenant, at=call.now),
            call.expected,
            by=call.cause(inventory_view),
        )
        return inventory_view(adjusted)
