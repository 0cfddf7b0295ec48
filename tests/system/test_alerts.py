"""Alerts as they happen: services that run apart, one that is killed, and a Prometheus that watches."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.commands import wait_until
from tests.engines import need
from tests.modes import OWN_PROCESSES
from tests.prometheus_server import PrometheusServer
from tests.services import Services
from tests.waiting import until

pytestmark = OWN_PROCESSES

TOLD = {"MercatoProcessDown", "MercatoCircuitOpen", "MercatoAvailabilityBudgetBurn"}
WATCHED = ("users", "gateway")
SEEN_WITHIN_S = 60.0
PACE_S = 0.1
"""How far apart a shopper asks, and somebody looks at the alerts."""


@pytest.fixture
def services(tmp_path: Path) -> Iterator[Services]:
    running = Services(tmp_path, {})
    running.start(WATCHED)
    yield running
    running.stop()


@pytest.fixture
def prometheus(services: Services) -> Iterator[PrometheusServer]:
    need("prometheus")
    server = PrometheusServer({name: services.ports[name] for name in WATCHED}, hasty=True)
    server.start()
    yield server
    server.stop()


async def test_a_service_that_is_killed_is_told_of_until_it_is_back(
    services: Services, prometheus: PrometheusServer
) -> None:
    wait_until(lambda: len(prometheus.query("up == 1")) == len(WATCHED))
    async with services.client() as shop:

        async def all_is_well() -> bool:
            await asyncio.sleep(PACE_S)
            assert (await shop.get("/api/v1/users/me")).status == 401
            return bool(prometheus.query('slo:mercato_budget:burn_1h{slo="availability"} == 0'))

        await until(all_is_well, SEEN_WITHIN_S)
        assert prometheus.alerts()["firing"] & TOLD == set()

        services.kill("users")

        async def all_is_told() -> bool:
            await asyncio.sleep(PACE_S)
            assert (await shop.get("/api/v1/users/me")).status == 503
            return prometheus.alerts()["firing"] >= TOLD

        await until(all_is_told, SEEN_WITHIN_S)

    def down() -> list[tuple[str, str]]:
        found = prometheus.query('ALERTS{alertname="MercatoProcessDown", alertstate="firing"}')
        return [(each["metric"]["process"], each["metric"]["severity"]) for each in found]

    # Whoever is only slow to tell of itself is not told of for long.
    wait_until(lambda: down() == [("users", "page")])
    circuits = prometheus.query('ALERTS{alertname="MercatoCircuitOpen", alertstate="firing"}')
    assert [(each["metric"]["process"], each["metric"]["dependency"]) for each in circuits] == [
        ("gateway", "users")
    ]

    services.start(["users"])
    wait_until(lambda: "MercatoProcessDown" not in prometheus.alerts()["firing"])
