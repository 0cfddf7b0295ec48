"""Where the day's quotas are kept."""

import asyncio
from datetime import date, timedelta

import pytest

from mercato.kernel.tenancy import TenantId, Tier
from mercato.users.stores import sql_quotas
from mercato.users.stores.sql_quotas import SqlQuotas
from mercato.web.limits import Allowance, Limits, RateLimited
from tests.clock import FakeClock
from tests.conftest import OpenDatabase

DAY = date(2026, 1, 31)
SHOP, OTHER = TenantId("shop"), TenantId("other")


async def test_what_several_have_counted_is_added_up(open_database: OpenDatabase) -> None:
    both = [SqlQuotas(await open_database("users")) for _ in range(2)]
    assert await both[0].add(DAY, {SHOP: 7, OTHER: 1}) == {SHOP: 7, OTHER: 1}
    assert await both[1].add(DAY, {SHOP: 5}) == {SHOP: 12}
    await asyncio.gather(*(both[n % 2].add(DAY, {OTHER: 1, SHOP: n}) for n in range(20)))
    assert await both[0].load(DAY) == {SHOP: 12 + sum(range(20)), OTHER: 21}


async def test_two_processes_share_a_stores_day(open_database: OpenDatabase) -> None:
    clock = FakeClock()
    tiers = dict.fromkeys(Tier, Allowance(per_day=10))
    first, second = [Limits(tiers, quotas=SqlQuotas(await open_database("users"))) for _ in range(2)]
    for limits in (first, second):
        await limits.load(clock())
        for _ in range(4):
            limits.of_store(SHOP, Tier.BASIC, clock())
    for limits in (first, second, first):
        limits.of_store(SHOP, Tier.BASIC, clock())
        await limits.save()
        clock.forward(seconds=1)
    with pytest.raises(RateLimited):
        first.of_store(SHOP, Tier.BASIC, clock())


async def test_each_day_counts_anew_and_former_days_go(open_database: OpenDatabase) -> None:
    db = await open_database("users")
    quotas = SqlQuotas(db)
    await quotas.add(DAY, {SHOP: 7})
    assert await quotas.load(DAY + timedelta(days=1)) == {}
    await quotas.add(DAY + timedelta(days=1), {SHOP: 1})
    assert await quotas.load(DAY) == {}
    assert await quotas.load(DAY + timedelta(days=1)) == {SHOP: 1}


async def test_many_stores_are_saved_in_steps(
    open_database: OpenDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sql_quotas, "_BATCH", 10)
    quotas = SqlQuotas(await open_database("users"))
    used = {TenantId(f"shop-{number}"): number + 1 for number in range(101)}
    await quotas.add(DAY, used)
    assert await quotas.load(DAY) == used


async def test_counts_are_there_after_a_restart(open_database: OpenDatabase) -> None:
    await SqlQuotas(await open_database("users")).add(DAY, {SHOP: 3})
    assert await SqlQuotas(await open_database("users")).load(DAY) == {SHOP: 3}
