"""What /metrics answers: what is counted in this process and its siblings, and what is read for it."""

import asyncio

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import generate_latest

from mercato.runtime.metrics import Measures, measures_of
from mercato.runtime.process import Process
from mercato.runtime.readings import Readings
from mercato.runtime.workers import Worker


class Exposition:
    """Tells the metrics of a process, within a second or two, whatever is away."""

    def __init__(self, registry: CollectorRegistry, process: Process) -> None:
        """`registry` has what is counted in the process; what its parts count is put there, too."""
        self._registry = registry
        self._readings = Readings(process)
        Measures(registry).add(measures_of(process))
        if process.composition.shared is not None:
            process.composition.shared.measure(registry)
        # What is read is the same whichever worker reads it.
        self._read = CollectorRegistry()
        Measures(self._read).add(self._readings.measures)
        self._worker = Worker.this()

    async def text(self) -> bytes:
        """Return all metrics in Prometheus's text format."""
        if self._worker is None:
            await self._readings.read()
            return generate_latest(self._registry) + generate_latest(self._read)
        together, _ = await asyncio.gather(self._worker.all_of(self._registry), self._readings.read())
        counted = CollectorRegistry()
        counted.register(together)
        return generate_latest(counted) + generate_latest(self._read)
