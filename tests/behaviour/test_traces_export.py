"""Spans on their way to a collector: what happens when it is there, away, broken or slow."""

import asyncio
import logging
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest

from mercato.adapters.tracing import batches as batching
from mercato.adapters.tracing.batches import BATCH, MOST_WAITING, Batches, Exporter
from mercato.adapters.tracing.collector import Collector
from mercato.adapters.tracing.local import Console, File
from tests.collector import PATH, collecting
from tests.collector import Collector as Double
from tests.running import free_port
from tests.spans import some_spans
from tests.waiting import until

LOGGER = batching.__name__


@pytest.fixture
def collector() -> Iterator[Double]:
    with collecting() as running:
        yield running


def exporter(url: str) -> Collector:
    return Collector(url + PATH, {"x-team": "shop"}, {"service.name": "mercato"}, "1.0")


@asynccontextmanager
async def running(to: Exporter, *, within_s: float = 5.0) -> AsyncIterator[Batches]:
    """Export to somebody; in the end what waits gets that long."""
    batches = Batches(to, every_s=0.01, pause_s=0.01)
    task = asyncio.create_task(batches.run())
    try:
        yield batches
    finally:
        await batches.close(task, within_s)


def counts(batches: Batches) -> dict[str, float]:
    return {outcome: count for (outcome,), count in batches.spans.read().items()}


async def test_what_is_recorded_arrives_as_opentelemetry_has_it(collector: Double) -> None:
    async with running(exporter(collector.url)) as batches:
        for span in some_spans(3 * BATCH + 1):
            batches.record(span)
        await until(lambda: len(collector.spans) == 3 * BATCH + 1)
    first = collector.spans[0]
    assert (first.trace, first.id, first.parent, first.name, first.kind) == (
        f"{1:032x}",
        f"{1:016x}",
        "",
        "span 0",
        3,
    )
    assert (first.service, first.attributes, first.failed) == ("mercato", {"number": 0}, False)
    assert {each["x-team"] for each in collector.headers} == {"shop"}
    assert {each["content-type"] for each in collector.headers} == {"application/x-protobuf"}
    assert counts(batches) == {"exported": 3 * BATCH + 1, "dropped": 0}


async def test_what_waits_at_the_end_is_exported(collector: Double) -> None:
    async with running(exporter(collector.url)) as batches:
        for span in some_spans(5):
            batches.record(span)
    assert len(collector.spans) == 5


async def test_a_collector_that_comes_back_gets_what_it_refused_for_now(
    collector: Double, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, LOGGER)
    collector.status = 503
    async with running(exporter(collector.url)) as batches:
        batches.record(some_spans(1)[0])
        await until(lambda: collector.requests > 0)
        collector.status = 200
        await until(lambda: len(collector.spans) == 1)
        await until(lambda: counts(batches) == {"exported": 1, "dropped": 0})
    told = [record.message for record in caplog.records if record.name == LOGGER]
    assert told == ["spans cannot be exported", "spans are exported again"]


async def test_a_collector_that_refuses_for_good_is_not_asked_again(collector: Double) -> None:
    collector.status = 400
    async with running(exporter(collector.url)) as batches:
        batches.record(some_spans(1)[0])
        await until(lambda: counts(batches)["dropped"] == 1)
    assert collector.requests == 1


async def test_while_the_collector_is_away_spans_are_dropped_and_that_is_told_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with running(exporter(f"http://127.0.0.1:{free_port()}")) as batches:
        for round_ in range(1, 4):
            for span in some_spans(10):
                batches.record(span)
            await until(lambda round_=round_: counts(batches)["dropped"] == 10 * round_)  # type: ignore[misc]
    told = [record.message for record in caplog.records if record.name == LOGGER]
    assert told == ["spans cannot be exported", "spans are dropped"]
    assert counts(batches)["exported"] == 0


async def test_a_slow_collector_holds_up_nobody_and_what_waits_is_bounded(
    collector: Double, caplog: pytest.LogCaptureFixture
) -> None:
    collector.slow = threading.Event()
    spans = some_spans(MOST_WAITING + 3 * BATCH)
    async with running(exporter(collector.url), within_s=0.05) as batches:
        batches.record(spans[0])
        await until(lambda: collector.requests == 1)
        for span in spans[1:]:
            batches.record(span)
        assert counts(batches)["dropped"] == 3 * BATCH - 1
        # It ends in time, whatever the collector does.
    collector.slow.set()
    assert counts(batches) == {"exported": 0, "dropped": len(spans)}
    assert "more spans wait than can be exported" in {record.cause for record in caplog.records}  # type: ignore[attr-defined]


async def test_a_file_holds_what_collectors_read_and_is_bounded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mercato.adapters.tracing.local.MOST_BYTES", 2000)
    path = tmp_path / "traces" / "mercato.jsonl"
    file = File(path, {"service.name": "mercato"}, "1.0")
    for span in some_spans(20):
        await file.export([span])
    (process,) = msgspec.json.decode(path.read_bytes().splitlines()[-1])["resourceSpans"]
    (scope,) = process["scopeSpans"]
    (last,) = scope["spans"]
    assert (last["traceId"], last["name"], last["kind"]) == (f"{20:032x}", "span 19", 3)
    assert process["resource"]["attributes"] == [{"key": "service.name", "value": {"stringValue": "mercato"}}]
    assert {each.name for each in path.parent.iterdir()} == {"mercato.jsonl", "mercato.1.jsonl"}
    assert sum(each.stat().st_size for each in path.parent.iterdir()) <= 4000


async def test_a_file_that_cannot_be_written_drops_spans(tmp_path: Path) -> None:
    (tmp_path / "traces").write_text("in the way")
    async with running(File(tmp_path / "traces" / "mercato.jsonl", {}, "1.0")) as batches:
        batches.record(some_spans(1)[0])
        await until(lambda: counts(batches)["dropped"] == 1)


async def test_the_console_shows_a_line_for_each_span(capfd: pytest.CaptureFixture[str]) -> None:
    await Console().export(some_spans(2))
    first, second = capfd.readouterr().err.splitlines()
    assert "span 0" in first
    assert "span 1" in second
    assert "number=1" in second
