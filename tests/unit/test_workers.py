"""Workers that tell each other their metrics, whoever of them is there."""

import asyncio
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from mercato.kernel.counting import Counter, Reading
from mercato.runtime.metrics import Measures
from mercato.runtime.workers import Worker


@pytest.fixture
def folder() -> Iterator[Path]:
    # A socket's path may have some hundred characters, and the tests' own folders more.
    with tempfile.TemporaryDirectory(prefix="mercato-") as made:
        yield Path(made)


def counting(times: int) -> CollectorRegistry:
    registry, counter = CollectorRegistry(), Counter("seen", "What was seen.", ("kind",))
    counter.add("cat", by=times)
    # A figure may be told as whatever Python takes for a number.
    Measures(registry).add([counter, Reading("gauge", "awake", "Whether it is.", (), lambda: {(): True})])
    return registry


async def told(worker: Worker, registry: CollectorRegistry) -> set[str]:
    together = CollectorRegistry()
    together.register(await worker.all_of(registry))
    lines = generate_latest(together).decode().splitlines()
    assert len({line for line in lines if line[0] == "#"}) == len([line for line in lines if line[0] == "#"])
    return {line for line in lines if line[0] != "#"}


async def test_each_is_told_under_its_number_and_who_says_nothing_is_told_to_be_down(folder: Path) -> None:
    first, second, _ = (Worker(number, 3, folder) for number in (1, 2, 3))
    mine, other = counting(5), counting(7)
    async with first.answering(mine), second.answering(other):
        wanted = {
            'seen_total{kind="cat",worker="1"} 5.0',
            'seen_total{kind="cat",worker="2"} 7.0',
            'awake{worker="1"} 1.0',
            'awake{worker="2"} 1.0',
            'mercato_worker_up{worker="1"} 1.0',
            'mercato_worker_up{worker="2"} 1.0',
            'mercato_worker_up{worker="3"} 0.0',
        }
        assert await told(first, mine) == await told(second, other) == wanted


async def test_what_is_no_metrics_is_left_out(folder: Path) -> None:
    async def nonsense(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"\xff\xff nothing that could be read")
        writer.close()

    async with await asyncio.start_unix_server(nonsense, folder / "2"):
        lines = await told(Worker(1, 2, folder), counting(1))
    assert 'mercato_worker_up{worker="2"} 0.0' in lines
    assert 'seen_total{kind="cat",worker="1"} 1.0' in lines


async def test_a_worker_that_cannot_be_asked_serves_all_the_same(folder: Path) -> None:
    alone = Worker(1, 2, folder / "gone")
    async with alone.answering(counting(1)):
        assert 'mercato_worker_up{worker="1"} 1.0' in await told(alone, counting(1))
