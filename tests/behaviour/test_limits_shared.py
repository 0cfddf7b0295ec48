"""Limits counted by this process and by all of them: the same answers, and never more than is allowed."""

import asyncio
import random
from collections.abc import AsyncIterator, Mapping
from datetime import UTC, date, datetime

import pytest

from mercato.adapters.redis.connection import RedisLink
from mercato.adapters.redis.limits import SharedLimits
from mercato.kernel.tenancy import TenantId, Tier
from mercato.web.limits import Allowance, Limiter, Limits, OverLimit
from tests.clock import FakeClock
from tests.engines import need
from tests.measured import figures
from tests.redis_server import RedisServer, new_prefix, shared
from tests.replicas import PatientLink, linked
from tests.waiting import until

SHOP, OTHER = TenantId("shop"), TenantId("other")
NONE = dict.fromkeys(Tier, Allowance())
CLIENT = "192.0.2.1"


class Kept:
    """A QuotaStore in memory, which never lets a count become less."""

    def __init__(self) -> None:
        self.days: dict[date, dict[TenantId, int]] = {}

    async def load(self, day: date) -> Mapping[TenantId, int]:
        return self.days.get(day, {})

    async def save(self, day: date, used: Mapping[TenantId, int]) -> None:
        counts = self.days.setdefault(day, {})
        for store, count in used.items():
            counts[store] = max(count, counts.get(store, 0))


class Counters:
    """Makes limiters: one process's own, or such as share a Redis."""

    def __init__(self, link: RedisLink | None) -> None:
        self.link = link
        self.clock = FakeClock()
        self.kept = Kept()

    def make(
        self, allowance: Allowance, *, address: Allowance | None = None, quotas: bool = False
    ) -> Limiter:
        tiers = NONE | {Tier.BASIC: allowance}
        kept = self.kept if quotas else None
        own = Limits(tiers, address=address, quotas=kept)
        if self.link is None:
            return own
        return SharedLimits(self.link, own, quotas=kept, clock=self.clock)

    async def store(self, limiter: Limiter, store: TenantId = SHOP) -> dict[str, int] | OverLimit:
        """Ask for a store; return what its headers tell, or the refusal."""
        try:
            told = limiter.of_store(store, Tier.BASIC, self.clock())
            return _numbers(told if isinstance(told, list) else await told)
        except OverLimit as refused:
            return refused

    async def address(self, limiter: Limiter, client: str = CLIENT) -> bool:
        """Ask for an address; say whether it is allowed."""
        try:
            told = limiter.of_address(client, self.clock())
            if not isinstance(told, list):
                await told
        except OverLimit:
            return False
        return True

    async def allowed(self, limiter: Limiter, times: int, store: TenantId = SHOP) -> int:
        return sum([isinstance(await self.store(limiter, store), dict) for _ in range(times)])


def _numbers(told: list[tuple[str, str]]) -> dict[str, int]:
    return {name.removeprefix("x-ratelimit-"): int(value) for name, value in told}


@pytest.fixture(params=["memory", "redis"])
async def counters(request: pytest.FixtureRequest) -> AsyncIterator[Counters]:
    if request.param == "memory":
        yield Counters(None)
        return
    need("redis")
    async with linked(shared().url, new_prefix(), PatientLink) as link:
        yield Counters(link)


@pytest.fixture
async def counted(redis: RedisServer) -> AsyncIterator[Counters]:
    async with linked(redis.url, new_prefix(), PatientLink) as link:
        yield Counters(link)


async def test_a_burst_is_allowed_and_then_the_rate(counters: Counters) -> None:
    shop, clock = counters.make(Allowance(10, 3)), counters.clock
    told = [await counters.store(shop) for _ in range(4)]
    assert [each["remaining"] for each in told if isinstance(each, dict)] == [2, 1, 0]
    refused = told[3]
    assert isinstance(refused, OverLimit)
    assert refused.retry_after == 1
    reset = int((clock.at.replace(microsecond=0)).timestamp()) + 1
    assert _numbers(refused.headers) == {"limit": 10, "remaining": 0, "reset": reset}
    assert await counters.allowed(shop, 1, OTHER) == 1
    clock.forward(seconds=0.1)
    assert await counters.allowed(shop, 3) == 1


