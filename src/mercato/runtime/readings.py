"""What waits between the services, and other figures that are in databases and brokers.

They are read when somebody asks for the metrics, who waits no longer than a moment for it. What a source
told last stands until it tells more; one that has not answered yet is not asked again meanwhile.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from functools import partial

from mercato.adapters.service import MOST_COUNTED
from mercato.kernel.counting import Measure, Reading, Values
from mercato.messaging.bus import Bus
from mercato.runtime.process import Process

log = logging.getLogger(__name__)

_WAIT_S = 1.0

_Figures = dict[Values, float]
_Source = Callable[[], Awaitable[None]]


class Readings:
    """Figures that have to be read."""

    def __init__(self, process: Process) -> None:
        self._process = process
        self._unsent: _Figures = {}
        self._oldest: _Figures = {}
        self._parked: _Figures = {}
        self._queues: _Figures = {}
        self._up: _Figures = {}
        self._own: list[Reading] = []
        self._sources: dict[str, list[_Source]] = {name: [] for name in process.outboxes}
        self._reading: dict[str, asyncio.Task[None]] = {}
        for name in process.outboxes:
            self._sources[name].append(self._read_events(name))
        for name, parts in process.composition.services.items():
            for gauge in parts.gauges:
                figures: _Figures = {}
                self._own.append(_gauge(gauge.name, gauge.description, gauge.labels, figures))
                self._sources[name].append(_read_into(figures, gauge.read))
        bus = process.composition.bus
        self._has_queues = bus is not None and bus.has_queues
        if bus is not None and bus.has_queues:
            self._sources["bus"] = [self._read_queues(bus)]

    @property
    def measures(self) -> list[Measure]:
        """Return what is told of them."""
        found: list[Measure] = [*self._own]
        if self._has_queues:
            queues = "Events that wait in a queue of the broker: a service's own, or of what it refused."
            found.append(_gauge("mercato_queue_depth", queues, ("queue",), self._queues))
        if self._process.outboxes:
            found += self._of_events()
        return found

    def _of_events(self) -> list[Measure]:
        return [
            _gauge(
                "mercato_outbox_unsent",
                f"Events that no bus has confirmed; counted up to {MOST_COUNTED}.",
                ("service",),
                self._unsent,
            ),
            _gauge(
                "mercato_outbox_oldest_timestamp_seconds",
                "When the oldest event that waits was written; 0 if none waits.",
                ("service",),
                self._oldest,
            ),
            _gauge(
                "mercato_inbox_parked",
                "Events kept in the inbox: failed, waiting for their turn, dead, or to be replayed;"
                f" counted up to {MOST_COUNTED}.",
                ("service", "state"),
                self._parked,
            ),
            _gauge(
                "mercato_source_up",
                "1 where a service's database, or the broker as bus, gave the figures of now;"
                " 0 while older ones stand.",
                ("source",),
                self._up,
            ),
        ]

    async def read(self) -> None:
        """Read all, each source beside the others; what takes longer than a moment is for the next time."""
        for name, sources in self._sources.items():
            if name not in self._reading:
                task = asyncio.create_task(_one_by_one(sources), name=f"readings-{name}")
                self._reading[name] = task
                task.add_done_callback(partial(self._done, name))
        if self._reading:
            await asyncio.wait(self._reading.values(), timeout=_WAIT_S)
        if self._reading:
            self._up.update({(name,): 0 for name in self._reading})
            log.warning("figures for the metrics are late", extra={"of": ", ".join(self._reading)})

    def _done(self, name: str, task: "asyncio.Task[None]") -> None:
        del self._reading[name]
        error = None if task.cancelled() else task.exception()
        self._up[name,] = int(error is None)
        if error is not None:
            log.warning("figures for the metrics cannot be read", extra={"of": name, "cause": repr(error)})

    def _read_events(self, name: str) -> _Source:
        outbox, inbox = self._process.outboxes[name], self._process.inbox_stores[name]

        async def read() -> None:
            lag = await outbox.lag(MOST_COUNTED)
            self._unsent[name,] = lag.unsent
            self._oldest[name,] = 0 if lag.oldest is None else lag.oldest.timestamp()
            for state, count in (await inbox.counts(MOST_COUNTED)).items():
                self._parked[name, state.value] = count

        return read

    def _read_queues(self, bus: Bus) -> _Source:
        async def read() -> None:
            self._queues.update({(queue,): depth for queue, depth in (await bus.depths()).items()})

        return read


async def _one_by_one(sources: "list[_Source]") -> None:
    for read in sources:
        await read()


def _read_into(figures: _Figures, read: Callable[[], Awaitable[Mapping[Values, int]]]) -> _Source:
    async def run() -> None:
        figures.update(await read())

    return run


def _gauge(name: str, help_text: str, labels: Values, figures: _Figures) -> Reading:
    return Reading("gauge", name, help_text, labels, lambda: figures)
