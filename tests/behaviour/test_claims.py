"""Claims in the database: one holder at a time, and never a second effect."""

import asyncio
import dataclasses
from datetime import timedelta

import pytest

from mercato.adapters.sql.claims import SqlClaims
from mercato.adapters.sql.database import Tx
from mercato.adapters.sql.steps import ClaimLost, Steps
from mercato.contracts.events import Events
from mercato.kernel.cause import ByCall, Claim
from mercato.kernel.tenancy import TenantId
from tests.clock import FakeClock
from tests.conftest import OpenDatabase

LEASE = timedelta(seconds=60)
CLAIM = Claim(TenantId("shop"), "user", "POST /things", "key", "object-1", attempt=1)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
async def steps(open_database: OpenDatabase, clock: FakeClock) -> Steps:
    return Steps(await open_database("orders"), source="/mercato/things", clock=clock)


@pytest.fixture
def claims(steps: Steps) -> SqlClaims:
    return SqlClaims(steps.db)


async def effect(steps: Steps, claim: Claim) -> ByCall:
    async def work(_: Tx) -> tuple[str, Events]:
        return "saved", ()

    by = ByCall("user", claim, lambda saved: f"answer: {saved}".encode())
    await steps.run(by, work)
    return by


async def test_one_of_twenty_gets_the_claim(claims: SqlClaims, clock: FakeClock) -> None:
    now = clock()
    found = await asyncio.gather(
        *(claims.open(CLAIM, b"h", now=now, lease_until=now + LEASE) for _ in range(20))
    )
    assert found.count(None) == 1
    held = next(each for each in found if each is not None)
    assert (held.claim, held.body_hash, held.done) == (CLAIM, b"h", False)
    assert (held.created_at, held.lease_until) == (now, now + LEASE)


async def test_one_of_twenty_takes_over_and_only_after_the_lease(claims: SqlClaims, clock: FakeClock) -> None:
    now = clock()
    await claims.open(CLAIM, b"h", now=now, lease_until=now + LEASE)
    held = await claims.open(CLAIM, b"h", now=now, lease_until=now + LEASE)
    assert held is not None
    assert await claims.take_over(held, now=clock(), lease_until=clock() + LEASE) is None
    later = clock.forward(seconds=60)
    taken = await asyncio.gather(
        *(claims.take_over(held, now=later, lease_until=later + LEASE) for _ in range(20))
    )
    assert [each for each in taken if each] == [
        Claim(TenantId("shop"), "user", "POST /things", "key", "object-1", attempt=2)
    ]


async def test_the_answer_is_stored_with_the_effect(
    claims: SqlClaims, steps: Steps, clock: FakeClock
) -> None:
    await claims.open(CLAIM, b"h", now=clock(), lease_until=clock() + LEASE)
    by = await effect(steps, CLAIM)
    assert by.stored == b"answer: saved"
    held = await claims.open(CLAIM, b"h", now=clock(), lease_until=clock() + LEASE)
    assert held is not None
    assert (held.done, held.answer) == (True, b"answer: saved")


async def test_a_claim_has_one_effect(claims: SqlClaims, steps: Steps, clock: FakeClock) -> None:
    await claims.open(CLAIM, b"h", now=clock(), lease_until=clock() + LEASE)
    outcomes = await asyncio.gather(*(effect(steps, CLAIM) for _ in range(20)), return_exceptions=True)
    assert sum(isinstance(each, ByCall) for each in outcomes) == 1
    assert sum(isinstance(each, ClaimLost) for each in outcomes) == 19


async def test_a_fenced_holder_changes_and_frees_nothing(
    claims: SqlClaims, steps: Steps, clock: FakeClock
) -> None:
    await claims.open(CLAIM, b"h", now=clock(), lease_until=clock())
    held = await claims.open(CLAIM, b"h", now=clock(), lease_until=clock() + LEASE)
    assert held is not None
    second = await claims.take_over(held, now=clock(), lease_until=clock() + LEASE)
    assert second is not None
    with pytest.raises(ClaimLost):
        await effect(steps, CLAIM)
    await claims.free(CLAIM)
    assert (await effect(steps, second)).stored == b"answer: saved"


async def test_what_had_its_effect_is_not_freed(claims: SqlClaims, steps: Steps, clock: FakeClock) -> None:
    await claims.open(CLAIM, b"h", now=clock(), lease_until=clock() + LEASE)
    await effect(steps, CLAIM)
    await claims.free(CLAIM)
    held = await claims.open(CLAIM, b"h", now=clock(), lease_until=clock() + LEASE)
    assert held is not None
    assert held.done


async def test_freeing_is_idempotent_and_another_may_claim(claims: SqlClaims, clock: FakeClock) -> None:
    await claims.open(CLAIM, b"h", now=clock(), lease_until=clock() + LEASE)
    await claims.free(CLAIM)
    await claims.free(CLAIM)
    assert await claims.open(CLAIM, b"other", now=clock(), lease_until=clock() + LEASE) is None


async def test_old_claims_are_purged_and_newer_ones_kept(claims: SqlClaims, clock: FakeClock) -> None:
    for key in "abc":
        claim = Claim(TenantId("shop"), "user", "POST /things", key, "object", attempt=1)
        await claims.open(claim, b"h", now=clock(), lease_until=clock() + LEASE)
        clock.forward(hours=1)
    before = clock() - timedelta(hours=1)
    assert await claims.purge(before=before, limit=1) == 1
    assert await claims.purge(before=before, limit=10) == 1
    assert await claims.purge(before=before, limit=10) == 0


async def test_what_was_done_meanwhile_is_not_taken_over(
    claims: SqlClaims, steps: Steps, clock: FakeClock
) -> None:
    await claims.open(CLAIM, b"h", now=clock(), lease_until=clock())
    held = await claims.open(CLAIM, b"h", now=clock(), lease_until=clock())
    assert held is not None
    await effect(steps, CLAIM)
    assert await claims.take_over(held, now=clock(), lease_until=clock() + LEASE) is None


async def test_a_caller_frees_and_replaces_no_claim_but_the_one_it_knows(
    claims: SqlClaims, clock: FakeClock
) -> None:
    await claims.open(CLAIM, b"h", now=clock(), lease_until=clock() + LEASE)
    old = await claims.open(CLAIM, b"h", now=clock(), lease_until=clock() + LEASE)
    assert old is not None
    await claims.free(dataclasses.replace(CLAIM, object_id="object-2"))
    assert await claims.open(CLAIM, b"h", now=clock(), lease_until=clock() + LEASE) == old

    await claims.replace(old)
    later = clock.forward(hours=1)
    assert await claims.open(CLAIM, b"new", now=later, lease_until=later + LEASE) is None
    await claims.replace(old)
    assert await claims.open(CLAIM, b"h", now=later, lease_until=later + LEASE) is not None
