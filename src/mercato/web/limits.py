"""Rate limits and daily quotas: first of the client's address, then of the caller's store.

Rates are kept by the generic cell rate algorithm (ITU-T I.371): one number per key, which is
when its bucket will be full again. Calls without a token count against the address only, so
nobody spends a store's quota from outside.
"""

import ipaddress
import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Protocol

from mercato.kernel.clock import to_micros
from mercato.kernel.errors import Kind, MercatoError
from mercato.kernel.tenancy import TenantId, Tier
from mercato.web.http import Header

MAX_KEYS = 50_000
"""How many addresses are told apart; of more, those idle for longest are forgotten."""
_REQUEST = 1_000_000
_IPV6_SITE = 64
"""Bits of an IPv6 address that tell one customer of a provider from the next (RFC 6177)."""


class RateLimited(MercatoError):
    """The caller is too fast, or has used up the day's quota."""

    kind = Kind.RATE_LIMITED
    code = "RATE_LIMIT_EXCEEDED"


@dataclass(frozen=True, slots=True)
class Allowance:
    """What a tier allows. 0 means no limit."""

    per_s: int = 0
    burst: int = 0
    per_day: int = 0


@dataclass(frozen=True, slots=True)
class _Verdict:
    """What came of one request: what is left, and when all of it is there again."""

    limit: int
    remaining: int
    reset: datetime
    retry_after: int = 0
    """Seconds until one request is allowed again; 0 if this one is."""

    @property
    def headers(self) -> list[Header]:
        """The X-RateLimit headers; the reset is in seconds since the epoch, as GitHub has it."""
        return [
            ("x-ratelimit-limit", str(self.limit)),
            ("x-ratelimit-remaining", str(self.remaining)),
            ("x-ratelimit-reset", str(math.ceil(self.reset.timestamp()))),
        ]


