"""The books of stock, as reconciliation reads them."""

import msgspec

from mercato.kernel.ids import OrderId, ProductId
from mercato.kernel.tenancy import TenantId


class StockBook(msgspec.Struct, frozen=True):
    """A product's stock as it stands, and as its movements add up. They must be equal."""

    tenant_id: TenantId
    product_id: ProductId
    on_hand: int
    reserved: int
    moved_on_hand: int
    moved_reserved: int


class HoldBook(msgspec.Struct, frozen=True):
    """The stock of one order: `held`, `taken` or `released`, by product and quantity.

    What is held of a product in all holds together must be what the product has reserved.
    """

    tenant_id: TenantId
    order_id: OrderId
    state: str
    lines: tuple[tuple[ProductId, int], ...]
