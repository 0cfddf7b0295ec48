"""Caches of several replicas, kept coherent: what one of them changes, all of them forget."""

from collections.abc import Callable, Sequence
from typing import Protocol

from mercato.adapters.signals.port import Signals

UNHEARD_S = 1.0
"""How old an answer may be while the other replicas are not heard."""


class Flushable(Protocol):
    """A cache that can be emptied."""

    def clear(self) -> None:
        """Forget everything, and keep nothing whose loading had begun before."""
        ...

    def bound_age(self, most_s: float | None) -> None:
        """Keep what is loaded from now on for no longer than that; None: for as long as was meant."""
        ...


Invalidate = Callable[[str, str], None]
"""Forgets what is kept of one object of a store. Called once the object's change is durable."""


def coherent(topic: str, signals: Signals, invalidate: Invalidate, *caches: Flushable) -> Invalidate:
    """Return `invalidate` as it has to be called: here at once, and in every other replica soon.

    While others are not heard, everything that `caches` keep is at most UNHEARD_S old.
    """

    def changed(tenant: str, name: str) -> None:
        invalidate(tenant, name)
        signals.tell(topic, tenant, name)

    def heard(words: Sequence[str]) -> None:
        tenant, name = words
        invalidate(tenant, name)

    def gap(hearing: bool) -> None:  # noqa: FBT001  the port's own form
        for cache in caches:
            cache.bound_age(None if hearing else UNHEARD_S)
            cache.clear()

    signals.listen(topic, heard, gap)
    return changed
