"""Failed attempts to sign in, counted by one process and by all of them."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from mercato.adapters.identity import attempts as memory
from mercato.adapters.identity.attempts import LinkLimit, MemoryAttempts
from mercato.adapters.redis import attempts as module
from mercato.adapters.redis.attempts import SharedAttempts, SharedLinkLimit
from mercato.adapters.redis.connection import RedisLink
from mercato.kernel.tenancy import TenantId
from mercato.users import ports
from mercato.web.limits import RateLimited
from tests.engines import need
from tests.measured import figures
from tests.redis_server import RedisServer, new_prefix, shared
from tests.replicas import PatientLink, linked
from tests.waiting import until

AT = datetime(2026, 1, 1, tzinfo=UTC)
SHOP = TenantId("shop")


class Doors:
    """Makes what counts attempts: one process's own, or such as share a Redis."""

    def __init__(self, link: RedisLink | None) -> None:
        self.link = link

    def make(self, **changed: Any) -> ports.Attempts:
        own = MemoryAttempts(**changed)
        return own if self.link is None else SharedAttempts(self.link, own, callers_time=True)

    def links(self) -> ports.LinkLimit:
        return (
            LinkLimit() if self.link is None else SharedLinkLimit(self.link, LinkLimit(), callers_time=True)
        )


@pytest.fixture(params=["memory", "redis"])
async def doors(request: pytest.FixtureRequest) -> AsyncIterator[Doors]:
    if request.param == "memory":
        yield Doors(None)
        return
    need("redis")
    async with linked(shared().url, new_prefix(), PatientLink) as link:
        yield Doors(link)


async def guess(
    attempts: ports.Attempts,
    account: str = "ada",
    address: str = "192.0.2.1",
    at: datetime = AT,
    *,
    right: bool = False,
    tenant: TenantId = SHOP,
) -> bool:
    """Guess; say whether the guess was let through."""
    try:
        async with attempts.attempt(tenant, account, address, at=at) as attempt:
            await asyncio.sleep(0)
            attempt.succeeded() if right else attempt.failed()
    except RateLimited as refused:
        assert refused.retry_after is not None
        assert refused.retry_after >= 1
        return False
    return True


async def test_failures_leave_the_window_one_by_one(doors: Doors) -> None:
    attempts, later = doors.make(of_account=2), AT + timedelta(minutes=5)
    assert await guess(attempts)
    assert await guess(attempts, at=later)
    assert not await guess(attempts, at=AT + timedelta(minutes=14))
    assert await guess(attempts, at=AT + timedelta(minutes=15))
    assert not await guess(attempts, at=AT + timedelta(minutes=16))
    assert await guess(attempts, at=later + timedelta(minutes=15))


async def test_an_attempt_that_was_cut_off_counts_for_nothing(doors: Doors) -> None:
    attempts = doors.make(of_account=1)
    for _ in range(3):
        with pytest.raises(TimeoutError):
            async with attempts.attempt(SHOP, "ada", "192.0.2.1", at=AT):
                raise TimeoutError
    assert await guess(attempts)


async def test_whoever_knows_the_password_begins_anew(doors: Doors) -> None:
    attempts = doors.make(of_account=3)
    assert [await guess(attempts), await guess(attempts), await guess(attempts, right=True)] == [True] * 3
    assert [await guess(attempts) for _ in range(4)] == [True] * 3 + [False]


async def test_a_new_password_forgives(doors: Doors) -> None:
    attempts = doors.make(of_account=1)
    assert [await guess(attempts), await guess(attempts)] == [True, False]
    await attempts.forgive(SHOP, "ada")
    assert await guess(attempts)


async def test_an_address_is_limited_over_all_accounts_and_its_whole_site(doors: Doors) -> None:
    attempts = doors.make(of_address=3)
    for n in range(3):
        assert await guess(attempts, f"user{n}", f"2001:db8::{n}")
    assert not await guess(attempts, "other", "2001:db8::ffff")
    assert await guess(attempts, "other", "2001:db8:0:1::1")


async def test_accounts_of_one_name_in_two_stores_are_two(doors: Doors) -> None:
    attempts = doors.make(of_account=1)
    assert await guess(attempts, "ada", tenant=TenantId("a"))
    assert await guess(attempts, "ada", tenant=TenantId("b"))
    # However names are chosen, none of them names another's count.
    assert await guess(attempts, 'b","ada', tenant=TenantId("a"))
    assert await guess(attempts, "a:ada")
    assert not await guess(attempts, "ada", tenant=TenantId("b"))


async def test_guesses_at_once_are_no_more_than_guesses_one_by_one(doors: Doors) -> None:
    attempts = doors.make(of_account=5)
    found = await asyncio.gather(*(guess(attempts, address=f"192.0.2.{n}") for n in range(40)))
    assert sum(found) == 5


async def test_those_who_wait_are_let_in_when_another_was_right(doors: Doors) -> None:
    attempts = doors.make(of_account=1)
    async with attempts.attempt(SHOP, "ada", "192.0.2.1", at=AT) as attempt:
        waiting = asyncio.create_task(guess(attempts))
        given_up = asyncio.create_task(guess(attempts))
        await asyncio.sleep(0)
        given_up.cancel()
        attempt.succeeded()
    assert await waiting


