"""What a process tells of the services that it depends on: circuits, calls, repeats, and who waits."""

import asyncio
import logging

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from mercato.adapters.http.breaker import CircuitOpen
from mercato.clients.neighbour import Neighbour
from mercato.contracts.products import OutOfStock
from mercato.kernel.errors import NotFound, Overloaded, Unavailable
from mercato.runtime.dependencies import Dependencies
from tests.behaviour.test_neighbours import Scripted, ask, away, good, refused
from tests.reach import SECRET, listening
from tests.waiting import until


def told(dependencies: Dependencies) -> dict[str, float]:
    registry = CollectorRegistry()
    registry.register(dependencies)
    lines = [line for line in generate_latest(registry).decode().splitlines() if not line.startswith("#")]
    return {name: float(value) for name, value in (line.rsplit(" ", 1) for line in lines)}


async def test_a_circuit_that_opens_and_closes_is_told_in_metrics_health_and_the_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "mercato.adapters.http.dependency")
    dependencies, service = Dependencies(at_once=8), Scripted([away])
    known = dependencies["products"]
    check = dependencies.checks()["products"]
    async with listening(service) as url:
        products = Neighbour("products", url, caller="orders", secret=SECRET, dependency=known)
        for _ in range(3):
            assert await check() is True
            with pytest.raises(Unavailable):
                await ask(products, repeatable=False)
        with pytest.raises(CircuitOpen):
            await ask(products)

        assert str(await check()).startswith("The circuit to products is open")
        metrics = told(dependencies)
        assert metrics['mercato_circuit_state{dependency="products"}'] == 2
        assert metrics['mercato_circuit_opened_total{dependency="products"}'] == 1
        requests = 'mercato_neighbour_requests_total{neighbour="products",outcome="%s"}'
        assert metrics[requests % "failed"] == 3
        assert metrics[requests % "circuit_open"] == 1

        known.breaker._opened_at -= 30
        service.script = [good]
        assert told(dependencies)['mercato_circuit_state{dependency="products"}'] == 1
        assert await check() is True
        for _ in range(3):
            await ask(products)
        metrics = told(dependencies)
        assert metrics['mercato_circuit_state{dependency="products"}'] == 0
        assert metrics[requests % "ok"] == 3
        assert metrics['mercato_neighbour_request_duration_seconds_count{neighbour="products"}'] == 6
        await products.close()
    messages = [(record.levelname, record.message) for record in caplog.records]
    assert messages == [
        ("WARNING", "circuit opened"),
        ("INFO", "circuit half open"),
        ("INFO", "circuit closed"),
    ]


async def test_refusals_are_counted_and_open_nothing() -> None:
    dependencies = Dependencies(at_once=8)
    script = [refused(NotFound("no")), refused(OutOfStock("none"))] * 5
    async with listening(Scripted(script)) as url:
        products = Neighbour(
            "products", url, caller="orders", secret=SECRET, dependency=dependencies["products"]
        )
        for error in (NotFound, OutOfStock) * 5:
            with pytest.raises(error):
                await ask(products)
        await products.close()
    metrics = told(dependencies)
    assert metrics['mercato_circuit_state{dependency="products"}'] == 0
    assert metrics['mercato_neighbour_requests_total{neighbour="products",outcome="refused"}'] == 10


async def test_repeats_are_counted_and_so_are_those_that_the_budget_does_not_allow() -> None:
    dependencies = Dependencies(at_once=8)
    known = dependencies["products"]
    async with listening(Scripted([away])) as url:
        products = Neighbour("products", url, caller="orders", secret=SECRET, dependency=known)
        known.breaker.failed = lambda *_: None  # type: ignore[method-assign]  # of repeats alone
        for _ in range(20):
            with pytest.raises(Unavailable):
                await ask(products)
        await products.close()
    metrics = told(dependencies)
    taken = metrics['mercato_retries_total{neighbour="products"}']
    assert 10 <= taken <= 12
    assert metrics['mercato_retries_denied_total{neighbour="products"}'] >= 5


async def test_one_that_stands_still_keeps_so_many_callers_and_no_more() -> None:
    dependencies, service = Dependencies(at_once=2), Scripted(stands_still=True)
    known = dependencies["products"]
    async with listening(service) as url:
        products = Neighbour("products", url, caller="orders", secret=SECRET, dependency=known)
        asking = [asyncio.create_task(ask(products, timeout_s=30)) for _ in range(4)]

        async def all_are_in() -> bool:
            return len(service.asked) == 2 and known.places.waiting == 2

        await until(all_are_in)
        with pytest.raises(Overloaded, match="Too many requests wait for the products service"):
            await ask(products)
        metrics = told(dependencies)
        assert metrics['mercato_concurrency_limit{dependency="products"}'] == 2
        assert metrics['mercato_concurrency_in_use{dependency="products"}'] == 2
        assert metrics['mercato_concurrency_waiting{dependency="products"}'] == 2
        assert metrics['mercato_neighbour_requests_total{neighbour="products",outcome="full"}'] == 1

        # Whoever waited is served when it goes on.
        service.ended.set()
        assert await asyncio.gather(*asking) == ["yes"] * 4
        assert (known.places.in_use, known.places.waiting) == (0, 0)
        await products.close()
