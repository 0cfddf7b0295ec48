"""Buckets and the day's counts in Redis: the checks of many requests in one script call."""

import asyncio
from collections.abc import Sequence
from typing import NamedTuple, cast

import msgspec

from mercato.adapters.redis.connection import RedisAway, RedisLink

MAX_BATCH = 256

# A bucket is kept as its rate, a moment, and what was missing at it, in the units of web.limits. All are
# integers below 2^53, so Lua's numbers are exact. Redis's own clock counts, since the replicas' may differ.
# Keys outlive their meaning by ten seconds: Redis's clock may be set, and time in tests stands still.
_SCRIPT = """
local now = tonumber(ARGV[1])
if not now then
  local time = redis.call('TIME')
  now = time[1] * 1000000 + time[2]
end
local REQUEST, DAY = 1000000, 86400000000

local function count_of(key, check)
  local day, used, kept = math.floor(now / DAY), 0, redis.call('GET', key)
  if kept then
    local kept_day, kept_used = kept:match('^(%d+) (%d+)$')
    if tonumber(kept_day) >= day then day, used = tonumber(kept_day), tonumber(kept_used) end
  end
  local known = used
  if check[4] > day then day, used, known = check[4], 0, 0 end
  if check[4] == day then used = math.max(used, check[5]) + check[6] end
  return day, used, known
end

local function missing_of(key, size)
  local kept = redis.call('GET', key)
  if not kept then return 0 end
  local rate, at, missing = kept:match('^(%d+) (%d+) (%d+)$')
  local refilled = math.max(now - tonumber(at), 0) * tonumber(rate)
  return math.min(math.max(tonumber(missing) - refilled, 0), size)
end

local answers = {}
for i, check in ipairs(cmsgpack.unpack(ARGV[2])) do
  local rate_key, count_key = KEYS[i * 2], KEYS[i * 2 + 1]
  local per_s, burst, per_day = check[1], check[2], check[3]
  local day, used, known, missing, wait, left = 0, 0, 0, 0, 0, 1
  if per_day > 0 then
    day, used, known = count_of(count_key, check)
    left = per_day - used
  end
  if per_s > 0 and left > 0 then
    local size = math.max(burst, 1) * REQUEST
    missing = missing_of(rate_key, size)
    wait = missing + REQUEST - size
    if wait <= 0 then
      missing = missing + REQUEST
      local kept = string.format('%.0f %.0f %.0f', per_s, now, missing)
      local expiry = string.format('%.0f', math.ceil(missing / per_s / 1000) + 10000)
      redis.call('SET', rate_key, kept, 'PX', expiry)
    end
  end
  if per_day > 0 then
    if left > 0 and wait <= 0 then used = used + 1 end
    if used > known then
      redis.call('SET', count_key, string.format('%.0f %.0f', day, used), 'EX', 172800)
      redis.call('SADD', KEYS[1], check[7])
      redis.call('EXPIRE', KEYS[1], 172800)
    end
  end
  answers[i] = {missing, wait, day, used, left}
end
return answers
"""


class Check(NamedTuple):
    """What is asked of one request: of a bucket, of a day's count, or of both."""

    rate_key: str
    count_key: str
    per_s: int
    burst: int
    per_day: int = 0
    """0 asks of no count."""
    day: int = 0
    """The day, since the epoch, that the next two are of."""
    seen: int = 0
    """What the count is known to have been: it never becomes less."""
    more: int = 0
    """What was counted besides, while Redis was away."""
    name: str = ""
    """Whose count it is."""


class Judged(NamedTuple):
    """What Redis answers to a check."""

    missing: int
    wait: int
    day: int
    used: int
    """With this request, if it is allowed."""
    left: int
    """Without it."""


class Buckets:
    """Asks Redis about many requests at once.

    While a call is under way, what comes meanwhile waits for the next one: under load, one call carries
    many checks. Nobody waits for longer than two calls may take.
    """

    def __init__(self, link: RedisLink) -> None:
        self.link = link
        self.changed_key = link.key("quota", "changed")
        """A set of those whose count has changed since it was last saved."""
        self._script = link.script(_SCRIPT)
        self._waiting: list[tuple[Check, asyncio.Future[Judged | None]]] = []
        self._sending: asyncio.Task[None] | None = None

    async def ask(self, check: Check, now_us: str) -> Judged | None:
        """Return what Redis answers; None if it is away. `now_us` is empty for Redis's own clock."""
        answer: asyncio.Future[Judged | None] = asyncio.get_running_loop().create_future()
        self._waiting.append((check, answer))
        if self._sending is None:
            self._sending = asyncio.create_task(self._send(now_us))
        return await answer

    async def _send(self, now_us: str) -> None:
        try:
            while self._waiting:
                some, self._waiting = self._waiting[:MAX_BATCH], self._waiting[MAX_BATCH:]
                try:
                    judged = await self.run([check for check, _ in some], now_us)
                except RedisAway:
                    # Those who came meanwhile need not find out for themselves.
                    some, self._waiting = some + self._waiting, []
                    judged = [None] * len(some)
                for (_, answer), each in zip(some, judged, strict=True):
                    if not answer.done():
                        answer.set_result(each)
        finally:
            self._sending = None

    async def run(self, checks: Sequence[Check], now_us: str) -> Sequence[Judged | None]:
        """Return what Redis answers. Raises RedisAway."""
        keys = [self.changed_key]
        for check in checks:
            keys += check[:2]
        asked = msgspec.msgpack.encode([check[2:] for check in checks])
        found = await self.link.run(self._script, keys, [now_us, asked])
        return [Judged(*each) for each in cast("list[list[int]]", found)]
