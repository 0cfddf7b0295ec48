"""What a service is made of, as the composition root puts it together."""

from collections.abc import Awaitable, Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from typing import Any

from mercato.adapters.sql.claims import SqlClaims
from mercato.adapters.sql.steps import Steps
from mercato.kernel.counting import Measure
from mercato.messaging.inbox import Handler
from mercato.web.endpoint import Routes

Worker = Callable[[], Coroutine[Any, Any, None]]
"""A background loop that runs until it is cancelled and outlives the failures it meets."""


@dataclass(frozen=True, slots=True)
class Gauge:
    """A figure that a service tells, by label, read when it is asked for."""

    name: str
    description: str
    label: str
    read: Callable[[], Awaitable[Mapping[str, int]]]
    """Returns the figure by the label's value. Raises Unavailable."""


@dataclass(frozen=True, slots=True)
class ServiceParts:
    """One service, wired and not yet started."""

    name: str
    steps: Steps
    claims: SqlClaims
    routes: Routes
    handlers: Mapping[str, Handler] = field(default_factory=dict)
    """What it does on which event."""
    families: frozenset[str] = frozenset()
    """The event families it subscribes to; types without a handler only take their turn."""
    workers: tuple[Worker, ...] = ()
    gauges: tuple[Gauge, ...] = ()
    measures: tuple[Measure, ...] = ()
    """What it counts."""
