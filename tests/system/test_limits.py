"""Limits as clients meet them, on a process of one's own."""

import asyncio
import time
from pathlib import Path

import pytest

from tests.rows import number
from tests.running import Answer, Platform, Shopper, Store, open_store
from tests.waiting import until

QUOTA = 1000


@pytest.fixture
def limited(own_platform: Platform) -> Platform:
    """A platform whose stores are basic, with a wide rate and a day's quota."""
    own_platform.environ.update(
        MERCATO_DEFAULT_TIER="basic",
        MERCATO_TIER_BASIC=f"100000/100000/{QUOTA}",
    )
    return own_platform


async def ask(shop: Shopper, times: int) -> list[Answer]:
    return [await shop.get("/api/v1/orders?limit=1&count=false") for _ in range(times)]


def remaining(answer: Answer) -> int:
    return int(answer.headers["x-ratelimit-remaining"])


def saved(platform: Platform, store: str) -> int:
    """Return what is on disk of a store's count."""
    return number(platform, "users", "SELECT used FROM quotas WHERE tenant_id = ?", store)


async def test_a_days_quota_survives_a_restart_exactly(limited: Platform) -> None:
    limited.start()
    store = await open_store(limited, "restarted")
    async with limited.client(store.customer) as shop:
        left = remaining((await ask(shop, 25))[-1])
    assert limited.stop() == 0
    limited.start()
    async with limited.client(store.customer) as shop:
        assert remaining((await ask(shop, 1))[0]) == left - 1


async def test_a_kill_forgets_no_more_than_half_a_second_of_the_quota(limited: Platform) -> None:
    limited.start()
    store = await open_store(limited, "killed")
    async with limited.client(store.customer) as shop:
        left = remaining((await ask(shop, 30))[-1])
        await until(lambda: saved(limited, store.id) >= QUOTA - left)
        # What comes now may be forgotten, and nothing before it.
        await ask(shop, 5)
    limited.kill()
    limited.start()
    async with limited.client(store.customer) as shop:
        assert left - 1 - 5 <= remaining((await ask(shop, 1))[0]) <= left - 1


async def test_a_used_up_quota_is_429_until_midnight_for_that_store_alone(limited: Platform) -> None:
    limited.environ["MERCATO_TIER_BASIC"] = "100000/100000/20"
    limited.start()
    store, other = await open_store(limited, "spent"), await open_store(limited, "thrifty")
    async with limited.client(store.customer) as shop:
        answers = await ask(shop, 30)
        assert [each.status for each in answers] == [200] * 20 + [429] * 10
        refused = answers[-1]
        assert refused.code == "RATE_LIMIT_EXCEEDED"
        assert 0 < int(refused.headers["retry-after"]) <= 86_400
        assert refused.headers["x-ratelimit-limit"] == "20"
        assert remaining(refused) == 0
        assert int(refused.headers["x-ratelimit-reset"]) % 86_400 == 0
        # Admins are the store too.
        assert (await shop.get("/api/v1/orders", token=store.admin)).status == 429
        assert (await shop.get("/api/v1/orders", token=other.admin)).status == 200
        assert (await shop.get("/health/live")).status == 200
    assert limited.stop() == 0
    limited.start()
    async with limited.client(store.customer) as shop:
        assert (await ask(shop, 1))[0].status == 429


async def test_calls_without_a_token_spend_nothing_of_a_store(limited: Platform) -> None:
    limited.environ["MERCATO_TIER_BASIC"] = "100000/100000/10"
    limited.start()
    store = await open_store(limited, "public")
    async with limited.client(store=store.id) as anybody:
        found = await asyncio.gather(*(anybody.get("/api/v1/products") for _ in range(50)))
        assert {each.status for each in found} == {200}
        assert not any("x-ratelimit-limit" in each.headers for each in found)
        bad = {"email": "x@y.example", "password": "wrong-password"}
        assert (await anybody.post("/api/v1/users/login", bad)).status == 401
        assert (await anybody.get("/api/v1/orders", token="a.b.c")).status == 401
    async with limited.client(store.customer) as shop:
        assert remaining((await ask(shop, 1))[0]) == 9


async def test_a_store_that_is_too_fast_is_429_and_told_when_to_come_back(own_platform: Platform) -> None:
    own_platform.environ.update(MERCATO_DEFAULT_TIER="basic", MERCATO_TIER_BASIC="5/10/0")
    own_platform.start()
    store, other = await open_store(own_platform, "fast"), await open_store(own_platform, "calm")
    async with own_platform.client(store.customer) as shop:
        began = time.monotonic()
        answers = await asyncio.gather(*(shop.get("/api/v1/orders?limit=1") for _ in range(60)))
        took = time.monotonic() - began
        allowed = [each for each in answers if each.status == 200]
        refused = [each for each in answers if each.status == 429]
        assert len(allowed) + len(refused) == 60
        assert 10 <= len(allowed) <= 10 + 5 * took + 1
        assert all("x-ratelimit-remaining" in each.headers for each in answers)
        assert {each.headers["retry-after"] for each in refused} == {"1"}
        assert (await shop.get("/api/v1/orders", token=other.customer)).status == 200
        await asyncio.sleep(int(refused[0].headers["retry-after"]))
        assert (await shop.get("/api/v1/orders")).status == 200


async def test_an_address_is_limited_whatever_it_says_of_itself(own_platform: Platform) -> None:
    own_platform.environ.update(MERCATO_ADDRESS_RATE="1", MERCATO_ADDRESS_BURST="10")
    own_platform.start()
    async with own_platform.client() as anybody:

        async def ask_as(number: int) -> Answer:
            forged = {
                "X-Forwarded-For": f"198.51.100.{number}",
                "X-Real-IP": f"198.51.100.{number}",
                "Forwarded": f"for=198.51.100.{number}",
                "X-Tenant-Id": "default",
            }
            return await anybody.get("/api/v1/products", headers=forged)

        began = time.monotonic()
        answers = await asyncio.gather(*(ask_as(number) for number in range(40)))
        allowed = [each.status for each in answers].count(200)
        assert 10 <= allowed <= 10 + time.monotonic() - began + 1
        refused = next(each for each in answers if each.status == 429)
        assert refused.code == "RATE_LIMIT_EXCEEDED"
        assert int(refused.headers["retry-after"]) >= 1
        # Neither an odd path nor a bad token is a way around it; who watches or fetches keys is answered.
        for path, token in (("/nowhere", None), ("/api/v1/orders", "a.b.c")):
            # One a second is allowed, and may be one of these.
            asked = [await anybody.get(path, token=token) for _ in range(3)]
            assert 429 in {each.status for each in asked}, path
        for path in ("/health/ready", "/.well-known/jwks.json"):
            assert (await anybody.get(path)).status == 200


async def test_another_tier_takes_effect_within_a_second(own_platform: Platform, tmp_path: Path) -> None:
    own_platform.environ.update(MERCATO_DEFAULT_TIER="basic", MERCATO_TIER_BASIC="1000/1000/3")
    own_platform.start()
    store: Store = await open_store(own_platform, "grown")
    async with own_platform.client(store.customer) as shop:
        assert [each.status for each in await ask(shop, 4)] == [200, 200, 200, 429]
        changed = own_platform.command("tenants", "set-tier", "grown", "premium")
        assert changed.returncode == 0, changed.stderr
        deadline = time.monotonic() + 5
        while (await ask(shop, 1))[0].status != 200:
            assert time.monotonic() < deadline, "the store is as it was"
            await asyncio.sleep(0.05)
