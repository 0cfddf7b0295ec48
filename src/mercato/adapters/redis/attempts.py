"""What all replicas count together over a while: failed attempts to sign in, and emails sent."""

import asyncio
import hashlib
import math
from collections import Counter, deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import datetime, timedelta
from typing import cast

import msgspec

from mercato.adapters.identity.attempts import MAX_WAITING, Attempt, LinkLimit, MemoryAttempts
from mercato.adapters.redis.connection import Args, RedisAway, RedisLink
from mercato.kernel.clock import to_micros
from mercato.kernel.counting import Measure
from mercato.kernel.ids import uuid7
from mercato.kernel.tenancy import TenantId
from mercato.web.limits import RateLimited, site

_DEADLINE_S = 0.25
"""Signing in takes that long anyway."""
_LEASE = timedelta(seconds=60)
"""So long an attempt counts whose process has died; none takes longer."""
_LOOK_EVERY_S = 0.02
_MOST_UNTOLD = 10_000
_TOLD_AT_ONCE = 100
_ENTERED, _FULL, _BUSY = 0, 1, 2

_COUNTED = """
local now = tonumber(ARGV[1])
if not now then
  local time = redis.call('TIME')
  now = time[1] * 1000000 + time[2]
end
local function text(number) return string.format('%.0f', number) end
local function wait_for(key, limit, span)
  redis.call('ZREMRANGEBYSCORE', key, '-inf', text(now - span))
  if redis.call('ZCARD', key) < limit then return 0 end
  return redis.call('ZRANGE', key, 0, 0, 'WITHSCORES')[2] - (now - span)
end
local function add(key, member, span)
  redis.call('ZADD', key, text(now), member)
  redis.call('PEXPIRE', key, text(math.ceil(span / 1000) + 10000))
end
"""
# KEYS: of the account what failed and what is under way, of the address the same.
_ENTER = (
    _COUNTED
    + """
local id, span, lease = ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4])
local busy = false
for i = 0, 1 do
  local failed, under_way, limit = KEYS[i * 2 + 1], KEYS[i * 2 + 2], tonumber(ARGV[5 + i])
  local wait = wait_for(failed, limit, span)
  if wait > 0 then return {1, wait} end
  redis.call('ZREMRANGEBYSCORE', under_way, '-inf', text(now - lease))
  busy = busy or redis.call('ZCARD', failed) + redis.call('ZCARD', under_way) >= limit
end
if busy then return {2, 0} end
add(KEYS[2], id, lease)
add(KEYS[4], id, lease)
return {0, 0}
"""
)
_LEAVE = (
    _COUNTED
    + """
local id, span, outcome = ARGV[2], tonumber(ARGV[3]), ARGV[4]
redis.call('ZREM', KEYS[2], id)
redis.call('ZREM', KEYS[4], id)
if outcome == 'succeeded' then redis.call('DEL', KEYS[1]) end
if outcome == 'failed' then
  add(KEYS[1], id, span)
  add(KEYS[3], id, span)
end
return 0
"""
)
_TAKE = (
    _COUNTED
    + """
local id, span, limit = ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4])
local wait = wait_for(KEYS[1], limit, span)
if wait <= 0 then add(KEYS[1], id, span) end
return wait
"""
)
_OUTCOMES = {None: "none", True: "succeeded", False: "failed"}


def _micros(span: timedelta) -> int:
    return span // timedelta(microseconds=1)


def _digest(*parts: str) -> str:
    """Return a name for what strangers choose: of one length, and no two of them alike."""
    return hashlib.blake2b(msgspec.json.encode(parts), digest_size=20).hexdigest()


