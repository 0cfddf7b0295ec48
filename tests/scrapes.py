"""Metrics of a process, as a scrape gets them."""

from collections.abc import Iterator
from http.client import HTTPConnection
from typing import NamedTuple

from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families


class Figure(NamedTuple):
    """One sample."""

    labels: dict[str, str]
    value: float


def families(text: str) -> Iterator[Metric]:
    """Return each metric by its whole name: that of a counter ends in `_total`."""
    for family in text_string_to_metric_families(text):
        if family.type == "counter":
            family.name += "_total"
        yield family


def scraped(port: int, *, timeout_s: float = 30.0) -> str:
    """Return the metrics' text, over a connection of its own. Raises OSError."""
    connection = HTTPConnection("127.0.0.1", port, timeout=timeout_s)
    try:
        connection.request("GET", "/metrics")
        answer = connection.getresponse()
        assert answer.status == 200
        return answer.read().decode()
    finally:
        connection.close()


def figures(text: str, name: str, **labels: str) -> list[Figure]:
    """Return the samples of that name that have these labels, among others."""
    return [
        Figure(sample.labels, sample.value)
        for family in families(text)
        for sample in family.samples
        if sample.name == name and labels.items() <= sample.labels.items()
    ]


def total(text: str, name: str, **labels: str) -> float:
    """Return their sum."""
    return sum(each.value for each in figures(text, name, **labels))
