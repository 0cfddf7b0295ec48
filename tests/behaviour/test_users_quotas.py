"""Where the day's quotas are kept."""

import asyncio
from datetime import date, timedelta

import pytest

from mercato.kernel.tenancy import TenantId
from mercato.users.stores import sql_quotas
from mercato.users.stores.sql_quotas import SqlQuotas
from tests.conftest import OpenDatabase

DAY = date(2026, 1, 31)
SHOP, OTHER = TenantId("shop"), TenantId("other")


async def test_a_count_never_becomes_less(open_database: OpenDatabase) -> None:
    quotas = SqlQuotas(await open_database("users"))
    await quotas.save(DAY, {SHOP: 7, OTHER: 1})
    await quotas.save(DAY, {SHOP: 5})
    await quotas.save(DAY, {OTHER: 2})
    assert await quotas.load(DAY) == {SHOP: 7, OTHER: 2}
    await asyncio.gather(*(quotas.save(DAY, {SHOP: count}) for count in range(20)))
    assert await quotas.load(DAY) == {SHOP: 19, OTHER: 2}


async def test_each_day_counts_anew_and_former_days_go(open_database: OpenDatabase) -> None:
    db = await open_database("users")
    quotas = SqlQuotas(db)
    await quotas.save(DAY, {SHOP: 7})
    assert await quotas.load(DAY + timedelta(days=1)) == {}
    await quotas.save(DAY + timedelta(days=1), {SHOP: 1})
    assert await quotas.load(DAY) == {}
    assert await quotas.load(DAY + timedelta(days=1)) == {SHOP: 1}


async def test_many_stores_are_saved_in_steps(
    open_database: OpenDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sql_quotas, "_BATCH", 10)
    quotas = SqlQuotas(await open_database("users"))
    used = {TenantId(f"shop-{number}"): number + 1 for number in range(101)}
    await quotas.save(DAY, used)
    assert await quotas.load(DAY) == used


async def test_counts_are_there_after_a_restart(open_database: OpenDatabase) -> None:
    await SqlQuotas(await open_database("users")).save(DAY, {SHOP: 3})
    assert await SqlQuotas(await open_database("users")).load(DAY) == {SHOP: 3}
