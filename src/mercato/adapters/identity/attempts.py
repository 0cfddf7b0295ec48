"""What is counted over a while, by key: failed attempts to sign in, and emails sent. In this process."""

import asyncio
import math
from collections import deque
from collections.abc import AsyncIterator, Callable, Hashable, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import datetime, timedelta

from mercato.kernel.counting import Measure
from mercato.kernel.tenancy import TenantId
from mercato.web.limits import RateLimited, rate_limited, site

MAX_KEYS = 50_000
"""How many keys are told apart; of more, those counted longest ago are forgotten."""
MAX_WAITING = 100
"""How many attempts of one key wait for those under way."""
_ATTEMPTS = ("attempts", "none")
"""The limit, and the tier that it is of."""


def _unseen() -> None:
    """Nobody counts refusals."""


class _Tally:
    """What has been counted of one key, and who is under way."""

    __slots__ = ("at", "pending", "waiting")

    def __init__(self) -> None:
        self.at: deque[datetime] = deque()
        self.pending = 0
        self.waiting: set[asyncio.Future[None]] = set()

    def full_for(self, limit: int, since: datetime) -> float:
        """Return for how many seconds nothing more is allowed; 0 if something is."""
        while self.at and self.at[0] <= since:
            self.at.popleft()
        return (self.at[0] - since).total_seconds() if len(self.at) >= limit else 0.0


class _Window:
    """At most `limit` of each key within a span that slides."""

    def __init__(self, limit: int, span: timedelta, refused: Callable[[], None] = _unseen) -> None:
        """`refused` is called for each attempt that may not begin."""
        self._refused = refused
        self._limit = limit
        self._span = span
        self._tallies: dict[Hashable, _Tally] = {}

    def __len__(self) -> int:
        return len(self._tallies)

    def take(self, key: Hashable, *, at: datetime) -> int:
        """Count one, if it is allowed: return 0, or in how many seconds one will be."""
        tally = self._tally(key)
        wait = tally.full_for(self._limit, at - self._span)
        if not wait:
            tally.at.append(at)
        return math.ceil(wait)

    def forget(self, key: Hashable) -> None:
        """Begin to count anew."""
        if key in self._tallies:
            self._tallies[key].at.clear()

    async def enter(self, key: Hashable, *, at: datetime) -> _Tally:
        """Let one attempt begin, which counts until it has ended. Raises RateLimited.

        One that only those under way stand in the way of waits for them: they may yet succeed.
        """
        tally = self._tally(key)
        while True:
            wait = tally.full_for(self._limit, at - self._span)
            if wait or len(tally.waiting) >= MAX_WAITING:
                self._refused()
                raise RateLimited(
                    "Too many attempts to sign in have failed.", retry_after=max(math.ceil(wait), 1)
                )
            if len(tally.at) + tally.pending < self._limit:
                tally.pending += 1
                return tally
            turn = asyncio.get_running_loop().create_future()
            tally.waiting.add(turn)
            try:
                await turn
            finally:
                tally.waiting.discard(turn)

    def enter_anyway(self, key: Hashable, *, at: datetime) -> _Tally:
        """Count an attempt that was let through elsewhere, until it has ended."""
        tally = self._tally(key)
        tally.full_for(self._limit, at - self._span)
        tally.pending += 1
        return tally

    def leave(self, key: Hashable, tally: _Tally, *, failed_at: datetime | None) -> None:
        """End an attempt; `failed_at` counts it."""
        tally.pending -= 1
        if failed_at is not None and len(tally.at) < self._limit:
            tally.at.append(failed_at)
        for turn in tally.waiting:
            if not turn.done():
                turn.set_result(None)
        if not (tally.at or tally.pending or tally.waiting) and self._tallies.get(key) is tally:
            del self._tallies[key]

    def _tally(self, key: Hashable) -> _Tally:
        tally = self._tallies.pop(key, None)
        if tally is None:
            tally = _Tally()
            if len(self._tallies) >= MAX_KEYS:
                del self._tallies[next(iter(self._tallies))]
        self._tallies[key] = tally
        return tally


class LinkLimit:
    """See users.ports.LinkLimit."""

    def __init__(self, limit: int = 5, span: timedelta = timedelta(hours=1)) -> None:
        self.limit = limit
        self.span = span
        self._window = _Window(limit, span)

    async def take(self, key: tuple[str, ...], *, at: datetime) -> int:
        """Count one, if it is allowed: return 0, or in how many seconds one will be."""
        return self._window.take(key, at=at)

    def note(self, key: tuple[str, ...], *, at: datetime) -> None:
        """Count one that was allowed elsewhere."""
        self._window.take(key, at=at)


class Attempt:
    """See users.ports.Attempt."""

    outcome: bool | None = None

    def succeeded(self) -> None:
        """Forget what failed before: the password is right."""
        self.outcome = True

    def failed(self) -> None:
        """Count it: the password is wrong."""
        self.outcome = False

    def failed_at(self, at: datetime) -> datetime | None:
        """Return `at`, the moment of the attempt, if it has failed."""
        return at if self.outcome is False else None


class MemoryAttempts:
    """See users.ports.Attempts. Counts by account and by client address."""

    def __init__(
        self, *, of_account: int = 10, of_address: int = 100, span: timedelta = timedelta(minutes=15)
    ) -> None:
        self.of_account, self.of_address, self.span = of_account, of_address, span
        self._counted = rate_limited(_ATTEMPTS)
        self._accounts = _Window(of_account, span, self.refused)
        self._addresses = _Window(of_address, span, self.refused)

    @property
    def measures(self) -> tuple[Measure, ...]:
        """Return what is told of what was refused."""
        return (self._counted,)

    def refused(self) -> None:
        """Count an attempt that may not begin."""
        self._counted.add(*_ATTEMPTS)

    @asynccontextmanager
    async def attempt(
        self, tenant: TenantId, account: str, address: str, *, at: datetime
    ) -> AsyncIterator[Attempt]:
        """Begin an attempt. Raises RateLimited."""
        key, client = (tenant, account), site(address)
        attempt = Attempt()
        of_account = await self._accounts.enter(key, at=at)
        try:
            of_address = await self._addresses.enter(client, at=at)
            try:
                yield attempt
            finally:
                self._addresses.leave(client, of_address, failed_at=attempt.failed_at(at))
        finally:
            self._leave(key, of_account, attempt, at)

    @contextmanager
    def let_through(self, tenant: TenantId, account: str, address: str, *, at: datetime) -> Iterator[Attempt]:
        """Count an attempt that was let through elsewhere, while it is under way and what comes of it."""
        key, client = (tenant, account), site(address)
        attempt = Attempt()
        of_account = self._accounts.enter_anyway(key, at=at)
        of_address = self._addresses.enter_anyway(client, at=at)
        try:
            yield attempt
        finally:
            self._addresses.leave(client, of_address, failed_at=attempt.failed_at(at))
            self._leave(key, of_account, attempt, at)

    def _leave(self, key: Hashable, tally: _Tally, attempt: Attempt, at: datetime) -> None:
        if attempt.outcome:
            self._accounts.forget(key)
        self._accounts.leave(key, tally, failed_at=attempt.failed_at(at))

    async def forgive(self, tenant: TenantId, account: str) -> None:
        """Forget an account's failures."""
        self._accounts.forget((tenant, account))
