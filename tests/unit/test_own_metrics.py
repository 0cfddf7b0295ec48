"""What a process tells of itself."""

import asyncio
import time

from prometheus_client import CollectorRegistry

from mercato import __version__
from mercato.runtime.own_metrics import measured
from tests.waiting import until


def value(registry: CollectorRegistry, name: str, **labels: str) -> float:
    found = registry.get_sample_value(name, labels)
    assert found is not None
    return found


async def test_a_loop_that_stands_still_is_seen_and_so_is_what_runs() -> None:
    registry = CollectorRegistry()
    async with measured(registry):
        await until(lambda: value(registry, "mercato_event_loop_lag_seconds_count") >= 1)
        before = value(registry, "mercato_event_loop_lag_seconds_sum")
        # The loop's next look is due within a tenth of a second, and comes that much later.
        asyncio.get_running_loop().call_soon(time.sleep, 0.5)
        await until(lambda: value(registry, "mercato_event_loop_lag_seconds_sum") - before >= 0.35)
    assert value(registry, "mercato_build_info", version=__version__) == 1
    assert value(registry, "process_resident_memory_bytes") > 0
