"""What is measured, in plain numbers, by the event loop's thread, until somebody asks for it.

Counting is an addition: no lock, and no library. Names are Prometheus's, without the `_total` that it
puts after those of counters. Labels have few values, all of them known to the code: no ids, nothing
that a stranger chooses.
"""

from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping
from typing import Literal

Values = tuple[str, ...]
"""One value for each label."""

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
"""The bounds of what takes a moment."""


class Reading:
    """Figures that somebody keeps anyway, read when they are asked for."""

    def __init__(
        self,
        kind: Literal["counter", "gauge"],
        name: str,
        description: str,
        labels: Values,
        read: Callable[[], Mapping[Values, float]],
    ) -> None:
        """`read` returns the figures by their labels' values; it waits for nothing."""
        self.kind = kind
        self.name = name
        self.description = description
        self.labels = labels
        self.read = read


class Counter(Reading):
    """How often something has happened, by labels."""

    def __init__(
        self, name: str, description: str, labels: Values = (), known: Iterable[Values] = ()
    ) -> None:
        """Tell what is `known` to happen before it does, so that the first time is seen as a change."""
        super().__init__("counter", name, description, labels, self._counted)
        self._counts: dict[Values, int] = dict.fromkeys(known if labels else ((),), 0)

    def add(self, *values: str, by: int = 1) -> None:
        """Count once, or `by` as much, under these values of the labels."""
        self._counts[values] = self._counts.get(values, 0) + by

    def _counted(self) -> Mapping[Values, int]:
        # A copy: some are counted by other threads, such as failures.
        return dict(self._counts)


class Buckets:
    """How large something was, each time: how often by bounds, and the sum."""

    __slots__ = ("_bounds", "_counts", "sum")

    def __init__(self, bounds: tuple[float, ...] = SECONDS) -> None:
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self.sum = 0.0

    def observe(self, value: float) -> None:
        """Count one."""
        self._counts[bisect_left(self._bounds, value)] += 1
        self.sum += value

    def told(self) -> list[tuple[str, float]]:
        """Return the bounds, each with how many were at most that."""
        found: list[tuple[str, float]] = []
        total = 0
        for bound, count in zip((*map(str, self._bounds), "+Inf"), self._counts, strict=True):
            total += count
            found.append((bound, float(total)))
        return found


class Histogram(Buckets):
    """Buckets with a name: one series, under fixed values of its labels."""

    __slots__ = ("description", "labels", "name", "values")

    def __init__(
        self,
        name: str,
        description: str,
        *,
        labels: Values = (),
        values: Values = (),
        bounds: tuple[float, ...] = SECONDS,
    ) -> None:
        super().__init__(bounds)
        self.name = name
        self.description = description
        self.labels = labels
        self.values = values


class CacheCounts:
    """How often something was found in a cache, and how often not."""

    __slots__ = ("hits", "misses")

    def __init__(self) -> None:
        self.hits = 0
        self.misses = 0


Measure = Reading | Histogram


def measures_of_cache(cache: str, counts: CacheCounts, entries: Callable[[], int]) -> tuple[Measure, ...]:
    """Return what is told of a cache; `entries` returns how many it holds."""
    return (
        Reading(
            "counter",
            "mercato_cache_requests",
            "What was looked for in a cache, and found there or not.",
            ("cache", "result"),
            lambda: {(cache, "hit"): counts.hits, (cache, "miss"): counts.misses},
        ),
        Reading(
            "gauge",
            "mercato_cache_entries",
            "What a cache holds, some of it possibly past its time.",
            ("cache",),
            lambda: {(cache,): entries()},
        ),
    )
