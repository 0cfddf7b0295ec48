"""What a process needs of another: calls of it are bounded, counted, and not made while it keeps failing."""

import enum
import logging
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from mercato.adapters.bulkhead import Bulkhead
from mercato.adapters.http.breaker import Breaker, BreakerState, BreakerTerms, CircuitOpen
from mercato.adapters.http.retries import RetryBudget
from mercato.kernel.counting import Buckets
from mercato.kernel.errors import Overloaded

log = logging.getLogger(__name__)

AT_ONCE = 128


class Outcome(enum.StrEnum):
    """What became of a call."""

    OK = "ok"
    REFUSED = "refused"
    """It was answered with a refusal, such as a 404."""
    FAILED = "failed"
    TIMEOUT = "timeout"
    ABANDONED = "abandoned"
    """Its caller went away."""
    CIRCUIT_OPEN = "circuit_open"
    """It was not made, since those before it had failed."""
    FULL = "full"
    """It was not made, since too many waited."""


@dataclass(frozen=True, slots=True)
class Permit:
    """A call that is being made."""

    began: float
    number: int | None
    """The breaker's; None where it learns nothing."""
    has_place: bool


class Dependency:
    """One other process, or provider, as this process knows it."""

    def __init__(
        self,
        name: str,
        *,
        at_once: int = AT_ONCE,
        terms: BreakerTerms | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """At most `at_once` calls are made at a time, and as many more wait."""
        self.name = name
        self.breaker = Breaker(terms, self._changed)
        self.places = Bulkhead(at_once, at_once)
        self.budget = RetryBudget()
        self.opened = 0
        """How often the circuit has opened."""
        self.outcomes: Counter[Outcome] = Counter()
        self.timed = Buckets()
        self._clock = clock

    @property
    def state(self) -> BreakerState:
        """Whether calls go through."""
        return self.breaker.state(self._clock())

    async def enter(self, *, background: bool = False, placeless: bool = False) -> Permit:
        """Wait for a place, and begin a call. Raises CircuitOpen, and Overloaded.

        A call in the background waits for nothing and opens nothing, but helps to close a circuit.
        One that is `placeless` waits for no place and takes none.
        """
        has_place = not (background or placeless)
        if not background:
            self.check()
        if has_place:
            try:
                await self.places.take(f"Too many requests wait for the {self.name} service.", "dependency")
            except Overloaded:
                self.outcomes[Outcome.FULL] += 1
                raise
        now = self._clock()
        number = self.breaker.allows(now)
        if background:
            if self.breaker.state(now) is not BreakerState.HALF_OPEN:
                number = None
        elif number is None:
            if has_place:
                self.places.give_back()
            raise self._left_alone(now)
        return Permit(now, number, has_place)

    def leave(self, permit: Permit, outcome: Outcome) -> None:
        """End a call."""
        now = self._clock()
        if permit.has_place:
            self.places.give_back()
        self.outcomes[outcome] += 1
        self.timed.observe(now - permit.began)
        if permit.number is None:
            return
        if outcome in {Outcome.FAILED, Outcome.TIMEOUT}:
            self.breaker.failed(permit.number, now)
        elif outcome is Outcome.ABANDONED:
            self.breaker.abandoned(permit.number)
        else:
            self.breaker.succeeded(permit.number, now)

    def check(self) -> None:
        """Raise CircuitOpen where calls are not to be made."""
        now = self._clock()
        if self.breaker.state(now) is BreakerState.OPEN:
            raise self._left_alone(now)

    def _left_alone(self, now: float) -> CircuitOpen:
        self.outcomes[Outcome.CIRCUIT_OPEN] += 1
        return CircuitOpen(
            f"The {self.name} service keeps failing.", retry_after=self.breaker.retry_after(now)
        )

    def _changed(self, state: BreakerState) -> None:
        details = {"dependency": self.name}
        match state:
            case BreakerState.OPEN:
                self.opened += 1
                log.warning("circuit opened", extra=details)
            case BreakerState.HALF_OPEN:
                log.info("circuit half open", extra=details)
            case BreakerState.CLOSED:
                log.info("circuit closed", extra=details)
