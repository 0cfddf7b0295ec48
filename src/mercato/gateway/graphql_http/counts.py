"""What the metrics tell of operations: HTTP's statuses do not, since most of what fails is a 200."""

from collections.abc import Iterator

import msgspec
from prometheus_client import CollectorRegistry, Metric
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector

from mercato.gateway.graphql.answer import Result
from mercato.kernel.counting import Buckets

NOT_KNOWN = "unknown"
"""The kind of an operation that was refused before it was understood."""
_MOST_CODES = 100
_OTHER = "OTHER"
_COSTS = (1.0, 5.0, 10.0, 25.0, 50.0, 100.0, 250.0, 500.0, 1000.0, 2500.0, 5000.0, 10000.0)


class Counts(Collector):
    """Plain numbers, counted by the event loop's thread."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._answers: dict[tuple[str, str], int] = {}
        self._errors: dict[str, int] = {}
        self.cost = Buckets(_COSTS)
        """What operations cost that were found good."""
        registry.register(self)

    def answered(self, kind: str, result: Result) -> None:
        """Count an answer, and its errors by their codes."""
        outcome = "refused" if result.data is msgspec.UNSET else "with_errors" if result.errors else "good"
        key = (kind, outcome)
        self._answers[key] = self._answers.get(key, 0) + 1
        for problem in result.errors:
            self.failed(problem.extensions.code)

    def failed(self, code: str) -> None:
        """Count an error."""
        if code not in self._errors and len(self._errors) >= _MOST_CODES:
            code = _OTHER
        self._errors[code] = self._errors.get(code, 0) + 1

    def collect(self) -> Iterator[Metric]:
        """Return what was counted, as Prometheus has it."""
        answers = CounterMetricFamily(
            "mercato_graphql_answers", "Answers to GraphQL operations.", labels=["kind", "outcome"]
        )
        for (kind, outcome), count in self._answers.items():
            answers.add_metric([kind, outcome], count)
        yield answers
        errors = CounterMetricFamily("mercato_graphql_errors", "Errors in GraphQL answers.", labels=["code"])
        for code, count in self._errors.items():
            errors.add_metric([code], count)
        yield errors
        cost = HistogramMetricFamily(
            "mercato_graphql_cost", "What GraphQL operations cost that were to be executed."
        )
        cost.add_metric([], self.cost.told(), self.cost.sum)
        yield cost