class _Rate:
    """Requests per second with a burst, by key.

    Kept is when the bucket will be full again, exactly: in units of a microsecond divided by the rate,
    of which one request costs a million.
    """

    def __init__(self) -> None:
        self._full_at: dict[str, tuple[int, int]] = {}
        """By key: the rate, and the moment in its units."""

    def take(self, key: str, per_s: int, burst: int, now: datetime) -> _Verdict:
        """Count one request of `key`, if it is allowed."""
        micros, size = to_micros(now), max(burst, 1) * _REQUEST
        rate, full_at = self._full_at.pop(key, (per_s, 0))
        # A clock that was set back must not keep anybody waiting for longer than an empty bucket does.
        missing = min(max(full_at - micros * rate, 0), size)
        wait = missing + _REQUEST - size
        if wait <= 0:
            missing += _REQUEST
        if len(self._full_at) >= MAX_KEYS:
            del self._full_at[next(iter(self._full_at))]
        self._full_at[key] = per_s, micros * per_s + missing
        reset = now + timedelta(microseconds=-(-missing // per_s))
        retry_after = -(-wait // (per_s * 1_000_000)) if wait > 0 else 0
        return _Verdict(per_s, (size - missing) // _REQUEST, reset, retry_after)


class QuotaStore(Protocol):
    """Keeps how many requests each store has made on a day (UTC)."""

    async def load(self, day: date) -> Mapping[TenantId, int]:
        """Return the counts of a day."""
        ...

    async def add(self, day: date, counted: Mapping[TenantId, int]) -> Mapping[TenantId, int]:
        """Add to counts of a day; return what they are then, with what other processes have counted."""
        ...


class Limits:
    """Counts requests. Its counts are this process's; the day's are kept in a store."""

    def __init__(
        self,
        tiers: Mapping[Tier, Allowance],
        *,
        address: Allowance | None = None,
        quotas: QuotaStore | None = None,
    ) -> None:
        """`address` is allowed to every client address; None sets no limit to it."""
        self._tiers = dict(tiers)
        self._address = address
        self._quotas = quotas
        self._addresses = _Rate()
        self._stores = _Rate()
        self._day = date.min
        self._used: dict[TenantId, int] = {}
        self._unsaved: dict[TenantId, int] = {}
        """What was counted since the last time that it was written."""

    def of_address(self, client: str, now: datetime) -> list[Header]:
        """Count a request of an address; return the headers that tell of it. Raises RateLimited."""
        if self._address is None or not self._address.per_s:
            return []
        verdict = self._addresses.take(site(client), self._address.per_s, self._address.burst, now)
        return _told(verdict, "Too many requests from this address.")

    def of_store(self, store: TenantId, tier: Tier, now: datetime) -> list[Header]:
        """Count a request of a store; return the headers that tell of it. Raises RateLimited.

        Of two limits the headers tell of the one that is nearer. A request that is refused is not counted
        against the day.
        """
        allowance = self._tiers[tier]
        day = self._of_day(store, allowance.per_day, now) if allowance.per_day else None
        rate = None
        if allowance.per_s:
            rate = self._stores.take(store, allowance.per_s, allowance.burst, now)
            _told(rate, f"Too many requests for a store of the tier {tier}.")
        if day is None:
            return [] if rate is None else rate.headers
        self._used[store] = self._used.get(store, 0) + 1
        self._unsaved[store] = self._unsaved.get(store, 0) + 1
        return day.headers if rate is None or day.remaining < rate.remaining else rate.headers

    def _of_day(self, store: TenantId, per_day: int, now: datetime) -> _Verdict:
        """Return what is left of the day's quota once this request is counted. Raises RateLimited."""
        today = now.astimezone(UTC).date()
        if today > self._day:
            self._day = today
            self._used.clear()
            self._unsaved.clear()
        # A clock that was set back over midnight goes on with the day that had begun.
        tomorrow = datetime(self._day.year, self._day.month, self._day.day, tzinfo=UTC) + timedelta(days=1)
        left = per_day - self._used.get(store, 0)
        if left <= 0:
            wait = math.ceil((tomorrow - now).total_seconds())
            spent = _Verdict(per_day, 0, tomorrow, max(wait, 1))
            _told(spent, f"The store has used its {per_day} requests of today.")
        return _Verdict(per_day, left - 1, tomorrow)

    async def load(self, now: datetime) -> None:
        """Take up the day's counts from before a restart."""
        if self._quotas is not None:
            self._day = now.astimezone(UTC).date()
            self._used = dict(await self._quotas.load(self._day))

    async def save(self) -> None:
        """Write what was counted, and learn what others have. Raises what the store raises; try it again."""
        if self._quotas is None or not self._unsaved:
            return
        day, counted = self._day, self._unsaved
        self._unsaved = {}
        try:
            totals = await self._quotas.add(day, counted)
        except BaseException:
            # It may have been written all the same: rather counted twice than not at all.
            if day == self._day:
                for store, count in counted.items():
                    self._unsaved[store] = self._unsaved.get(store, 0) + count
            raise
        if day == self._day:
            for store, total in totals.items():
                self._used[store] = total + self._unsaved.get(store, 0)


class OverLimit(RateLimited):
    """A refusal that tells of the limit in its headers."""

    def __init__(self, message: str, verdict: _Verdict) -> None:
        super().__init__(message, retry_after=verdict.retry_after)
        self.headers = verdict.headers


def _told(verdict: _Verdict, refusal: str) -> list[Header]:
    if verdict.retry_after:
        raise OverLimit(refusal, verdict)
    return verdict.headers


def site(client: str) -> str:
    """Return what limits tell clients apart by: the IPv4 address, or the IPv6 network."""
    if ":" not in client:
        return client
    try:
        address = ipaddress.IPv6Address(client.strip("[]").partition("%")[0])
    except ValueError:
        return client
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(ipaddress.IPv6Network((address, _IPV6_SITE), strict=False))
