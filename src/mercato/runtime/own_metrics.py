"""What a process tells of itself, whatever it serves: its version, what it takes, how late its loop is."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from prometheus_client import CollectorRegistry, ProcessCollector

from mercato import __version__
from mercato.kernel.counting import Histogram, Reading
from mercato.runtime.metrics import Measures
from mercato.runtime.workers import Worker

_EVERY_S = 0.1


@asynccontextmanager
async def measured(registry: CollectorRegistry) -> AsyncIterator[None]:
    """Measure the process meanwhile; where it is one of several workers, tell the others of it."""
    lag = Histogram(
        "mercato_event_loop_lag_seconds", "How much later than asked for the event loop turned to a task."
    )
    version = Reading(
        "gauge",
        "mercato_build_info",
        "1, labelled by the version.",
        ("version",),
        lambda: {(__version__,): 1},
    )
    Measures(registry).add([version, lag])
    ProcessCollector(registry=registry)
    worker = Worker.this()
    async with AsyncExitStack() as while_it_runs:
        if worker is not None:
            await while_it_runs.enter_async_context(worker.answering(registry))
        measuring = asyncio.create_task(_measure_lag(lag), name="loop-lag")
        while_it_runs.callback(measuring.cancel)
        yield


async def _measure_lag(lag: Histogram) -> None:
    """Measure again and again: what the loop does for one, all others wait for."""
    now = asyncio.get_running_loop().time
    while True:
        due = now() + _EVERY_S
        await asyncio.sleep(_EVERY_S)
        lag.observe(max(now() - due, 0.0))
