"""Rate limits and daily quotas: first of the client's address, then of the caller's store.

Rates are kept by the generic cell rate algorithm (ITU-T I.371): one number per key, which is
when its bucket will be full again. Calls without a token count against the address only, so
nobody spends a store's quota from outside.
"""

import ipaddress
import math
from collections.abc import Awaitable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Protocol

from mercato.kernel.clock import to_micros
from mercato.kernel.counting import Counter, Measure
from mercato.kernel.errors import Kind, MercatoError
from mercato.kernel.tenancy import TenantId, Tier
from mercato.web.http import Header

MAX_KEYS = 50_000
"""How many addresses are told apart; of more, those idle for longest are forgotten."""
REQUEST = 1_000_000
"""What one request costs, in a bucket's units."""
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
class Verdict:
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


def rated(per_s: int, burst: int, missing: int, wait: int, now: datetime) -> Verdict:
    """Return what came of a request: `missing` of the bucket, and to `wait` for, both in its units."""
    size = max(burst, 1) * REQUEST
    reset = now + timedelta(microseconds=-(-missing // per_s))
    retry_after = -(-wait // (per_s * 1_000_000)) if wait > 0 else 0
    return Verdict(per_s, (size - missing) // REQUEST, reset, retry_after)


def of_the_day(per_day: int, left: int, day: date, now: datetime) -> Verdict:
    """Return what is left of a day's quota once this request is counted; `left` is what was before."""
    tomorrow = datetime(day.year, day.month, day.day, tzinfo=UTC) + timedelta(days=1)
    if left <= 0:
        return Verdict(per_day, 0, tomorrow, max(math.ceil((tomorrow - now).total_seconds()), 1))
    return Verdict(per_day, left - 1, tomorrow)


class _Rate:
    """Requests per second with a burst, by key.

    Kept is when the bucket will be full again, exactly: in units of a microsecond divided by the rate,
    of which one request costs a million.
    """

    def __init__(self) -> None:
        self._full_at: dict[str, tuple[int, int]] = {}
        """By key: the rate, and the moment in its units."""

    def take(self, key: str, per_s: int, burst: int, now: datetime) -> Verdict:
        """Count one request of `key`, if it is allowed."""
        micros, size = to_micros(now), max(burst, 1) * REQUEST
        rate, full_at = self._full_at.pop(key, (per_s, 0))
        # A clock that was set back must not keep anybody waiting for longer than an empty bucket does.
        missing = min(max(full_at - micros * rate, 0), size)
        wait = missing + REQUEST - size
        if wait <= 0:
            missing += REQUEST
        if len(self._full_at) >= MAX_KEYS:
            del self._full_at[next(iter(self._full_at))]
        self._full_at[key] = per_s, micros * per_s + missing
        return rated(per_s, burst, missing, wait, now)


class QuotaStore(Protocol):
    """Keeps how many requests each store has made on a day (UTC)."""

    async def load(self, day: date) -> Mapping[TenantId, int]:
        """Return the counts of a day."""
        ...

    async def save(self, day: date, used: Mapping[TenantId, int]) -> None:
        """Write counts of a day. A count that is kept already never becomes less."""
        ...


ADDRESS, _RATE, _DAY = "address", "store_rate", "store_day"
_NO_TIER = "none"


def rate_limited(*known: tuple[str, str]) -> Counter:
    """Return what counts refusals, by the limit and by the store's tier or none."""
    return Counter(
        "mercato_rate_limited",
        "What was refused since it was too much, by the limit and the store's tier.",
        ("limit", "tier"),
        known,
    )


Told = list[Header]
"""The headers that tell of a limit; none where none applies."""


class Limiter(Protocol):
    """Counts requests, and refuses those beyond a limit. What it is asked it answers at once, or soon."""

    def of_address(self, client: str, now: datetime) -> Told | Awaitable[Told]:
        """Count a request of an address; return the headers that tell of it. Raises RateLimited."""
        ...

    def of_store(self, store: TenantId, tier: Tier, now: datetime) -> Told | Awaitable[Told]:
        """Count a request of a store; return the headers that tell of it. Raises RateLimited."""
        ...

    @property
    def measures(self) -> tuple[Measure, ...]:
        """Return what is told of what was refused."""
        ...

    async def load(self, now: datetime) -> None:
        """Take up the day's counts from before a restart."""
        ...

    async def save(self) -> None:
        """Write the day's counts that have changed. Raises what the store raises; try again then."""
        ...


class Limits:
    """See Limiter. Its counts are this process's; the day's are kept in a store."""

    def __init__(
        self,
        tiers: Mapping[Tier, Allowance],
        *,
        address: Allowance | None = None,
        quotas: QuotaStore | None = None,
    ) -> None:
        """`address` is allowed to every client address; None sets no limit to it."""
        self.tiers = dict(tiers)
        self.address = address if address is not None and address.per_s else None
        self._quotas = quotas
        self._addresses = _Rate()
        self._stores = _Rate()
        self._day = date.min
        self._used: dict[TenantId, int] = {}
        self._unsaved: set[TenantId] = set()
        self._refused = rate_limited(
            (ADDRESS, _NO_TIER), *((limit, tier.value) for limit in (_RATE, _DAY) for tier in tiers)
        )

    @property
    def measures(self) -> tuple[Measure, ...]:
        """Return what is told of what was refused."""
        return (self._refused,)

    def of_address(self, client: str, now: datetime) -> Told:
        """Count a request of an address; return the headers that tell of it. Raises RateLimited."""
        if self.address is None:
            return []
        verdict = self._addresses.take(site(client), self.address.per_s, self.address.burst, now)
        return self.told_of_address(verdict)

    def of_store(self, store: TenantId, tier: Tier, now: datetime) -> Told:
        """Count a request of a store; return the headers that tell of it. Raises RateLimited.

        Of two limits the headers tell of the one that is nearer. A request that is refused is not counted
        against the day.
        """
        allowance = self.tiers[tier]
        day = self._of_day(store, allowance.per_day, now) if allowance.per_day else None
        if day is not None and day.retry_after:
            return self.told_of_store(tier, None, day)
        rate = None
        if allowance.per_s:
            rate = self._stores.take(store, allowance.per_s, allowance.burst, now)
        told = self.told_of_store(tier, rate, day)
        if day is not None:
            self._used[store] = self._used.get(store, 0) + 1
            self._unsaved.add(store)
        return told

    def told_of_address(self, verdict: Verdict) -> Told:
        """Return the headers. Raises OverLimit."""
        if verdict.retry_after:
            self._refused.add(ADDRESS, _NO_TIER)
            raise OverLimit("Too many requests from this address.", verdict)
        return verdict.headers

    def told_of_store(self, tier: Tier, rate: Verdict | None, day: Verdict | None) -> Told:
        """Return the headers; of two limits they tell of the one that is nearer. Raises OverLimit."""
        if day is not None and day.retry_after:
            self._refused.add(_DAY, tier.value)
            raise OverLimit(f"The store has used its {day.limit} requests of today.", day)
        if rate is None:
            return [] if day is None else day.headers
        if rate.retry_after:
            self._refused.add(_RATE, tier.value)
            raise OverLimit(f"Too many requests for a store of the tier {tier}.", rate)
        return rate.headers if day is None or day.remaining >= rate.remaining else day.headers

    def _of_day(self, store: TenantId, per_day: int, now: datetime) -> Verdict:
        """Return what is left of the day's quota once this request is counted."""
        # A clock that was set back over midnight goes on with the day that had begun.
        self._begin(now.astimezone(UTC).date())
        return of_the_day(per_day, per_day - self._used.get(store, 0), self._day, now)

    def _begin(self, day: date) -> None:
        if day > self._day:
            self._day = day
            self._used.clear()
            self._unsaved.clear()

    def counted(self, store: TenantId) -> tuple[date, int]:
        """Return how many requests of a store have been counted, and of which day."""
        return self._day, self._used.get(store, 0)

    def raise_to(self, store: TenantId, day: date, used: int) -> None:
        """Take up what others have counted of a store; its count never becomes less."""
        self._begin(day)
        if day == self._day and used > self._used.get(store, 0):
            self._used[store] = used
            self._unsaved.add(store)

    async def load(self, now: datetime) -> None:
        """Take up the day's counts from before a restart."""
        if self._quotas is not None:
            self._day = now.astimezone(UTC).date()
            self._used = dict(await self._quotas.load(self._day))

    async def save(self) -> None:
        """Write the day's counts that have changed. Raises what the store raises; try again then."""
        if self._quotas is None or not self._unsaved:
            return
        day, changed = self._day, {store: self._used[store] for store in self._unsaved}
        self._unsaved.clear()
        try:
            await self._quotas.save(day, changed)
        except BaseException:
            # Whoever is cancelled here does not know whether it was written, either.
            if day == self._day:
                self._unsaved.update(changed)
            raise


class OverLimit(RateLimited):
    """A refusal that tells of the limit in its headers."""

    def __init__(self, message: str, verdict: Verdict) -> None:
        super().__init__(message, retry_after=verdict.retry_after)
        self.headers = verdict.headers


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