async def test_the_crowd_that_waits_is_bounded(doors: Doors, monkeypatch: pytest.MonkeyPatch) -> None:
    for each in (memory, module):
        monkeypatch.setattr(each, "MAX_WAITING", 3)
    attempts = doors.make(of_account=1)
    async with attempts.attempt(SHOP, "ada", "192.0.2.1", at=AT) as attempt:
        crowd = [asyncio.create_task(guess(attempts, address="198.51.100.1")) for _ in range(10)]
        await until(lambda: sum(task.done() for task in crowd) == 7)
        attempt.succeeded()
    assert sum(await asyncio.gather(*crowd)) == 1


async def test_five_links_an_hour_go_to_one_address(doors: Doors) -> None:
    limit = doors.links()
    assert [await limit.take(("ada",), at=AT) for _ in range(6)] == [0, 0, 0, 0, 0, 3600]
    assert await limit.take(("bob",), at=AT) == 0
    assert await limit.take(("ada",), at=AT + timedelta(hours=1)) == 0


@pytest.fixture
async def link(redis: RedisServer) -> AsyncIterator[RedisLink]:
    async with linked(redis.url, new_prefix(), PatientLink) as one:
        yield one


async def test_twenty_guessers_on_two_replicas_have_ten_guesses(link: RedisLink) -> None:
    replicas = [Doors(link).make(), Doors(link).make()]
    found = await asyncio.gather(
        *(guess(replicas[n % 2], address=f"192.0.{n}.{m}") for n in range(20) for m in range(3))
    )
    assert sum(found) == 10
    await replicas[0].forgive(SHOP, "ada")
    assert await guess(replicas[1])


async def test_links_are_counted_over_replicas(link: RedisLink) -> None:
    one, other = Doors(link).links(), Doors(link).links()
    taken = await asyncio.gather(*(each.take(("ada",), at=AT) for each in (one, other) for _ in range(10)))
    assert taken.count(0) == 5


async def test_neither_emails_nor_addresses_are_written_to_redis(link: RedisLink) -> None:
    assert await guess(Doors(link).make(), "ada@example.com", "192.0.2.77")
    await Doors(link).links().take(("verify-email", "shop", "ada@example.com"), at=AT)
    keys = await link.client.keys(link.key("*"))
    assert len(keys) == 4
    assert not any(b"ada" in key or b"192" in key for key in keys)
    assert all([await link.client.pttl(key) > 0 for key in keys])


async def test_a_process_that_died_while_it_tried_blocks_nobody_for_long(link: RedisLink) -> None:
    attempts = Doors(link).make(of_account=1)
    dying = attempts.attempt(SHOP, "ada", "192.0.2.1", at=AT)
    await dying.__aenter__()
    assert await guess(attempts, at=AT + timedelta(minutes=1))


async def test_the_lockout_holds_while_redis_is_away_and_afterwards(own_redis: RedisServer) -> None:
    async with linked(own_redis.url, "m", PatientLink) as link:
        attempts = Doors(link).make()
        assert [await guess(attempts) for _ in range(11)] == [True] * 10 + [False]
        own_redis.kill()
        # What this process has seen of the account still counts.
        assert not await guess(attempts)
        assert [await guess(attempts, "bob") for _ in range(12)] == [True] * 10 + [False] * 2
        own_redis.serve()
        await until(lambda: link.up)
        assert sum([await guess(attempts) for _ in range(20)]) <= 10


async def test_guesses_under_way_when_redis_goes_away_are_none_more_then_or_afterwards(
    own_redis: RedisServer,
) -> None:
    async with linked(own_redis.url, "m") as link:
        attempts = Doors(link).make(of_account=3)
        under_way = [attempts.attempt(SHOP, "ada", "192.0.2.1", at=AT) for _ in range(3)]
        begun = [await each.__aenter__() for each in under_way]
        own_redis.freeze()
        more = [asyncio.create_task(guess(attempts)) for _ in range(5)]
        await until(lambda: not link.up)
        for each, attempt in zip(under_way, begun, strict=True):
            attempt.failed()
            await each.__aexit__(None, None, None)
        assert await asyncio.gather(*more) == [False] * 5
        assert await guess(attempts, "bob")
        own_redis.thaw()
        await until(lambda: link.up)
        other = Doors(link).make(of_account=3)
        assert await asyncio.gather(*(guess(attempts) for _ in range(5))) == [False] * 5
        assert not await guess(other)
        assert [await guess(other, "bob") for _ in range(3)] == [True, True, False]


async def test_attempts_that_may_not_begin_are_counted(doors: Doors) -> None:
    attempts = doors.make(of_account=1, of_address=2)
    guesses = [await guess(attempts, account) for account in ("ada", "ada", "bob", "eve")]
    assert guesses == [True, False, True, False]
    assert figures(attempts.measures) == {("mercato_rate_limited", "attempts", "none"): 2}
