"""What is told of orders, counted from their events as these are committed: each happens once."""

from collections.abc import Sequence

from mercato.contracts.events import Payload
from mercato.contracts.orders import OrderCreated, OrderStatus, OrderStatusChanged, StockState
from mercato.kernel.counting import Counter, Measure


class OrderCounts:
    """Counts orders, of all stores together."""

    def __init__(self) -> None:
        self._placed = Counter(
            "mercato_orders_placed",
            "Orders placed: their stock reserved, or awaiting it while products was away.",
            ("stock",),
            [(state.value,) for state in StockState],
        )
        self._transitions = Counter(
            "mercato_order_transitions",
            "Orders that moved on, by their new status.",
            ("status",),
            [(status.value,) for status in OrderStatus if status is not OrderStatus.PENDING],
        )
        self.measures: tuple[Measure, ...] = (self._placed, self._transitions)

    def committed(self, events: Sequence[Payload]) -> None:
        """Count what has happened."""
        for event in events:
            match event:
                case OrderCreated():
                    self._placed.add(event.stock.value)
                case OrderStatusChanged():
                    self._transitions.add(event.status.value)
                case _:
                    pass