class SharedAttempts:
    """See users.ports.Attempts. While Redis is away, this process counts what it has seen itself."""

    def __init__(self, link: RedisLink, own: MemoryAttempts, *, callers_time: bool = False) -> None:
        """Redis's own clock counts, since those of the replicas may differ, unless `callers_time`."""
        self._link = link
        self._own = own
        self._callers_time = callers_time
        self._enter_script, self._leave_script = link.script(_ENTER), link.script(_LEAVE)
        self._waiting: Counter[str] = Counter()
        self._untold: deque[tuple[list[str], str, str, datetime]] = deque(maxlen=_MOST_UNTOLD)
        """What came of attempts while Redis was away: their keys, ids, outcomes and moments."""

    @property
    def measures(self) -> tuple[Measure, ...]:
        """Return what is told of what was refused."""
        return self._own.measures

    @asynccontextmanager
    async def attempt(
        self, tenant: TenantId, account: str, address: str, *, at: datetime
    ) -> AsyncIterator[Attempt]:
        """Begin an attempt. Raises RateLimited."""
        keys, attempt_id = self._keys(tenant, account, address), uuid7()
        try:
            await self._tell_the_untold(at)
            await self._enter(keys, attempt_id, at)
        except RedisAway:
            async with self._own.attempt(tenant, account, address, at=at) as attempt:
                try:
                    yield attempt
                finally:
                    self._untold.append((keys, attempt_id, _OUTCOMES[attempt.outcome], at))
            return
        # If Redis goes away meanwhile, those who come next are judged by what this process knows.
        with self._own.let_through(tenant, account, address, at=at) as attempt:
            try:
                yield attempt
            finally:
                outcome = _OUTCOMES[attempt.outcome]
                try:
                    await self._leave(keys, attempt_id, outcome, at)
                except RedisAway:
                    self._untold.append((keys, attempt_id, outcome, at))

    async def forgive(self, tenant: TenantId, account: str) -> None:
        """Forget an account's failures."""
        await self._own.forgive(tenant, account)
        failed = self._keys(tenant, account, "")[0]
        with suppress(RedisAway):
            await self._link.call(lambda client: client.delete(failed), deadline_s=_DEADLINE_S)

    async def _tell_the_untold(self, at: datetime) -> None:
        """Tell some of what Redis has missed and what still matters. Raises RedisAway."""
        for _ in range(_TOLD_AT_ONCE):
            if not self._untold:
                return
            told = self._untold.popleft()
            if told[-1] <= at - self._own.span:
                continue
            try:
                await self._leave(*told)
            except RedisAway:
                self._untold.appendleft(told)
                raise

    async def _enter(self, keys: list[str], attempt_id: str, at: datetime) -> None:
        own = self._own
        args: Args = (
            *(self._time(at), attempt_id, _micros(own.span), _micros(_LEASE)),
            *(own.of_account, own.of_address),
        )
        while True:
            found = await self._link.run(self._enter_script, keys, args, deadline_s=_DEADLINE_S)
            state, wait_us = cast("list[int]", found)
            if state == _ENTERED:
                return
            if state == _FULL or self._waiting[keys[0]] >= MAX_WAITING:
                self._own.refused()
                raise RateLimited(
                    "Too many attempts to sign in have failed.",
                    retry_after=max(math.ceil(wait_us / 1_000_000), 1),
                )
            # Those under way may yet succeed.
            self._waiting[keys[0]] += 1
            try:
                await asyncio.sleep(_LOOK_EVERY_S)
            finally:
                self._waiting[keys[0]] -= 1
                if not self._waiting[keys[0]]:
                    del self._waiting[keys[0]]

    async def _leave(self, keys: list[str], attempt_id: str, outcome: str, at: datetime) -> None:
        args: Args = (self._time(at), attempt_id, _micros(self._own.span), outcome)
        await self._link.run(self._leave_script, keys, args, deadline_s=_DEADLINE_S)

    def _keys(self, tenant: TenantId, account: str, address: str) -> list[str]:
        of_account, of_address = _digest("account", tenant, account), _digest("address", site(address))
        key = self._link.key
        return [key("attempts", of, what) for of in (of_account, of_address) for what in ("failed", "begun")]

    def _time(self, at: datetime) -> str:
        return str(to_micros(at)) if self._callers_time else ""


class SharedLinkLimit:
    """See users.ports.LinkLimit. While Redis is away, this process counts what it has seen itself."""

    def __init__(self, link: RedisLink, own: LinkLimit, *, callers_time: bool = False) -> None:
        """Redis's own clock counts, since those of the replicas may differ, unless `callers_time`."""
        self._link = link
        self._own = own
        self._callers_time = callers_time
        self._script = link.script(_TAKE)

    async def take(self, key: tuple[str, ...], *, at: datetime) -> int:
        """Count one, if it is allowed: return 0, or in how many seconds one will be."""
        now = str(to_micros(at)) if self._callers_time else ""
        args: Args = (now, uuid7(), _micros(self._own.span), self._own.limit)
        name = self._link.key("links", _digest("link", *key))
        try:
            wait_us = cast("int", await self._link.run(self._script, [name], args, deadline_s=_DEADLINE_S))
        except RedisAway:
            return await self._own.take(key, at=at)
        if wait_us <= 0:
            self._own.note(key, at=at)
        return math.ceil(max(wait_us, 0) / 1_000_000)
