"""What a process tells of itself besides its requests: what is counted in it, and its failures."""

import logging
from collections.abc import Callable, Iterator, Sequence

from prometheus_client import CollectorRegistry, Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector

from mercato.kernel.counting import Counter, Histogram, Measure, Reading
from mercato.messaging.bus import Bus, BusState
from mercato.runtime.process import Process


class Measures(Collector):
    """Tells what others count; those of one name are one metric, whoever counts."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._measures: list[Measure] = []
        registry.register(self)

    def add(self, measures: Sequence[Measure]) -> None:
        """Tell of these, too."""
        self._measures += measures

    def collect(self) -> Iterator[Metric]:
        """Return what was counted, as Prometheus has it."""
        families: dict[str, Metric] = {}
        for each in self._measures:
            family = families.get(each.name)
            if family is None:
                family = families[each.name] = _family(each)
            if isinstance(each, Histogram):
                assert isinstance(family, HistogramMetricFamily)  # noqa: S101  a name is of one kind
                family.add_metric(each.values, each.told(), each.sum)
                continue
            assert isinstance(family, CounterMetricFamily | GaugeMetricFamily)  # noqa: S101
            for values, figure in each.read().items():
                family.add_metric(values, figure)
        yield from families.values()


def _family(measure: Measure) -> Metric:
    if isinstance(measure, Histogram):
        return HistogramMetricFamily(measure.name, measure.description, labels=measure.labels)
    kind = CounterMetricFamily if measure.kind == "counter" else GaugeMetricFamily
    return kind(measure.name, measure.description, labels=measure.labels)


def measures_of(process: Process) -> list[Measure]:
    """Return what the parts of a process count."""
    found: list[Measure] = []
    for relay in process.relays.values():
        found += relay.measures
    for inbox in process.inboxes.values():
        found += inbox.measures
    for parts in process.composition.services.values():
        found += (*parts.measures, *parts.steps.db.measures(parts.name))
    found += (*process.composition.measures, *process.composition.limits.measures)
    if process.timekeeper is not None:
        found.append(process.timekeeper.measure)
    if process.composition.bus is not None:
        found += _of_bus(process.composition.bus)
    return found


def _of_bus(bus: Bus) -> list[Measure]:
    """Tell how this process's part of the bus is."""

    def gauge(name: str, help_text: str, read: Callable[[BusState], float]) -> Measure:
        return Reading("gauge", f"mercato_bus_{name}", help_text, (), _now(bus, read))

    return [
        gauge("connected", "1 while events can be published and consumed.", lambda s: s.connected),
        gauge("unconfirmed", "Events published and not confirmed yet.", lambda s: s.unconfirmed),
        gauge(
            "unacknowledged",
            "Events delivered and not durable in an inbox yet.",
            lambda s: s.unacknowledged,
        ),
        Reading(
            "counter",
            "mercato_bus_redelivered",
            "Deliveries that may have been made before.",
            (),
            _now(bus, lambda s: s.redelivered),
        ),
    ]


def _now(bus: Bus, read: Callable[[BusState], float]) -> Callable[[], dict[tuple[str, ...], float]]:
    return lambda: {(): float(read(bus.state()))}


class FailureCounter(logging.Handler):
    """Counts warnings and errors, so that whatever is logged as one can be alerted on; one at a time.

    Mercato's own log messages are constants, which bounds the labels; others' are not told.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        super().__init__(logging.WARNING)
        self._failures = Counter(
            "mercato_failures", "Warnings and errors logged.", ("level", "logger", "event")
        )
        Measures(registry).add([self._failures])

    def emit(self, record: logging.LogRecord) -> None:
        """Count one record."""
        own = record.name.startswith("mercato.")
        event = str(record.msg) if own else "other"
        self._failures.add(record.levelname.lower(), record.name if own else "other", event)
