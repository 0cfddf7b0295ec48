"""Rate limits and daily quotas."""

import asyncio
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mercato.kernel.tenancy import TenantId, Tier
from mercato.web import limits
from mercato.web.limits import Allowance, Limits, OverLimit
from tests.clock import FakeClock

SHOP, OTHER = TenantId("shop"), TenantId("other")
NONE = dict.fromkeys(Tier, Allowance())


class Kept:
    """A QuotaStore in memory, which may fail."""

    def __init__(self) -> None:
        self.days: dict[date, dict[TenantId, int]] = {}
        self.failure: BaseException | None = None

    async def load(self, day: date) -> Mapping[TenantId, int]:
        return self.days.get(day, {})

    async def add(self, day: date, counted: Mapping[TenantId, int]) -> Mapping[TenantId, int]:
        if self.failure is not None:
            raise self.failure
        kept = self.days.setdefault(day, {})
        for store, count in counted.items():
            kept[store] = kept.get(store, 0) + count
        return {store: kept[store] for store in counted}


def of(per_s: int = 0, burst: int = 0, per_day: int = 0, kept: Kept | None = None) -> Limits:
    return Limits(NONE | {Tier.BASIC: Allowance(per_s, burst, per_day)}, quotas=kept)


def told(answer: list[tuple[str, str]]) -> dict[str, int]:
    return {name.removeprefix("x-ratelimit-"): int(value) for name, value in answer}


@given(
    per_s=st.integers(1, 1_000_000_000),
    burst=st.integers(0, 1_000),
    pauses=st.lists(st.integers(0, 3_000_000) | st.integers(0, 50), min_size=1, max_size=200),
)
def test_in_no_window_is_more_allowed_than_the_burst_and_the_rate(
    per_s: int, burst: int, pauses: list[int]
) -> None:
    rate, clock, allowed = limits._Rate(), FakeClock(), list[datetime]()
    for pause in pauses:
        now = clock.forward(microseconds=pause)
        if not rate.take("k", per_s, burst, now).retry_after:
            allowed.append(now)
    for first, begin in enumerate(allowed):
        for last in range(first, len(allowed)):
            micros = (allowed[last] - begin) // timedelta(microseconds=1)
            assert (last - first + 1 - max(burst, 1)) * 1_000_000 <= per_s * micros


@given(per_s=st.integers(1, 10_000), burst=st.integers(1, 100), taken=st.integers(0, 300))
def test_who_waits_as_told_is_let_through(per_s: int, burst: int, taken: int) -> None:
    rate, clock = limits._Rate(), FakeClock()
    for _ in range(taken):
        verdict = rate.take("k", per_s, burst, clock())
        if verdict.retry_after:
            clock.forward(seconds=verdict.retry_after)
            assert not rate.take("k", per_s, burst, clock()).retry_after
    full = rate.take("k", per_s, burst, clock()).reset
    clock.at = full
    assert [rate.take("k", per_s, burst, clock()).retry_after for _ in range(burst)] == [0] * burst


def test_a_burst_is_allowed_and_then_the_rate() -> None:
    shop, clock = of(10, 3), FakeClock()
    assert [told(shop.of_store(SHOP, Tier.BASIC, clock()))["remaining"] for _ in range(3)] == [2, 1, 0]
    with pytest.raises(OverLimit) as refused:
        shop.of_store(SHOP, Tier.BASIC, clock())
    assert refused.value.retry_after == 1
    assert told(refused.value.headers) == {
        "limit": 10,
        "remaining": 0,
        "reset": int((clock() + timedelta(seconds=1)).timestamp()),
    }
    shop.of_store(OTHER, Tier.BASIC, clock())
    clock.forward(seconds=0.1)
    shop.of_store(SHOP, Tier.BASIC, clock())
    with pytest.raises(OverLimit):
        shop.of_store(SHOP, Tier.BASIC, clock())


def test_a_clock_that_is_set_back_keeps_nobody_waiting() -> None:
    shop, clock = of(10, 2), FakeClock()
    for _ in range(2):
        shop.of_store(SHOP, Tier.BASIC, clock())
    clock.forward(hours=-3)
    with pytest.raises(OverLimit) as refused:
        shop.of_store(SHOP, Tier.BASIC, clock())
    assert refused.value.retry_after == 1
    clock.forward(seconds=0.1)
    shop.of_store(SHOP, Tier.BASIC, clock())


def test_another_tier_takes_effect_at_once() -> None:
    tiers = NONE | {Tier.BASIC: Allowance(1, 1), Tier.PREMIUM: Allowance(1000, 5)}
    shop, clock = Limits(tiers), FakeClock()
    shop.of_store(SHOP, Tier.BASIC, clock())
    with pytest.raises(OverLimit):
        shop.of_store(SHOP, Tier.BASIC, clock())
    for _ in range(4):
        shop.of_store(SHOP, Tier.PREMIUM, clock())
    with pytest.raises(OverLimit):
        shop.of_store(SHOP, Tier.PREMIUM, clock())
    with pytest.raises(OverLimit):
        shop.of_store(SHOP, Tier.BASIC, clock())