async def test_a_clock_that_is_set_back_keeps_nobody_waiting(counters: Counters) -> None:
    shop = counters.make(Allowance(10, 2))
    assert await counters.allowed(shop, 3) == 2
    counters.clock.forward(hours=-3)
    refused = await counters.store(shop)
    assert isinstance(refused, OverLimit)
    assert refused.retry_after == 1


async def test_a_day_ends_at_midnight_in_utc(counters: Counters) -> None:
    counters.clock.at = datetime(2026, 1, 31, 23, 59, 30, tzinfo=UTC)
    shop, midnight = counters.make(Allowance(0, 0, 2)), datetime(2026, 2, 1, tzinfo=UTC)
    first = await counters.store(shop)
    assert first == {"limit": 2, "remaining": 1, "reset": int(midnight.timestamp())}
    assert await counters.allowed(shop, 5) == 1
    refused = await counters.store(shop)
    assert isinstance(refused, OverLimit)
    assert refused.retry_after == 30
    counters.clock.at = midnight
    assert await counters.allowed(shop, 1) == 1
    # A clock that is set back neither gives yesterday's quota again nor takes today's.
    counters.clock.forward(seconds=-5)
    assert await counters.allowed(shop, 5) == 1


async def test_what_the_rate_refuses_is_not_counted_against_the_day(counters: Counters) -> None:
    shop = counters.make(Allowance(1, 1, 2))
    assert await counters.allowed(shop, 20) == 1
    counters.clock.forward(seconds=1)
    told = await counters.store(shop)
    assert isinstance(told, dict)
    assert told["remaining"] == 0
    counters.clock.forward(seconds=1)
    refused = await counters.store(shop)
    assert isinstance(refused, OverLimit)
    assert _numbers(refused.headers)["limit"] == 2


async def test_another_tier_takes_effect_at_once(counted: Counters) -> None:
    slow, fast = counted.make(Allowance(1, 1)), counted.make(Allowance(1000, 5))
    assert await counted.allowed(slow, 2) == 1
    assert await counted.allowed(fast, 10) == 4
    assert await counted.allowed(slow, 2) == 0


async def test_addresses_are_limited_each_by_itself(counters: Counters) -> None:
    shop = counters.make(Allowance(), address=Allowance(1, 3))
    assert [await counters.address(shop) for _ in range(5)] == [True] * 3 + [False] * 2
    assert await counters.address(shop, "192.0.2.2")
    assert [await counters.address(shop, f"2001:db8::{n}") for n in range(4)] == [True] * 3 + [False]


async def test_both_ways_of_counting_agree_whatever_comes(counted: Counters) -> None:
    chance = random.Random(7)
    for allowance in (Allowance(7, 5), Allowance(300, 30), Allowance(1, 0), Allowance(1_000_000_000, 3)):
        clock = counted.clock
        own, store = Limits(NONE | {Tier.BASIC: allowance}), TenantId(f"s{allowance.per_s}")
        ours = counted.make(allowance)
        alone = Counters(None)
        alone.clock = clock
        for _ in range(300):
            clock.forward(microseconds=chance.choice((0, 1, 999, 3_333, 142_857, 1_000_000)))
            one, other = await counted.store(ours, store), await alone.store(own, store)
            assert isinstance(one, OverLimit) == isinstance(other, OverLimit)
            if isinstance(one, OverLimit) and isinstance(other, OverLimit):
                assert (one.headers, one.retry_after) == (other.headers, other.retry_after)
            else:
                assert one == other


@pytest.mark.parametrize("allowance", [Allowance(10, 25), Allowance(0, 0, 25), Allowance(1000, 1000, 25)])
async def test_twenty_who_race_on_two_replicas_get_no_more_than_one_would(
    counted: Counters, allowance: Allowance
) -> None:
    replicas = [counted.make(allowance), counted.make(allowance)]

    async def ask(number: int) -> int:
        return await counted.allowed(replicas[number % 2], 5)

    assert sum(await asyncio.gather(*(ask(number) for number in range(20)))) == 25


