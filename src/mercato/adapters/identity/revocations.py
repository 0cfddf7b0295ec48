"""Cuts: from a moment on, the tokens that a subject was given before it are refused.

A token's id and a cut are both uuid7, so they compare as text. The token's id is made before its
subject is read from the store, and the cut lies beyond the moment when the change is durable: a
token that tells of the subject as it was before the change always sorts before the cut. One that
is made after the change may sort before it too, so a token also says which cuts its issuer knew
of before it read the subject: those do not refuse it.
"""

from datetime import datetime, timedelta
from typing import NamedTuple

from mercato.kernel.clock import Clock
from mercato.kernel.ids import uuid7
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


class _Known(NamedTuple):
    cut: str
    since: str
    """An id from the moment when this process came to know of the cut."""
    until: datetime


class Revocations:
    """The cuts of this process. Those older than any token are forgotten."""

    def __init__(self, lifetime: timedelta, *, clock: Clock) -> None:
        """`lifetime` is the longest that a token is valid."""
        self.kept = lifetime + 2 * LEEWAY
        """How long a cut matters."""
        self._clock = clock
        self._cuts: dict[str, _Known] = {}

    def __len__(self) -> int:
        """Return how many cuts are remembered."""
        return len(self._cuts)

    def restore(self, subject: str, cut: str, until: datetime) -> None:
        """Take up a durable cut, made here or elsewhere, which matters until that moment.

        Tokens whose ids are made here from now on are not refused, however the clocks differ.
        """
        known = self._cuts.get(subject)
        if known is not None and known.cut >= cut:
            return
        now = self._clock()
        while self._cuts and (first := next(iter(self._cuts))) and self._cuts[first].until <= now:
            del self._cuts[first]
        self._cuts.pop(subject, None)
        self._cuts[subject] = _Known(cut, uuid7(), until)

    def allowed_for(self, subject: str, token_id: str) -> str:
        """Return what the subject's token of that id must say of the cuts its issuer knew; "" for none."""
        known = self._cuts.get(subject)
        return known.cut if known is not None and known.since < token_id < known.cut else ""

    def refuses(self, subject: str, token_id: str, allowed: str = "") -> bool:
        """Say whether the subject's token lies before its cut, and does not say that it knew of it."""
        known = self._cuts.get(subject)
        return known is not None and token_id < known.cut and allowed < known.cut
