"""Limits that all replicas count together."""

from collections.abc import Awaitable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import cast

from mercato.adapters.redis.buckets import Buckets, Check, Judged
from mercato.adapters.redis.connection import PATIENT_S, RedisAway, RedisLink
from mercato.kernel.clock import Clock, to_micros
from mercato.kernel.counting import Measure
from mercato.kernel.tenancy import TenantId, Tier
from mercato.web.limits import (
    Allowance,
    Limits,
    QuotaStore,
    Told,
    of_the_day,
    rated,
    site,
)

_EPOCH_DAY = date(1970, 1, 1).toordinal()
_SAVED = 500
"""How many counts one step saves."""
_DAY_S = 86_400
_MAX_SITE = 64
"""Longer than any address is."""
_COUNT_ONLY = ""


@dataclass(slots=True)
class _Seen:
    """What this process knows of a store's day: what all have counted, and what only it has, since."""

    day: int = 0
    used: int = 0
    more: int = 0


class SharedLimits:
    """See web.limits.Limiter. Redis counts; while it is away, this process's own counts take over.

    What a process has seen of a day's count it tells Redis with each request, and what it counted while
    Redis was away: so a count is complete again as soon as Redis is, even if that has lost everything.
    """

    def __init__(
        self, link: RedisLink, own: Limits, *, quotas: QuotaStore | None = None, clock: Clock | None = None
    ) -> None:
        """`quotas` keeps the day's counts; only the service that has them saves what all have counted.

        Redis's own clock counts, since those of the replicas may differ; `clock` takes its place.
        """
        self._link = link
        self._own = own
        self._quotas = quotas
        self._clock = clock
        self._buckets = Buckets(link)
        self._seen: dict[TenantId, _Seen] = {}
        self._noted: set[TenantId] = set()
        """Those whose count has been seen to change since the counts were last saved."""
        self._day = 0
        self._whole_key = link.key("quota", "whole")
        self.local = 0
        """How many requests this process has judged by its own counts."""

    @property
    def measures(self) -> tuple[Measure, ...]:
        """Return what is told of what was refused."""
        return self._own.measures

    def of_address(self, client: str, now: datetime) -> Told | Awaitable[Told]:
        """Count a request of an address. Raises RateLimited."""
        allowance = self._own.address
        if allowance is None:
            return []
        if not self._link.up:
            self.local += 1
            return self._own.of_address(client, now)
        return self._of_address(client, allowance, now)

    def of_store(self, store: TenantId, tier: Tier, now: datetime) -> Told | Awaitable[Told]:
        """Count a request of a store. Raises RateLimited."""
        allowance = self._own.tiers[tier]
        if not (allowance.per_s or allowance.per_day):
            return []
        if not self._link.up:
            return self._of_store_here(store, tier, now)
        return self._of_store(store, tier, allowance, now)

    async def _of_address(self, client: str, allowance: Allowance, now: datetime) -> Told:
        key = self._link.key("rate", "address", site(client)[:_MAX_SITE])
        check = Check(key, _COUNT_ONLY, allowance.per_s, allowance.burst)
        judged = await self._buckets.ask(check, self._time())
        if judged is None:
            self.local += 1
            return self._own.of_address(client, now)
        return self._own.told_of_address(
            rated(allowance.per_s, allowance.burst, judged.missing, judged.wait, now)
        )

    async def _of_store(self, store: TenantId, tier: Tier, allowance: Allowance, now: datetime) -> Told:
        seen = self._seen_of(store)
        check = self._check(store, allowance, seen)
        # Whoever asks at the same time must not add it a second time.
        more, seen.more = seen.more, 0
        try:
            judged = await self._buckets.ask(check, self._time())
        except BaseException:
            seen.more += more
            raise
        if judged is None:
            seen.more += more
            return self._of_store_here(store, tier, now)
        rate = day = None
        if allowance.per_day:
            _note(seen, judged)
            self._begin(judged.day)
            if self._quotas is not None:
                self._noted.add(store)
            day = of_the_day(allowance.per_day, judged.left, _date(judged.day), now)
        if allowance.per_s:
            rate = rated(allowance.per_s, allowance.burst, judged.missing, judged.wait, now)
        return self._own.told_of_store(tier, rate, day)

    def _of_store_here(self, store: TenantId, tier: Tier, now: datetime) -> Told:
        """Judge by this process's own counts, which go on from what all had counted."""
        self.local += 1
        seen = self._seen_of(store)
        if seen.day:
            self._own.raise_to(store, _date(seen.day), seen.used + seen.more)
        try:
            return self._own.of_store(store, tier, now)
        finally:
            day, used = self._own.counted(store)
            number = _number(day)
            if used and number > seen.day:
                seen.day, seen.used, seen.more = number, 0, used
            elif used:
                seen.more = max(used - seen.used, 0)

    def _seen_of(self, store: TenantId) -> _Seen:
        return self._seen.setdefault(store, _Seen())

    def _begin(self, day: int) -> None:
        """Forget what was seen of former days."""
        if day > self._day:
            self._day = day
            self._seen = {store: seen for store, seen in self._seen.items() if seen.day >= day}

    def _check(self, store: TenantId, allowance: Allowance, seen: _Seen) -> Check:
        return Check(
            self._link.key("rate", "store", store),
            self._count_key(store),
            allowance.per_s,
            allowance.burst,
            allowance.per_day,
            seen.day,
            seen.used,
            seen.more,
            store,
        )

    def _count_key(self, store: TenantId) -> str:
        return self._link.key("quota", "of", store)

    def _time(self) -> str:
        return "" if self._clock is None else str(to_micros(self._clock()))

    async def _today(self) -> date:
        if self._clock is not None:
            return self._clock().date()
        seconds, _ = await self._link.call(lambda client: client.time(), deadline_s=PATIENT_S)
        return _date(seconds // _DAY_S)

    async def load(self, now: datetime) -> None:
        """Take up the day's counts from before a restart."""
        await self._own.load(now)
        await self._take_up(now.astimezone(UTC).date())

    async def _take_up(self, day: date) -> None:
        if self._quotas is None:
            return
        for store, used in (await self._quotas.load(day)).items():
            seen = self._seen_of(store)
            if seen.day < _number(day):
                seen.day, seen.used, seen.more = _number(day), used, 0
            # What only this process had counted may have been saved already.
            seen.used = max(seen.used, used - seen.more)

    async def save(self) -> None:
        """Write the day's counts that have changed. Raises what the store raises; try again then."""
        if self._quotas is None:
            return
        noted, self._noted = self._noted, set()
        try:
            await self._make_whole()
            await self._save(self._quotas)
        except RedisAway:
            # What Redis counted last may be known here alone.
            for store in noted:
                seen = self._seen_of(store)
                if seen.day:
                    self._own.raise_to(store, _date(seen.day), seen.used + seen.more)
        except BaseException:
            self._noted |= noted
            raise
        await self._own.save()

    async def _make_whole(self) -> None:
        """Tell Redis what is kept of the day, if it has lost everything."""
        if await self._link.call(lambda client: client.get(self._whole_key), deadline_s=PATIENT_S):
            return
        await self._take_up(await self._today())
        stores = [store for store, seen in self._seen.items() if seen.used]
        for start in range(0, len(stores), _SAVED):
            await self._tell(stores[start : start + _SAVED])
        await self._link.call(lambda client: client.set(self._whole_key, "", ex=_DAY_S), deadline_s=PATIENT_S)

    async def _tell(self, stores: list[TenantId]) -> None:
        """Raise counts to what is known here. Raises RedisAway."""
        # A count that is asked for with nothing allowed is raised and not counted.
        nothing = Allowance(per_day=1)
        seen = [self._seen_of(store) for store in stores]
        checks = [self._check(store, nothing, each) for store, each in zip(stores, seen, strict=True)]
        for each in seen:
            each.more = 0
        try:
            judged = await self._buckets.run(checks, self._time())
        except BaseException:
            for each, check in zip(seen, checks, strict=True):
                each.more += check.more
            raise
        for each, told in zip(seen, judged, strict=True):
            if told is not None:
                _note(each, told)

    async def _save(self, quotas: QuotaStore) -> None:
        """Save what any process has counted since it was last saved by any."""
        changed = self._buckets.changed_key
        popped = await self._link.call(lambda client: client.spop(changed, _SAVED), deadline_s=PATIENT_S)
        names = [TenantId(name.decode()) for name in cast("list[bytes]", popped)]
        if not names:
            return
        try:
            keys = [self._count_key(each) for each in names]
            found = await self._link.call(lambda client: client.mget(keys), deadline_s=PATIENT_S)
            for day, counts in _by_day(names, cast("list[bytes | None]", found)).items():
                await quotas.save(day, counts)
        except BaseException:
            with suppress(RedisAway):
                await self._link.call(lambda client: client.sadd(changed, *names), deadline_s=PATIENT_S)
            raise


def _note(seen: _Seen, judged: Judged) -> None:
    if judged.day > seen.day:
        seen.day, seen.used, seen.more = judged.day, judged.used, 0
    elif judged.day == seen.day:
        seen.used = max(seen.used, judged.used)


def _by_day(names: list[TenantId], found: list[bytes | None]) -> dict[date, dict[TenantId, int]]:
    days: dict[date, dict[TenantId, int]] = {}
    for name, kept in zip(names, found, strict=True):
        if kept is not None:
            day, used = map(int, kept.split())
            days.setdefault(_date(day), {})[name] = used
    return days


def _date(number: int) -> date:
    return date.fromordinal(_EPOCH_DAY + number)


def _number(day: date) -> int:
    return day.toordinal() - _EPOCH_DAY
