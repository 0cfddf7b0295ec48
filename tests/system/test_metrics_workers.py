"""Several processes on one port: a scrape that meets any of them tells of all."""

import signal
import time
from collections.abc import Iterator
from http.client import HTTPException

import psutil
import pytest

from tests.commands import Server, serving, wait_until
from tests.modes import OWN_PROCESSES
from tests.scrapes import families, figures, scraped, total

pytestmark = OWN_PROCESSES

WORKERS = {"1", "2", "3"}
LIVE = {"route": "GET /health/live"}


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("workers")
    with serving("serve", "gateway", "--workers", "3", folder=folder) as started:
        wait_until(lambda: up(scraped(started.port)) == WORKERS)
        yield started


def up(text: str) -> set[str]:
    """Return the workers that tell their metrics."""
    return {each.labels["worker"] for each in figures(text, "mercato_worker_up") if each.value == 1}


def up_at(port: int) -> set[str]:
    """Return the same; none where the scrape met a worker that does not answer."""
    try:
        return up(scraped(port, timeout_s=5))
    except (OSError, HTTPException):
        return set()


def told_by_all(port: int) -> str:
    """Return a scrape that tells of all workers; one that leaves out a slow one has waited for it."""
    for _ in range(10):
        began = time.monotonic()
        text = scraped(port)
        if up(text) == WORKERS:
            return text
        assert time.monotonic() - began > 0.9, "a worker was left out that had no time to tell"
    raise AssertionError(text)


def process_of(gateway: Server, worker: str) -> psutil.Process:
    """Return a worker's process."""
    (found,) = (
        process
        for process in psutil.process_iter(["cmdline"])
        if str(gateway.port) in (process.info["cmdline"] or ())
        and process.environ().get("_MERCATO_WORKER", "").startswith(f"{worker} ")
    )
    return found


def test_whichever_worker_is_asked_tells_of_every_request(gateway: Server) -> None:
    before = total(told_by_all(gateway.port), "mercato_http_requests_total", **LIVE)
    for _ in range(60):
        assert gateway.ask("GET", "/health/live")[0] == 200
    texts = [told_by_all(gateway.port) for _ in range(9)]
    for text in texts:
        assert total(text, "mercato_http_requests_total", **LIVE) == before + 60
        assert total(text, "mercato_http_request_duration_seconds_count", **LIVE) == before + 60
    shares = figures(texts[0], "mercato_http_requests_total", **LIVE)
    assert {each.labels["worker"] for each in shares} <= WORKERS
    assert len(shares) > 1, "the system has dealt all of sixty connections out to one process"


def test_every_series_is_of_one_worker(gateway: Server) -> None:
    text = told_by_all(gateway.port)
    seen = set()
    for family in families(text):
        for sample in family.samples:
            assert sample.labels.get("worker") in WORKERS, sample
            series = (sample.name, tuple(sorted(sample.labels.items())))
            assert series not in seen, "a series is told twice"
            seen.add(series)
    assert text.count("# HELP mercato_http_requests_total ") == 1


def test_a_worker_that_hangs_keeps_nobody_from_telling_of_the_others(gateway: Server) -> None:
    frozen = process_of(gateway, "2")
    frozen.send_signal(signal.SIGSTOP)
    try:
        wait_until(lambda: up_at(gateway.port) == WORKERS - {"2"})
    finally:
        frozen.send_signal(signal.SIGCONT)
    wait_until(lambda: up_at(gateway.port) == WORKERS)


def started(text: str) -> dict[str, float]:
    """Return when each worker was started."""
    return {each.labels["worker"]: each.value for each in figures(text, "process_start_time_seconds")}


def test_a_worker_that_dies_begins_anew_and_the_others_go_on(gateway: Server) -> None:
    before = started(told_by_all(gateway.port))
    process_of(gateway, "3").kill()
    after: dict[str, float] = {}

    def begun_anew() -> bool:
        try:
            after.update(started(scraped(gateway.port)))
        except (OSError, HTTPException):
            # It met the one that is just dying.
            return False
        return after.keys() == WORKERS and after["3"] > before["3"]

    wait_until(begun_anew)
    assert {name: after[name] for name in ("1", "2")} == {name: before[name] for name in ("1", "2")}
