"""Cuts: from a moment on, the tokens that a subject was given before it are refused.

A token's id and a cut are both uuid7, so they compare as text. The token's id is made before its
subject is read from the store, the cut after the change is durable: a token that tells of the
subject as it was before the change always sorts before the cut.
"""

from datetime import datetime, timedelta

from mercato.kernel.clock import Clock
from mercato.kernel.ids import uuid7
from mercato.kernel.tenancy import TenantId

LEEWAY = timedelta(seconds=30)
"""How far the clocks of two machines may lie apart."""


def of_store(tenant: TenantId) -> str:
    """Return the subject that a cut of all tokens of a store is about."""
    return f"store:{tenant}"


class Revocations:
    """The cuts of this process. Those older than any token are forgotten."""

    def __init__(self, lifetime: timedelta, *, clock: Clock) -> None:
        """`lifetime` is the longest that a token is valid."""
        self.kept = lifetime + 2 * LEEWAY
        """How long a cut matters."""
        self._clock = clock
        self._cuts: dict[str, tuple[str, datetime]] = {}

    def __len__(self) -> int:
        """Return how many cuts are remembered."""
        return len(self._cuts)

    def cut(self, subject: str) -> None:
        """Refuse every token that `subject`, a user or a machine, has been given so far.

        Called once the change that is the reason is durable.
        """
        now = self._clock()
        while self._cuts and (first := next(iter(self._cuts))) and self._cuts[first][1] <= now:
            del self._cuts[first]
        self._cuts.pop(subject, None)
        self._cuts[subject] = uuid7(), now + self.kept

    def restore(self, subject: str, cut: str, until: datetime) -> None:
        """Take up a cut from before a restart, which matters until that moment."""
        known = self._cuts.get(subject)
        if known is None or known[0] < cut:
            self._cuts[subject] = cut, until

    def refuses(self, subject: str, token_id: str) -> bool:
        """Say whether the subject's token lies before its cut."""
        found = self._cuts.get(subject)
        return found is not None and token_id < found[0]
