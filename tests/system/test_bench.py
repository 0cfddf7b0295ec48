"""The bench measures something; how much is never asserted, since machines differ."""

import msgspec

from bench.cluster import missing
from bench.figures import as_json, table
from bench.measurements import Plan, measure
from tests.modes import OWN_PROCESSES

pytestmark = OWN_PROCESSES


def test_every_measurement_finds_a_number() -> None:
    glance = Plan(
        rounds=1,
        starts=1,
        read_s=0.2,
        write_s=0.2,
        warm_up_s=0.1,
        connections=4,
        catalogue=2_000,
        lists_s=0.5,
        events=200,
        overload_s=0.5,
        noisy_s=0.3,
    )

    figures = measure(glance, lambda _: None)

    on_postgres = 0 if "PostgreSQL" in missing() else 3
    through_rabbitmq = 0 if missing() else 2
    assert len(figures) == 18 + on_postgres + through_rabbitmq
    # In so short a time nothing may be refused.
    assert all(figure.value > 0 for figure in figures if "refusal" not in figure.name)
    told = msgspec.json.decode(as_json(figures))
    assert [each["name"] for each in told["figures"]] == [figure.name for figure in figures]
    assert len(table(figures).splitlines()) == 2 + len(figures)
