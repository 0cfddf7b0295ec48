"""Prometheus metrics of requests. Labels are templates and codes, never ids."""

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

from mercato.web.http import Response

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)


class RequestMetrics:
    """Counts and times requests. The children are kept: finding them costs more than counting."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry
        # When each child was made is of no use, and half the page.
        disable_created_metrics()  # type: ignore[no-untyped-call]  # it ships without annotations
        self._requests = Counter(
            "mercato_http_requests", "Requests answered.", ["route", "status", "code"], registry=registry
        )
        self._seconds = Histogram(
            "mercato_http_request_duration_seconds",
            "Time from the request's head to the whole answer.",
            ["route"],
            buckets=_SECONDS,
            registry=registry,
        )
        self._in_flight = Gauge(
            "mercato_http_requests_in_flight", "Requests being answered.", registry=registry
        )
        self._counters: dict[tuple[str, int, str], Counter] = {}
        self._histograms: dict[str, Histogram] = {}

    def watch_in_flight(self, count: Callable[[], int]) -> None:
        """Read the number of requests in flight from `count` whenever it is asked for."""
        self._in_flight.set_function(count)

    def observe(self, route: str, status: int, code: str, seconds: float) -> None:
        """Count one answered request."""
        key = (route, status, code)
        counter = self._counters.get(key)
        if counter is None:
            counter = self._counters[key] = self._requests.labels(route, str(status), code)
        histogram = self._histograms.get(route)
        if histogram is None:
            histogram = self._histograms[route] = self._seconds.labels(route)
        counter.inc()
        histogram.observe(seconds)

    def render(self) -> Response:
        """Return all metrics in Prometheus's text format."""
        return Response(200, generate_latest(self._registry), content_type=CONTENT_TYPE_LATEST)
