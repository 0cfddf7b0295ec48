"""What is counted, and how it is told."""

from prometheus_client import CollectorRegistry, generate_latest

from mercato.kernel.counting import Counter, Histogram, Reading
from mercato.runtime.metrics import Measures


def told(*measures: Counter | Histogram | Reading) -> list[str]:
    registry = CollectorRegistry()
    Measures(registry).add(measures)
    return generate_latest(registry).decode().splitlines()


def test_what_is_known_to_happen_is_told_before_it_does() -> None:
    counter = Counter("x", "Xs.", ("kind",), [("a",), ("b",)])
    counter.add("b")
    counter.add("b", by=41)
    assert [line for line in told(counter) if line[0] != "#"] == [
        'x_total{kind="a"} 0.0',
        'x_total{kind="b"} 42.0',
    ]
    assert "x_total 0.0" in told(Counter("x", "Xs."))


def test_what_several_count_is_one_metric() -> None:
    orders = Histogram("h", "Seconds.", labels=("service",), values=("orders",), bounds=(0.1, 1.0))
    users = Histogram("h", "Seconds.", labels=("service",), values=("users",), bounds=(0.1, 1.0))
    for value in (0.1, 0.5, 7.0):
        orders.observe(value)
    lines = told(orders, users, Reading("gauge", "g", "Now.", (), lambda: {(): 3}))
    assert [line for line in lines if line.startswith("# TYPE")] == ["# TYPE h histogram", "# TYPE g gauge"]
    assert [line for line in lines if 'service="orders"' in line] == [
        'h_bucket{le="0.1",service="orders"} 1.0',
        'h_bucket{le="1.0",service="orders"} 2.0',
        'h_bucket{le="+Inf",service="orders"} 3.0',
        'h_count{service="orders"} 3.0',
        'h_sum{service="orders"} 7.6',
    ]
    assert "g 3.0" in lines
