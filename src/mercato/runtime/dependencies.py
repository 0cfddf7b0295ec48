"""What a process depends on, by name: its circuits, as metrics and health tell of them."""

from collections.abc import Callable, Iterator, Mapping

from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector

from mercato.adapters.http.breaker import BreakerState
from mercato.adapters.http.dependency import Dependency
from mercato.web.health import Check

_STATE = {BreakerState.CLOSED: 0, BreakerState.HALF_OPEN: 1, BreakerState.OPEN: 2}


class Dependencies(Collector):
    """The dependencies of a process. Each is there from the time that it is first asked for."""

    def __init__(self, at_once: int) -> None:
        """`at_once` is how many calls of each are made at a time."""
        self._at_once = at_once
        self._known: dict[str, Dependency] = {}

    def add(self, dependency: Dependency) -> None:
        """Tell of one that a service has made."""
        self._known[dependency.name] = dependency

    def __getitem__(self, name: str) -> Dependency:
        """Return a dependency, always the same."""
        if name not in self._known:
            self._known[name] = Dependency(name, at_once=self._at_once)
        return self._known[name]

    def checks(self) -> Mapping[str, Check]:
        """Return what tells of each dependency whether calls of it go through, and if not, why."""
        return {name: closed(known) for name, known in self._known.items()}

    def collect(self) -> Iterator[Metric]:
        """Return what is known, as Prometheus has it."""
        for name, text, read in _GAUGES:
            gauge = GaugeMetricFamily(name, text, labels=["dependency"])
            for known in self._known.values():
                gauge.add_metric([known.name], read(known))
            yield gauge
        for name, label, text, read in _COUNTERS:
            counter = CounterMetricFamily(name, text, labels=[label])
            for known in self._known.values():
                counter.add_metric([known.name], read(known))
            yield counter
        calls = CounterMetricFamily(
            "mercato_neighbour_requests", "Calls of other services.", labels=["neighbour", "outcome"]
        )
        seconds = HistogramMetricFamily(
            "mercato_neighbour_request_duration_seconds",
            "Time that calls of other services took, each attempt by itself.",
            labels=["neighbour"],
        )
        for known in self._known.values():
            for outcome, count in known.outcomes.items():
                calls.add_metric([known.name, outcome.value], count)
            seconds.add_metric([known.name], known.timed.told(), known.timed.sum)
        yield calls
        yield seconds


_GAUGES: tuple[tuple[str, str, Callable[[Dependency], float]], ...] = (
    (
        "mercato_circuit_state",
        "The circuit to a dependency: 0 closed, 1 half open, 2 open.",
        lambda known: _STATE[known.state],
    ),
    (
        "mercato_concurrency_limit",
        "Calls of a dependency that are made at a time at most.",
        lambda known: known.places.at_once,
    ),
    (
        "mercato_concurrency_in_use",
        "Calls of a dependency that are being made.",
        lambda known: known.places.in_use,
    ),
    (
        "mercato_concurrency_waiting",
        "Calls that wait until others of the same dependency have ended.",
        lambda known: known.places.waiting,
    ),
)
_COUNTERS: tuple[tuple[str, str, str, Callable[[Dependency], float]], ...] = (
    (
        "mercato_circuit_opened",
        "dependency",
        "How often the circuit to a dependency has opened.",
        lambda known: known.opened,
    ),
    (
        "mercato_retries",
        "neighbour",
        "Calls of other services that were repeated.",
        lambda known: known.budget.taken,
    ),
    (
        "mercato_retries_denied",
        "neighbour",
        "Calls that were not repeated since too many others had been.",
        lambda known: known.budget.denied,
    ),
)


def closed(known: Dependency) -> Check:
    """Return the check that a circuit is not open."""

    async def check() -> bool | str:
        if known.state is not BreakerState.OPEN:
            return True
        return f"The circuit to {known.name} is open: it kept failing, and is tried again in half a minute."

    return check
