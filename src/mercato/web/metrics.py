"""Prometheus metrics of requests. Labels are templates and codes, never ids.

They are counted in plain lists by the event loop's thread and made into metrics when they are
asked for: prometheus-client's own counters take a lock at each step, which costs more than
all the counting.
"""

from collections.abc import Awaitable, Callable, Iterator
from typing import get_args

from prometheus_client import CollectorRegistry, Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.registry import Collector

from mercato.kernel.counting import Buckets
from mercato.kernel.errors import Shortage
from mercato.web.call import Call
from mercato.web.endpoint import PUBLIC, Routes
from mercato.web.http import Response


class RequestMetrics(Collector):
    """Counts and times requests."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._counts: dict[tuple[str, int, str], int] = {}
        self._timed: dict[str, Buckets] = {}
        # Told from the start: of a counter that comes into being with its first count, that is not seen.
        self._shed: dict[Shortage, int] = dict.fromkeys(get_args(Shortage), 0)
        self._in_flight: Callable[[], int] = int
        self._waiting: Callable[[], int] = int
        registry.register(self)

    def watch(self, *, in_flight: Callable[[], int], waiting: Callable[[], int]) -> None:
        """Read from these how many requests are in flight, and wait their turn, when it is asked for."""
        self._in_flight, self._waiting = in_flight, waiting

    def observe(self, route: str, status: int, code: str, seconds: float) -> None:
        """Count one answered request."""
        key = (route, status, code)
        self._counts[key] = self._counts.get(key, 0) + 1
        timed = self._timed.get(route)
        if timed is None:
            timed = self._timed[route] = Buckets()
        timed.observe(seconds)

    def shed(self, reason: Shortage) -> None:
        """Count a request that was refused because too much was asked for."""
        self._shed[reason] += 1

    def collect(self) -> Iterator[Metric]:
        """Return what was counted, as Prometheus has it."""
        requests = CounterMetricFamily(
            "mercato_http_requests", "Requests answered.", labels=["route", "status", "code"]
        )
        for (route, status, code), count in self._counts.items():
            requests.add_metric([route, str(status), code], count)
        yield requests
        seconds = HistogramMetricFamily(
            "mercato_http_request_duration_seconds",
            "Time from the request's head to the whole answer.",
            labels=["route"],
        )
        for route, timed in self._timed.items():
            seconds.add_metric([route], timed.told(), timed.sum)
        yield seconds
        shed = CounterMetricFamily(
            "mercato_requests_shed", "Requests refused because too much was asked for.", labels=["reason"]
        )
        for reason, count in self._shed.items():
            shed.add_metric([reason], count)
        yield shed
        yield GaugeMetricFamily(
            "mercato_http_requests_in_flight", "Requests being answered.", self._in_flight()
        )
        yield GaugeMetricFamily(
            "mercato_requests_waiting", "Requests that wait their turn to be answered.", self._waiting()
        )


def metrics_routes(tell: Callable[[], Awaitable[bytes]]) -> Routes:
    """Declare where the metrics are told; `tell` returns them in Prometheus's text format."""
    api = Routes("operations")

    @api.get("/metrics", allow=PUBLIC, in_contract=False)
    async def read_metrics(call: Call) -> Response:  # noqa: ARG001  they are nobody's own
        """Return the metrics in Prometheus's text format."""
        return Response(200, await tell(), content_type=CONTENT_TYPE_LATEST)

    return api
