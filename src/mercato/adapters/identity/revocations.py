"""Cuts: from a moment on, the tokens that a subject was given before it are refused.

A token's id and a cut are both uuid7, so they compare as text. The token's id is made before its
subject is read from the store, the cut after the change is durable: a token that tells of the
subject as it was before the change always sorts before the cut.
"""

from datetime import datetime, timedelta
from typing import NamedTuple

from mercato.kernel.clock import Clock
from mercato.kernel.ids import sort_after, uuid7
from mercato.kernel.tenancy import TenantId

LEEWAY = timedelta(seconds=30)
"""How far the clocks of two machines may lie apart."""


def of_store(tenant: TenantId) -> str:
    """Return the subject that a cut of all tokens of a store is about."""
    return f"store:{tenant}"


class Cut(NamedTuple):
    """From `cut` on, until which moment it matters, for a subject."""

    subject: str
    cut: str
    until: datetime


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
        self._keep(subject, uuid7(), self._clock() + self.kept)

    def restore(self, subject: str, cut: str, until: datetime) -> None:
        """Take up a cut from before a restart or from elsewhere, which matters until that moment.

        Tokens that are given out here from now on lie after it, however the clocks differ.
        """
        known = self._cuts.get(subject)
        if known is None or known[0] < cut:
            sort_after(cut)
            self._keep(subject, cut, until)

    def _keep(self, subject: str, cut: str, until: datetime) -> None:
        now = self._clock()
        while self._cuts and (first := next(iter(self._cuts))) and self._cuts[first][1] <= now:
            del self._cuts[first]
        self._cuts.pop(subject, None)
        self._cuts[subject] = cut, until

    def refuses(self, subject: str, token_id: str) -> bool:
        """Say whether the subject's token lies before its cut."""
        found = self._cuts.get(subject)
        return found is not None and token_id < found[0]
