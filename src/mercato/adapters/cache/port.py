"""The port to a cache of encoded answers."""

from collections.abc import Awaitable, Callable
from typing import Protocol

from mercato.kernel.counting import Measure

Key = tuple[str, str]
"""The tenant and what is cached of it, so that no store can be shown another's answer."""

Load = Callable[[], Awaitable[bytes]]


class Cache(Protocol):
    """Keeps encoded answers for a while. What it keeps may be lost at any time."""

    def get(self, key: Key) -> bytes | None:
        """Return what is kept under `key`."""
        ...

    async def load(self, key: Key, load: Load) -> bytes:
        """Return what `load` returns, and keep it unless `key` was invalidated meanwhile.

        Callers at the same time share one load, which goes on when one of them is cancelled.
        Raises what `load` raises, and keeps nothing then.
        """
        ...

    def invalidate(self, key: Key) -> None:
        """Forget `key`: whoever asks from now on gets what was loaded after this."""
        ...

    def clear(self) -> None:
        """Forget everything: whoever asks from now on gets what was loaded after this."""
        ...

    def measures(self, name: str) -> tuple[Measure, ...]:
        """Return what is told of it, under its name."""
        ...

    def bound_age(self, most_s: float | None) -> None:
        """Keep what is loaded from now on for no longer than that; None: for as long as was meant."""
        ...
