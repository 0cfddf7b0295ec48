"""The processes that share a port, as metrics know them: whichever is asked tells of all.

Each answers its siblings on a socket of its own, in a folder that the process which started them has made.
"""

import asyncio
import logging
import os
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import msgspec
from prometheus_client import CollectorRegistry, Metric
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

log = logging.getLogger(__name__)

_VARIABLE = "_MERCATO_WORKER"
_LABEL = "worker"
_ANSWER_S = 1.0
"""How long a sibling may take to tell its metrics."""


class _Family(msgspec.Struct, array_like=True):
    """A metric as it is passed on."""

    name: str
    description: str
    kind: str
    samples: list[tuple[str, dict[str, str], float]]


_families = msgspec.msgpack.Decoder(list[_Family]).decode


@dataclass(frozen=True, slots=True)
class Worker:
    """One of several processes on one port; they are numbered from 1."""

    number: int
    of: int
    folder: Path

    @classmethod
    def this(cls) -> "Worker | None":
        """Return which one this process is, if it is one."""
        told = os.environ.get(_VARIABLE)
        if told is None:
            return None
        number, of, folder = told.split(" ", 2)
        return cls(int(number), int(of), Path(folder))

    @property
    def environ(self) -> dict[str, str]:
        """Return what tells a process that it is this one."""
        return {_VARIABLE: f"{self.number} {self.of} {self.folder}"}

    @asynccontextmanager
    async def answering(self, registry: CollectorRegistry) -> AsyncIterator[None]:
        """Tell siblings what is in the registry, meanwhile; if that is not possible, all else goes on."""

        async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(msgspec.msgpack.encode(list(_passed_on(registry.collect()))))
            writer.close()

        try:
            server = await asyncio.start_unix_server(answer, self._socket(self.number))
        except OSError as error:
            log.warning("siblings cannot be told the metrics", extra={"cause": repr(error)})
            yield
            return
        try:
            yield
        finally:
            server.close()

    async def all_of(self, registry: CollectorRegistry) -> Collector:
        """Return what this process has in its registry and its siblings in theirs, labelled by worker.

        A sibling that says nothing in time is left out, and told to be down.
        """
        others = [number for number in range(1, self.of + 1) if number != self.number]
        answers = await asyncio.gather(*map(self._ask, others))
        told = dict(zip(others, answers, strict=True))
        told[self.number] = list(_passed_on(registry.collect()))
        return _Together(dict(sorted(told.items())))

    async def _ask(self, number: int) -> list[_Family] | None:
        try:
            async with asyncio.timeout(_ANSWER_S):
                reader, writer = await asyncio.open_unix_connection(self._socket(number))
                try:
                    return _families(await reader.read())
                finally:
                    writer.close()
        except (OSError, TimeoutError, msgspec.MsgspecError) as error:
            log.warning("a worker does not tell its metrics", extra={"worker": number, "cause": repr(error)})
            return None

    def _socket(self, number: int) -> Path:
        return self.folder / str(number)


class _Together(Collector):
    """Metrics of several workers."""

    def __init__(self, told: dict[int, list[_Family] | None]) -> None:
        self._told = told

    def collect(self) -> Iterator[Metric]:
        """Return each metric once, with the samples of all."""
        merged: dict[str, Metric] = {}
        up = GaugeMetricFamily(
            "mercato_worker_up", "Whether a process that shares the port tells its metrics.", labels=[_LABEL]
        )
        for number, families in self._told.items():
            up.add_metric([str(number)], families is not None)
            for family in families or ():
                metric = merged.get(family.name)
                if metric is None:
                    metric = merged[family.name] = Metric(family.name, family.description, family.kind)
                for name, labels, value in family.samples:
                    metric.add_sample(name, {**labels, _LABEL: str(number)}, value)
        yield from merged.values()
        yield up


def _passed_on(metrics: Iterable[Metric]) -> Iterator[_Family]:
    for metric in metrics:
        samples = [(sample.name, sample.labels, float(sample.value)) for sample in metric.samples]
        yield _Family(metric.name, metric.documentation, metric.type, samples)
