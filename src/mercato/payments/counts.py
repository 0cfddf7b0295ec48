"""What is told of payments, counted from their events as these are committed: each happens once."""

from collections.abc import Sequence

from mercato.contracts.events import Payload
from mercato.contracts.payments import (
    PaymentCancelled,
    PaymentEvent,
    PaymentFailed,
    PaymentMethod,
    PaymentRefunded,
    PaymentSucceeded,
)
from mercato.kernel.counting import Counter, Measure

_OUTCOMES: dict[type[PaymentEvent], str] = {
    PaymentSucceeded: "success",
    PaymentFailed: "failed",
    PaymentCancelled: "cancelled",
}


class PaymentCounts:
    """Counts payments and their money, of all stores together."""

    def __init__(self) -> None:
        self._payments = Counter(
            "mercato_payments",
            "Payments that came to an end, by method and by how.",
            ("method", "outcome"),
            [(method.value, outcome) for method in PaymentMethod for outcome in _OUTCOMES.values()],
        )
        self._revenue = Counter(
            "mercato_revenue_minor_units", "Money captured, in the currency's smallest unit.", ("currency",)
        )
        self._refunded = Counter(
            "mercato_refunded_minor_units",
            "Money given back, in the currency's smallest unit.",
            ("currency",),
        )
        self.measures: tuple[Measure, ...] = (self._payments, self._revenue, self._refunded)

    def committed(self, events: Sequence[Payload]) -> None:
        """Count what has happened."""
        for event in events:
            if not isinstance(event, PaymentEvent):
                continue
            outcome = _OUTCOMES.get(type(event))
            if outcome is not None:
                self._payments.add(event.method.value, outcome)
            if isinstance(event, PaymentSucceeded):
                self._revenue.add(event.currency, by=event.amount)
            elif isinstance(event, PaymentRefunded):
                self._refunded.add(event.currency, by=event.refund_amount)