async def test_replicas_share_an_address_s_limit(counted: Counters) -> None:
    one, other = (counted.make(Allowance(), address=Allowance(1, 10)) for _ in range(2))
    found = await asyncio.gather(*(counted.address(each) for each in (one, other) for _ in range(20)))
    assert sum(found) == 10


async def test_no_address_spends_from_another_s_bucket_or_a_store_s(counted: Counters) -> None:
    both = counted.make(Allowance(1, 1), address=Allowance(1, 1))
    assert await counted.address(both, "shop")
    assert await counted.address(both, "store:shop")
    assert await counted.address(both, "../store/shop\r\nFLUSHALL")
    assert await counted.allowed(both, 1) == 1


async def test_buckets_expire_by_themselves(counted: Counters, redis: RedisServer) -> None:
    shop = counted.make(Allowance(), address=Allowance(1, 2))
    for number in range(20):
        assert await counted.address(shop, f"192.0.2.{number}")
    assert counted.link is not None
    found = await counted.link.client.keys(counted.link.key("rate", "*"))
    assert len(found) == 20
    assert all([0 < await counted.link.client.pttl(each) <= 15_000 for each in found])


async def test_a_days_count_outlives_redis_and_all_its_data(counted: Counters) -> None:
    of_users = counted.make(Allowance(0, 0, 10), quotas=True)
    of_products = counted.make(Allowance(0, 0, 10))
    await of_users.load(counted.clock())
    assert await counted.allowed(of_products, 6) == 6
    await of_users.save()
    assert counted.kept.days == {counted.clock().date(): {SHOP: 6}}
    assert counted.link is not None
    await counted.link.client.flushdb()
    # Users tells Redis what its database keeps, whoever it was that counted.
    await of_users.save()
    fresh = counted.make(Allowance(0, 0, 10))
    assert await counted.allowed(fresh, 10) == 4


async def test_a_replica_tells_a_redis_that_lost_everything_what_it_has_seen(counted: Counters) -> None:
    one, other = counted.make(Allowance(0, 0, 10)), counted.make(Allowance(0, 0, 10))
    assert await counted.allowed(one, 6) == 6
    assert counted.link is not None
    await counted.link.client.flushdb()
    assert await counted.allowed(one, 1) == 1
    assert await counted.allowed(other, 10) == 3


async def test_a_count_that_cannot_be_saved_is_saved_next_time(counted: Counters) -> None:
    class Failing(Kept):
        fails = True

        async def save(self, day: date, used: Mapping[TenantId, int]) -> None:
            if self.fails:
                raise RuntimeError("full")
            await super().save(day, used)

    counted.kept = kept = Failing()
    of_users = counted.make(Allowance(0, 0, 10), quotas=True)
    assert await counted.allowed(of_users, 3) == 3
    with pytest.raises(RuntimeError, match="full"):
        await of_users.save()
    kept.fails = False
    await of_users.save()
    assert kept.days == {counted.clock().date(): {SHOP: 3}}


async def test_what_only_a_lost_redis_had_counted_is_saved_as_it_was_seen(own_redis: RedisServer) -> None:
    async with linked(own_redis.url, "m", PatientLink) as link:
        counters = Counters(link)
        of_users = counters.make(Allowance(0, 0, 10), quotas=True)
        await of_users.load(counters.clock())
        assert await counters.allowed(of_users, 7) == 7
        own_redis.kill()
        await until(lambda: not link.up)
        await of_users.save()
        assert counters.kept.days == {counters.clock().date(): {SHOP: 7}}


async def test_what_was_counted_and_saved_while_redis_was_away_is_not_counted_twice(
    own_redis: RedisServer,
) -> None:
    async with linked(own_redis.url, "m", PatientLink) as link:
        counters = Counters(link)
        of_users = counters.make(Allowance(0, 0, 100), quotas=True)
        assert await counters.allowed(of_users, 20) == 20
        own_redis.kill()
        await until(lambda: not link.up)
        assert await counters.allowed(of_users, 20) == 20
        await of_users.save()
        own_redis.serve()
        await until(lambda: link.up)
        for _ in range(2):
            await of_users.save()
        assert await counters.allowed(counters.make(Allowance(0, 0, 100)), 100) == 60


