"""What a process tells of its events and its failures, besides its requests."""

import logging
from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge

from mercato.kernel.errors import Unavailable
from mercato.messaging.bus import Bus, BusState
from mercato.runtime.process import Process

log = logging.getLogger(__name__)


class QueueMetrics:
    """How much waits between the services, read when it is asked for."""

    def __init__(self, process: Process, registry: CollectorRegistry) -> None:
        self._process = process
        self._unsent = Gauge(
            "mercato_outbox_unsent", "Events that no bus has confirmed.", ["service"], registry=registry
        )
        self._oldest = Gauge(
            "mercato_outbox_oldest_timestamp_seconds",
            "When the oldest event that waits was written; 0 if none waits.",
            ["service"],
            registry=registry,
        )
        self._parked = Gauge(
            "mercato_inbox_parked",
            "Events kept in the inbox: failed, waiting for their turn, dead, or to be replayed.",
            ["service", "state"],
            registry=registry,
        )
        self._own = [
            (each, Gauge(each.name, each.description, [each.label], registry=registry))
            for parts in process.composition.services.values()
            for each in parts.gauges
        ]
        bus = process.composition.bus
        if bus is not None:
            _watch_bus(bus, registry)

    async def read(self) -> None:
        """Read the outboxes and inboxes; while a database is away, what was read last stands."""
        try:
            await self._read()
        except Unavailable as error:
            log.warning("queues cannot be read", extra={"cause": repr(error)})

    async def _read(self) -> None:
        for name, outbox in self._process.outboxes.items():
            lag = await outbox.lag()
            self._unsent.labels(name).set(lag.unsent)
            self._oldest.labels(name).set(0 if lag.oldest is None else lag.oldest.timestamp())
        for name, inbox in self._process.inbox_stores.items():
            for state, count in (await inbox.counts()).items():
                self._parked.labels(name, state.value).set(count)
        for own, gauge in self._own:
            for value, count in (await own.read()).items():
                gauge.labels(value).set(count)


def _watch_bus(bus: Bus, registry: CollectorRegistry) -> None:
    """Tell how this process's part of the bus is, read when it is asked for."""
    told: dict[str, tuple[str, Callable[[BusState], float]]] = {
        "mercato_bus_connected": ("1 while events can be published and consumed.", lambda s: s.connected),
        "mercato_bus_unconfirmed": ("Events published and not confirmed yet.", lambda s: s.unconfirmed),
        "mercato_bus_unacknowledged": (
            "Events delivered and not durable in an inbox yet.",
            lambda s: s.unacknowledged,
        ),
        "mercato_bus_redelivered": (
            "Deliveries since the start that may have been made before.",
            lambda s: s.redelivered,
        ),
    }
    for name, (help_text, read) in told.items():
        Gauge(name, help_text, registry=registry).set_function(_reading(bus, read))


def _reading(bus: Bus, read: Callable[[BusState], float]) -> Callable[[], float]:
    return lambda: float(read(bus.state()))


class FailureCounter(logging.Handler):
    """Counts warnings and errors, so that whatever is logged as one can be alerted on.

    Mercato's own log messages are constants, which bounds the labels; others' are not told.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        super().__init__(logging.WARNING)
        self._failures = Counter(
            "mercato_failures",
            "Warnings and errors logged.",
            ["level", "logger", "event"],
            registry=registry,
        )

    def emit(self, record: logging.LogRecord) -> None:
        """Count one record."""
        own = record.name.startswith("mercato.")
        event = str(record.msg) if own else "other"
        self._failures.labels(record.levelname.lower(), record.name if own else "other", event).inc()
