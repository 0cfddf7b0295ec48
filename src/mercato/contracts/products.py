"""Products and their stock, as other services see them."""

from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from typing import Protocol

import msgspec

from mercato.contracts.events import Payload
from mercato.kernel.errors import Conflict
from mercato.kernel.ids import OrderId, ProductId
from mercato.kernel.tenancy import TenantId


class OutOfStock(Conflict):
    """There is too little of a product; `details` names each line and what is available."""

    code = "OUT_OF_STOCK"


class PriceChanged(Conflict):
    """The price a client expected is not the catalogue's; `details` has the current ones."""

    code = "PRICE_CHANGED"


class WantedLine(msgspec.Struct, frozen=True):
    """One line to reserve: a product by id or SKU, how many, and the price expected, if any."""

    product: str
    quantity: int
    expected_price: Decimal | None = None


class PricedLine(msgspec.Struct, frozen=True):
    """One line as the catalogue has it. `unit_price` is in minor units."""

    product_id: ProductId
    sku: str
    product_name: str
    quantity: int
    unit_price: int


class Reservation(msgspec.Struct, frozen=True):
    """Stock held for an order until `expires_at`."""

    order_id: OrderId
    currency: str
    lines: tuple[PricedLine, ...]
    expires_at: datetime


class Stock(Protocol):
    """Prices and holds stock for orders."""

    async def reserve(  # noqa: PLR0913  the contract's own parameters, all named
        self,
        tenant: TenantId,
        order_id: OrderId,
        lines: Sequence[WantedLine],
        *,
        currency: str | None,
        until: datetime,
        by: str,
        at: datetime,
    ) -> Reservation:
        """Price the lines and hold their stock for `order_id`, all or none.

        Repeating it for the same order returns the first reservation. Lines naming one
        product twice become one. Raises OutOfStock, PriceChanged, ValidationFailed (an
        unknown product, a currency that is not the store's), Conflict if the order's
        reservation is over, Unavailable.
        """
        ...


class ProductEvent(Payload, frozen=True, kw_only=True):
    """What the events about a product carry. `price` is in minor units."""

    product_id: ProductId
    sku: str
    name: str
    price: int
    currency: str
    category: str | None = None

    @property
    def subject(self) -> str:
        """The product."""
        return self.product_id


class ProductCreated(ProductEvent, frozen=True, kw_only=True):
    """A product came into the catalogue."""

    type = "product.created"


class ProductUpdated(ProductEvent, frozen=True, kw_only=True):
    """A product's description or price changed."""

    type = "product.updated"


class ProductDeleted(ProductEvent, frozen=True, kw_only=True):
    """A product left the catalogue."""

    type = "product.deleted"


class InventoryUpdated(Payload, frozen=True, kw_only=True):
    """A product's stock was counted anew or adjusted."""

    type = "inventory.updated"

    product_id: ProductId
    on_hand: int
    reserved: int

    @property
    def subject(self) -> str:
        """The product."""
        return self.product_id


class StockEvent(Payload, frozen=True, kw_only=True):
    """What the events about an order's stock carry."""

    order_id: OrderId

    @property
    def subject(self) -> str:
        """The order."""
        return self.order_id


class StockReserved(StockEvent, frozen=True, kw_only=True):
    """An order's stock is held until `expires_at`."""

    type = "stock.reserved"

    expires_at: datetime


class StockRejected(StockEvent, frozen=True, kw_only=True):
    """An order's stock cannot be held, and `reason` says why."""

    type = "stock.rejected"

    reason: str


class StockTaken(StockEvent, frozen=True, kw_only=True):
    """An order's stock has left the shelf: it is paid for."""

    type = "stock.taken"


class StockReleased(StockEvent, frozen=True, kw_only=True):
    """An order's stock is back."""

    type = "stock.released"
