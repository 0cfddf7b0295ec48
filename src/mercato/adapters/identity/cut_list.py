"""Cuts that services hear of which do not have users' database: a list that users keeps, and signals."""

import asyncio
import logging
import time
from collections.abc import Sequence
from datetime import datetime
from typing import Protocol

from mercato.adapters.identity.revocations import Cut, Revocations
from mercato.adapters.signals.port import Signals
from mercato.kernel.clock import Clock, from_micros, to_micros
from mercato.kernel.errors import Unavailable
from mercato.kernel.principal import Principal
from mercato.web.auth import Authenticator

log = logging.getLogger(__name__)

TOPIC = "cuts"
_AGAIN_S = 0.5
_GRACE_S = 1.0
"""How late a cut may take effect."""


class CutList(Protocol):
    """The cuts that matter, kept where every service can read them."""

    async def add(self, cuts: Sequence[Cut]) -> None:
        """Add cuts and signal each of them. Idempotent. Raises Unavailable."""
        ...

    async def fill(self, cuts: Sequence[Cut]) -> None:
        """Add all the cuts that matter, after which the list is whole. Raises Unavailable."""
        ...

    async def is_whole(self) -> bool:
        """Say whether the list has lost nothing since it was filled. Raises Unavailable."""
        ...

    async def load(self, *, at: datetime) -> list[Cut]:
        """Return the cuts that matter then. Raises Unavailable."""
        ...


def words(cut: Cut) -> tuple[str, str, str]:
    """Return the words of a cut's signal."""
    return cut.subject, cut.cut, str(to_micros(cut.until))


class HeardCuts:
    """Takes up the cuts that other processes make: those on the list, and from then on by signals."""

    def __init__(self, revocations: Revocations, cuts: CutList, signals: Signals, *, clock: Clock) -> None:
        self._revocations = revocations
        self._cuts = cuts
        self._clock = clock
        self._missed = asyncio.Event()
        self._missed.set()
        self._unheard_since: float | None = time.monotonic()
        self._hearing = True
        signals.listen(TOPIC, self._take, self._gap)

    def _take(self, signal: Sequence[str]) -> None:
        subject, cut, until = signal
        self._revocations.restore(subject, cut, from_micros(int(until)))

    def _gap(self, hearing: bool) -> None:  # noqa: FBT001  the port's own form
        self._hearing = hearing
        self._unheard_since = self._unheard_since or time.monotonic()
        self._missed.set()

    @property
    def heard(self) -> bool:
        """Whether every cut is heard of, or was a second ago."""
        return self._unheard_since is None or time.monotonic() - self._unheard_since < _GRACE_S

    async def run(self) -> None:
        """Load the list at the start and after each gap, for ever."""
        while True:
            await self._missed.wait()
            if not await self.catch_up():
                await asyncio.sleep(_AGAIN_S)

    async def catch_up(self) -> bool:
        """Load the list, if it can be; say whether everything is known now, until the next gap."""
        self._missed.clear()
        try:
            # Asked first: a list that is lost afterwards was whole when it was read.
            whole = await self._cuts.is_whole()
            for each in await self._cuts.load(at=self._clock()):
                self._revocations.restore(*each)
        except Unavailable as error:
            log.warning("cuts of tokens cannot be loaded", extra={"cause": repr(error)})
            whole = False
        # A gap in between has set it again.
        if whole and self._hearing and not self._missed.is_set():
            self._unheard_since = None
            return True
        self._missed.set()
        return False


class NoUnheardTokens:
    """See web.auth.Authenticator. Refuses every token while it cannot be known which of them are cut."""

    def __init__(self, authenticator: Authenticator, heard: HeardCuts) -> None:
        self._authenticator = authenticator
        self._heard = heard

    async def authenticate(self, token: str) -> Principal:
        """Return who the token stands for. Raises Unauthenticated, Unavailable."""
        if not self._heard.heard:
            raise Unavailable("Whether the token still holds cannot be told now.", retry_after=1)
        return await self._authenticator.authenticate(token)
