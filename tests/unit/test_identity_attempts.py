"""What is counted over a while, whoever comes at once and whatever keys they make up."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from mercato.adapters.identity import attempts as module
from mercato.adapters.identity.attempts import LinkLimit, MemoryAttempts
from mercato.kernel.tenancy import TenantId
from mercato.web.limits import RateLimited

AT = datetime(2026, 1, 1, tzinfo=UTC)
SHOP = TenantId("shop")


async def guess(
    attempts: MemoryAttempts, account: str, address: str = "192.0.2.1", at: datetime = AT
) -> bool:
    """Guess wrongly; say whether the guess was let through."""
    try:
        async with attempts.attempt(SHOP, account, address, at=at) as attempt:
            await asyncio.sleep(0)
            attempt.failed()
    except RateLimited as refused:
        assert refused.retry_after is not None
        assert refused.retry_after >= 1
        return False
    return True


async def test_failures_leave_the_window_one_by_one() -> None:
    attempts = MemoryAttempts(of_account=2)
    later = AT + timedelta(minutes=5)
    assert await guess(attempts, "ada")
    assert await guess(attempts, "ada", at=later)
    assert not await guess(attempts, "ada", at=AT + timedelta(minutes=14))
    assert await guess(attempts, "ada", at=AT + timedelta(minutes=15))
    assert not await guess(attempts, "ada", at=AT + timedelta(minutes=16))
    assert await guess(attempts, "ada", at=later + timedelta(minutes=15))


async def test_an_attempt_that_was_cut_off_counts_for_nothing() -> None:
    attempts = MemoryAttempts(of_account=1)
    for _ in range(3):
        with pytest.raises(TimeoutError):
            async with attempts.attempt(SHOP, "ada", "192.0.2.1", at=AT):
                raise TimeoutError
    assert await guess(attempts, "ada")
    assert len(attempts._addresses) == 1


async def test_nothing_is_kept_of_those_who_know_their_password() -> None:
    attempts = MemoryAttempts()
    for n in range(5):
        async with attempts.attempt(SHOP, f"user{n}", f"192.0.2.{n}", at=AT) as attempt:
            attempt.succeeded()
    assert len(attempts._accounts) == len(attempts._addresses) == 0


async def test_whoever_gives_up_waiting_leaves_nothing_behind() -> None:
    attempts = MemoryAttempts(of_account=1)
    async with attempts.attempt(SHOP, "ada", "192.0.2.1", at=AT) as attempt:
        waiting = asyncio.create_task(guess(attempts, "ada"))
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        attempt.succeeded()
    assert len(attempts._accounts) == 0


async def test_the_keys_are_bounded_and_those_in_the_crowd_that_waits(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "MAX_KEYS", 10)
    monkeypatch.setattr(module, "MAX_WAITING", 3)
    attempts = MemoryAttempts(of_account=1)
    for n in range(50):
        await guess(attempts, f"user{n}", f"192.0.{n}.1")
    assert len(attempts._accounts) == len(attempts._addresses) == 10
    async with attempts.attempt(SHOP, "ada", "192.0.2.1", at=AT) as attempt:
        crowd = [asyncio.create_task(guess(attempts, "ada", "198.51.100.1")) for _ in range(10)]
        done, waiting = await asyncio.wait(crowd, return_when=asyncio.FIRST_COMPLETED)
        assert (len(done), len(waiting)) == (7, 3)
        attempt.succeeded()
    assert sum(await asyncio.gather(*crowd)) == 1


async def test_addresses_of_one_ipv6_site_are_one() -> None:
    attempts = MemoryAttempts(of_address=3)
    for n in range(3):
        assert await guess(attempts, f"user{n}", f"2001:db8::{n}")
    assert not await guess(attempts, "other", "2001:db8::ffff")
    assert await guess(attempts, "other", "2001:db8:0:1::1")


async def test_five_links_an_hour_go_to_one_address() -> None:
    limit = LinkLimit()
    assert [await limit.take(("ada",), at=AT) for _ in range(6)] == [0, 0, 0, 0, 0, 3600]
    assert await limit.take(("bob",), at=AT) == 0
    assert await limit.take(("ada",), at=AT + timedelta(hours=1)) == 0