async def test_many_requests_go_in_few_calls(counted: Counters) -> None:
    assert counted.link is not None
    shop = counted.make(Allowance(100_000, 100_000))
    before = (await counted.link.client.info("commandstats")).get("cmdstat_evalsha", {"calls": 0})["calls"]
    await asyncio.gather(*(counted.store(shop) for _ in range(500)))
    after = (await counted.link.client.info("commandstats"))["cmdstat_evalsha"]["calls"]
    assert after - before <= 10


async def test_where_no_limit_applies_nothing_is_asked(counted: Counters) -> None:
    shop = counted.make(Allowance())
    assert shop.of_address(CLIENT, counted.clock()) == []
    assert shop.of_store(SHOP, Tier.BASIC, counted.clock()) == []


async def test_while_redis_is_away_each_process_goes_by_its_own_counts(own_redis: RedisServer) -> None:
    async with linked(own_redis.url, "m", PatientLink) as link:
        counters = Counters(link)
        replica = counters.make(Allowance(0, 0, 20), address=Allowance(1, 5))
        assert isinstance(replica, SharedLimits)
        assert await counters.allowed(replica, 12) == 12
        own_redis.kill()
        # It goes on from what all had counted.
        assert await counters.allowed(replica, 20) == 8
        assert sum([await counters.address(replica) for _ in range(20)]) == 5
        assert replica.local > 30
        own_redis.serve()
        await until(lambda: link.up)
        # Redis has lost everything and is told, with what was counted meanwhile.
        assert await counters.allowed(counters.make(Allowance(0, 0, 25)), 0) == 0
        assert await counters.allowed(replica, 5) == 0
        assert await counters.allowed(counters.make(Allowance(0, 0, 25)), 10) == 5


async def test_what_was_counted_meanwhile_is_added_once_though_many_ask_at_once(
    own_redis: RedisServer,
) -> None:
    async with linked(own_redis.url, "m", PatientLink) as link:
        counters = Counters(link)
        replica = counters.make(Allowance(0, 0, 1000))
        assert await counters.allowed(replica, 10) == 10
        link.up = False
        assert await counters.allowed(replica, 30) == 30
        await until(lambda: link.up)
        found = await asyncio.gather(*(counters.store(replica) for _ in range(50)))
        left = [each["remaining"] for each in found if isinstance(each, dict)]
        assert min(left) == 1000 - 10 - 30 - 50


async def test_a_redis_that_hangs_delays_nobody_beyond_the_deadline(own_redis: RedisServer) -> None:
    async with linked(own_redis.url, "m") as link:
        counters = Counters(link)
        replica = counters.make(Allowance(1000, 1000))
        loop = asyncio.get_running_loop()

        async def timed() -> float:
            began = loop.time()
            assert isinstance(await counters.store(replica), dict)
            return loop.time() - began

        crowds: list[float] = []
        ones: list[float] = []
        # A busy machine delays some of them; what waits for Redis does each time.
        while not crowds or (len(crowds) < 5 and (min(crowds) >= 0.25 or min(ones) >= 0.01)):
            assert await counters.allowed(replica, 1) == 1
            own_redis.freeze()
            try:
                crowds.append(max(await asyncio.gather(*(timed() for _ in range(100)))))
                ones.append(await timed())
                assert not link.up
            finally:
                own_redis.thaw()
            await until(lambda: link.up)
        assert min(crowds) < 0.25
        assert min(ones) < 0.01
        assert await counters.allowed(replica, 1) == 1


async def test_what_is_refused_is_counted_by_its_limit_and_tier(counters: Counters) -> None:
    limited = counters.make(Allowance(1, 2, 4), address=Allowance(1, 1))
    for _ in range(3):
        await counters.address(limited)
    assert await counters.allowed(limited, 5) == 2
    counters.clock.forward(seconds=2)
    assert await counters.allowed(limited, 2) == 2
    counters.clock.forward(seconds=2)
    assert await counters.allowed(limited, 4) == 0
    assert figures(limited.measures) == {
        ("mercato_rate_limited", "address", "none"): 2,
        ("mercato_rate_limited", "store_rate", "basic"): 3,
        ("mercato_rate_limited", "store_day", "basic"): 4,
    }
