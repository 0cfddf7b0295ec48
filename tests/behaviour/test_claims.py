"""Claims in the database: one holder at a time, and never a second effect."""

import asyncio
import dataclasses
from datetime import timedelta

import pytest

from mercato.adapters.sql.claims import SqlClaims, extend
from mercato.adapters.sql.database import Tx
from mercato.adapters.sql.steps import ClaimLost, Steps
from mercato.contracts.events import Events
from mercato.kernel.cause import ByCall, Claim
from mercato.kernel.clock import to_micros
from mercato.kernel.tenancy import TenantId
from tests.clock import FakeClock
from tests.conftest import OpenDatabase
from tests.engines import POSTGRES

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


async def test_what_is_kept_is_renewed_until_it_is_let_go_or_has_passed_on(
    claims: SqlClaims, clock: FakeClock
) -> None:
    async def lease(until: timedelta) -> timedelta:
        await claims.renew(lease_until=clock() + until)
        held = await claims.open(CLAIM, b"h", now=clock(), lease_until=clock())
        assert held is not None
        return held.lease_until - clock()

    await claims.open(CLAIM, b"h", now=clock(), lease_until=clock() + LEASE)
    with claims.kept(CLAIM):
        assert await lease(timedelta(hours=1)) == LEASE, "it is no older than the last renewal"
        assert await lease(timedelta(hours=1)) == timedelta(hours=1)
        clock.forward(hours=1)
        held = await claims.open(CLAIM, b"h", now=clock(), lease_until=clock())
        assert held is not None
        assert await claims.take_over(held, now=clock(), lease_until=clock() + LEASE) is not None
        assert await lease(timedelta(hours=1)) == LEASE, "another has it now"
    assert await lease(timedelta(hours=1)) == LEASE


@POSTGRES
async def test_a_claim_that_is_about_to_have_its_effect_holds_up_the_renewal_of_no_other(
    claims: SqlClaims, steps: Steps, clock: FakeClock
) -> None:
    others = [dataclasses.replace(CLAIM, key=key, object_id=key) for key in "abc"]
    for claim in others:
        await claims.open(claim, b"h", now=clock(), lease_until=clock())
    saving, saved = asyncio.Event(), asyncio.Event()

    async def slowly(tx: Tx) -> None:
        await extend(tx, others[1], clock() + LEASE)
        saving.set()
        await saved.wait()

    with claims.kept(others[0]), claims.kept(others[1]), claims.kept(others[2]):
        effect = asyncio.create_task(steps.db.transact(slowly))
        await saving.wait()
        for _ in range(2):
            await claims.renew(lease_until=clock() + timedelta(hours=1))
        saved.set()
        await effect
    rows = await steps.db.fetch_all("SELECT key, lease_until FROM claims ORDER BY key")
    hour, usual = to_micros(clock() + timedelta(hours=1)), to_micros(clock() + LEASE)
    assert rows == [("a", hour), ("b", usual), ("c", hour)]


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