def test_a_day_ends_at_midnight_in_utc() -> None:
    shop, clock = of(per_day=2), FakeClock(datetime(2026, 1, 31, 23, 59, 30, tzinfo=UTC))
    midnight = datetime(2026, 2, 1, tzinfo=UTC)
    first = told(shop.of_store(SHOP, Tier.BASIC, clock()))
    assert first == {"limit": 2, "remaining": 1, "reset": int(midnight.timestamp())}
    shop.of_store(SHOP, Tier.BASIC, clock())
    with pytest.raises(OverLimit) as refused:
        shop.of_store(SHOP, Tier.BASIC, clock())
    assert refused.value.retry_after == 30
    shop.of_store(OTHER, Tier.BASIC, clock())
    clock.at = midnight
    shop.of_store(SHOP, Tier.BASIC, clock())
    # A clock that is set back does not give yesterday's quota again, nor take today's.
    clock.forward(seconds=-5)
    shop.of_store(SHOP, Tier.BASIC, clock())
    with pytest.raises(OverLimit):
        shop.of_store(SHOP, Tier.BASIC, clock())


def test_what_the_rate_refuses_is_not_counted_against_the_day() -> None:
    shop, clock = of(1, 1, 2), FakeClock()
    shop.of_store(SHOP, Tier.BASIC, clock())
    for _ in range(20):
        with pytest.raises(OverLimit):
            shop.of_store(SHOP, Tier.BASIC, clock())
    clock.forward(seconds=1)
    assert told(shop.of_store(SHOP, Tier.BASIC, clock()))["remaining"] == 0
    clock.forward(seconds=1)
    with pytest.raises(OverLimit) as refused:
        shop.of_store(SHOP, Tier.BASIC, clock())
    assert told(refused.value.headers)["limit"] == 2


def test_the_headers_tell_of_the_nearer_limit() -> None:
    shop, clock = of(100, 100, 3), FakeClock()
    assert told(shop.of_store(SHOP, Tier.BASIC, clock()))["limit"] == 3
    wide = of(100, 2, 1000)
    assert told(wide.of_store(SHOP, Tier.BASIC, clock()))["limit"] == 100


async def test_counts_are_kept_over_a_restart() -> None:
    kept, clock = Kept(), FakeClock()
    before = of(per_day=3, kept=kept)
    await before.load(clock())
    for _ in range(2):
        before.of_store(SHOP, Tier.BASIC, clock())
    await before.save()
    after = of(per_day=3, kept=kept)
    await after.load(clock())
    after.of_store(SHOP, Tier.BASIC, clock())
    with pytest.raises(OverLimit):
        after.of_store(SHOP, Tier.BASIC, clock())


@pytest.mark.parametrize("failure", [RuntimeError("full"), asyncio.CancelledError()])
async def test_counts_that_could_not_be_saved_are_saved_next_time(failure: BaseException) -> None:
    kept, clock = Kept(), FakeClock()
    shop = of(per_day=3, kept=kept)
    await shop.load(clock())
    shop.of_store(SHOP, Tier.BASIC, clock())
    kept.failure = failure
    with pytest.raises(type(failure)):
        await shop.save()
    kept.failure = None
    await shop.save()
    assert kept.days == {clock().date(): {SHOP: 1}}


async def test_nothing_new_is_not_saved_again() -> None:
    kept, clock = Kept(), FakeClock()
    shop = of(per_day=3, kept=kept)
    shop.of_store(SHOP, Tier.BASIC, clock())
    await shop.save()
    kept.days.clear()
    await shop.save()
    assert kept.days == {}


def address(client: str, shop: Limits, clock: FakeClock) -> bool:
    try:
        shop.of_address(client, clock())
    except OverLimit:
        return False
    return True


@pytest.mark.parametrize(
    "one, other, same",
    [
        ("192.0.2.1", "192.0.2.1", True),
        ("192.0.2.1", "192.0.2.2", False),
        ("192.0.2.1", "::ffff:192.0.2.1", True),
        ("2001:db8:1:2::1", "2001:db8:1:2:ffff:ffff:ffff:ffff", True),
        ("2001:db8:1:2::1", "[2001:DB8:1:2::2]", True),
        ("fe80::1%eth0", "fe80::2%eth1", True),
        ("2001:db8:1:2::1", "2001:db8:1:3::1", False),
        ("unix:", "unix:", True),
    ],
)
def test_addresses_are_told_apart_as_customers_are(one: str, other: str, *, same: bool) -> None:
    shop, clock = Limits(NONE, address=Allowance(1, 1)), FakeClock()
    assert address(one, shop, clock)
    assert address(other, shop, clock) is not same


def test_many_addresses_take_bounded_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MAX_KEYS", 10)
    shop, clock = Limits(NONE, address=Allowance(1, 1)), FakeClock()
    for number in range(50):
        assert address(f"192.0.2.{number}", shop, clock)
    kept: dict[str, Any] = shop._addresses._full_at
    assert len(kept) == 10
    # Whoever has called last is remembered.
    assert not address("192.0.2.49", shop, clock)


def test_without_limits_nothing_is_told_or_kept() -> None:
    shop, clock = Limits(NONE, address=Allowance()), FakeClock()
    for _ in range(1000):
        assert shop.of_address("192.0.2.1", clock()) == []
        assert shop.of_store(SHOP, Tier.BASIC, clock()) == []
    assert shop._used == {}
