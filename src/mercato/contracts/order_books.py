"""What reconciliation reads of orders."""

import msgspec

from mercato.contracts.orders import OrderStatus, StockState
from mercato.kernel.ids import OrderId, ProductId
from mercato.kernel.tenancy import TenantId


class OrderBook(msgspec.Struct, frozen=True, kw_only=True):
    """One order as orders has it. `total_amount` is in minor units."""

    tenant_id: TenantId
    order_id: OrderId
    status: OrderStatus
    payment_status: str
    stock: StockState
    total_amount: int
    lines: tuple[tuple[ProductId, int], ...]
    """Product and quantity."""
