"""What a service is made of, as the composition root puts it together."""

from collections.abc import Awaitable, Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from mercato.adapters.sql.claims import SqlClaims
from mercato.adapters.sql.steps import Steps
from mercato.kernel.counting import Measure, Values
from mercato.messaging.inbox import Handler
from mercato.web.endpoint import Routes

if TYPE_CHECKING:
    from mercato.adapters.http.dependency import Dependency

Worker = Callable[[], Coroutine[Any, Any, None]]
"""A background loop that runs until it is cancelled and outlives the failures it meets."""


MOST_COUNTED = 100_000
"""Of what is counted in a database for a gauge, so much at most: it is read again and again."""


@dataclass(frozen=True, slots=True)
class Gauge:
    """Figures that a service tells, by labels, read when they are asked for."""

    name: str
    description: str
    labels: Values
    read: Callable[[], Awaitable[Mapping[Values, int]]]
    """Returns the figures by their labels' values. Raises Unavailable."""


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
    dependencies: "tuple[Dependency, ...]" = ()
    """Whom it calls besides other services."""
    measures: tuple[Measure, ...] = ()
    """What it counts."""
