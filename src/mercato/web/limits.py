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

from mercato.kernel.errors import Kind, MercatoError
from mercato.kernel.tenancy import TenantId, Tier
from mercato.web.http import Header

MAX_KEYS = 50_000
"""How many addresses are told apart; of more, those idle for longest are forgotten."""
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
    """Requests per second with a burst, by key."""

    def __init__(self) -> None:
        self._full_at: dict[str, float] = {}

    def take(self, key: str, per_s: int, burst: int, now: datetime) -> _Verdict:
        """Count one request of `key`, if it is allowed."""
        at = now.timestamp()
        full_at = max(self._full_at.pop(key, at), at)
        wait = full_at + 1 / per_s - at - max(burst, 1) / per_s
        # A clock's rounding must not refuse the last request of a burst.
        refused = wait > 1e-6
        if not refused:
            full_at += 1 / per_s
        if len(self._full_at) >= MAX_KEYS:
            del self._full_at[next(iter(self._full_at))]
        self._full_at[key] = full_at
        left = max(burst, 1) - (full_at - at) * per_s
        reset = now + timedelta(seconds=full_at - at)
        return _Verdict(per_s, max(int(left + 1e-6), 0), reset, math.ceil(wait) if refused else 0)


class QuotaStore(Protocol):
    """Keeps how many requests each store has made on a day (UTC)."""

    async def load(self, day: date) -> Mapping[TenantId, int]:
        """Return the counts of a day."""
        ...

    async def save(self, day: date, used: Mapping[TenantId, int]) -> None:
        """Write counts of a day. A count that is kept already never becomes less."""
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
        self._unsaved: set[TenantId] = set()

    def of_address(self, client: str, now: datetime) -> list[Header]:
        """Count a request of an address; return the headers that tell of it. Raises RateLimited."""
        if self._address is None or not self._address.per_s:
            return []
        verdict = self._addresses.take(_site(client), self._address.per_s, self._address.burst, now)
        return _told(verdict, "Too many requests from this address.")

    def of_store(self, store: TenantId, tier: Tier, now: datetime) -> list[Header]:
        """Count a request of a store; return the headers that tell of it. Raises RateLimited."""
        allowance = self._tiers[tier]
        if allowance.per_day:
            self._check_quota(store, allowance.per_day, now)
        headers: list[Header] = []
        if allowance.per_s:
            verdict = self._stores.take(store, allowance.per_s, allowance.burst, now)
            headers = _told(verdict, f"Too many requests for a store of the tier {tier}.")
        if allowance.per_day:
            self._used[store] = self._used.get(store, 0) + 1
            self._unsaved.add(store)
        return headers

    def _check_quota(self, store: TenantId, per_day: int, now: datetime) -> None:
        today = now.astimezone(UTC).date()
        if today > self._day:
            self._day = today
            self._used.clear()
            self._unsaved.clear()
        if self._used.get(store, 0) < per_day:
            return
        tomorrow = datetime(today.year, today.month, today.day, tzinfo=UTC) + timedelta(days=1)
        wait = math.ceil((tomorrow - now).total_seconds())
        spent = _Verdict(per_day, 0, tomorrow, max(wait, 1))
        _told(spent, f"The store has used its {per_day} requests of today.")

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
        except Exception:
            if day == self._day:
                self._unsaved.update(changed)
            raise


class OverLimit(RateLimited):
    """A refusal that tells of the limit in its headers."""

    def __init__(self, message: str, verdict: _Verdict) -> None:
        super().__init__(message, retry_after=verdict.retry_after)
        self.headers = verdict.headers


def _told(verdict: _Verdict, refusal: str) -> list[Header]:
    if verdict.retry_after:
        raise OverLimit(refusal, verdict)
    return verdict.headers


def _site(client: str) -> str:
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
