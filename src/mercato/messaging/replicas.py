"""Which replica of a service relays its events, and how the others wake it."""

import asyncio
from collections.abc import Callable
from typing import Protocol


class Replicas(Protocol):
    """One replica's view of the others that share its database."""

    async def lead(self) -> bool:
        """Become or stay the one that relays, for a while; say whether this replica is."""
        ...

    async def still_leads(self) -> bool:
        """Say whether this replica is the one now. It may have slept for long without knowing."""
        ...

    async def resign(self) -> None:
        """Let another become it at once."""
        ...

    async def call(self) -> None:
        """Wake whoever relays. It may go unheard."""
        ...

    async def hear(self, wake: Callable[[], None]) -> None:
        """Call `wake` whenever another replica calls, and whenever calls may have been missed.

        Runs until it is cancelled or fails.
        """
        ...


class Alone:
    """The only process on its database, by a lock that it holds: see Replicas."""

    async def lead(self) -> bool:
        """Say yes."""
        return True

    async def still_leads(self) -> bool:
        """Say yes."""
        return True

    async def resign(self) -> None:
        """Nobody else is there."""

    async def call(self) -> None:
        """Nobody else is there."""

    async def hear(self, wake: Callable[[], None]) -> None:  # noqa: ARG002  nobody calls
        """Hear nothing."""
        await asyncio.Event().wait()
