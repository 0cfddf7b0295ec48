"""What the metrics tell of operations that go on, and of the events that feed them."""

from collections.abc import Iterator
from contextlib import contextmanager

from prometheus_client import CollectorRegistry, Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector


class Counts(Collector):
    """Plain numbers, counted by the event loop's thread."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._open: dict[str, int] = {"socket": 0, "sse": 0}
        self._begun: dict[str, int] = {"socket": 0, "sse": 0}
        self.subscribers = 0
        self.events = 0
        self.gaps = 0
        self.dropped = 0
        registry.register(self)

    @contextmanager
    def following(self, transport: str) -> Iterator[None]:
        """Count an operation while it goes on."""
        self._begun[transport] += 1
        self._open[transport] += 1
        try:
            yield
        finally:
            self._open[transport] -= 1

    def collect(self) -> Iterator[Metric]:
        """Return what was counted, as Prometheus has it."""
        begun = CounterMetricFamily(
            "mercato_live_operations", "Operations over sockets and event streams.", labels=["transport"]
        )
        now = GaugeMetricFamily(
            "mercato_live_operations_open",
            "Operations over sockets and event streams that go on.",
            labels=["transport"],
        )
        for transport, count in self._begun.items():
            begun.add_metric([transport], count)
            now.add_metric([transport], self._open[transport])
        yield begun
        yield now
        yield GaugeMetricFamily("mercato_live_subscribers", "Subscriptions to events.", self.subscribers)
        yield CounterMetricFamily("mercato_live_events", "Events heard for subscriptions.", self.events)
        yield CounterMetricFamily(
            "mercato_live_gaps", "How often events may have been missed by subscriptions.", self.gaps
        )
        yield CounterMetricFamily(
            "mercato_live_dropped", "Subscriptions ended because they took events too slowly.", self.dropped
        )
