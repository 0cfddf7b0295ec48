"""Cuts: what was given out before them is void, what comes after is not."""

import time
from datetime import timedelta
from pathlib import Path

import pytest

from mercato.adapters.identity.keys import KeyRing
from mercato.adapters.identity.revocations import Revocations
from mercato.adapters.identity.tokens import TokenIssuer, TokenTerms, TokenVerifier
from mercato.kernel.errors import Unauthenticated
from mercato.kernel.ids import UserId, id_in, uuid7
from mercato.kernel.principal import Principal, Role
from mercato.kernel.tenancy import TenantId
from tests.clock import FakeClock

LIFETIME = timedelta(minutes=15)
ADA = Principal(UserId(uuid7()), "ada@example.com", Role.CUSTOMER, TenantId("shop"))


@pytest.fixture
def revocations() -> Revocations:
    return Revocations(LIFETIME, clock=FakeClock())


def cut(revocations: Revocations, subject: str, by: str | None = None) -> None:
    """Cut the subject's tokens off as the step of a change does: for longer than it may take."""
    revocations.restore(subject, by or id_in(1), FakeClock()() + LIFETIME)


def test_a_cut_falls_between_what_was_and_what_comes(revocations: Revocations) -> None:
    before = uuid7()
    assert not revocations.refuses("ada", before)
    cut(revocations, "ada")
    later = uuid7()
    for token in (before, later):
        allowed = revocations.allowed_for("ada", token)
        assert revocations.refuses("ada", token, allowed) == (token == before)
        assert revocations.refuses("ada", token)
        assert not revocations.refuses("bob", token)


def test_a_token_allows_for_no_cut_that_comes_after_it(revocations: Revocations) -> None:
    first = id_in(1)
    cut(revocations, "ada", first)
    token = uuid7()
    allowed = revocations.allowed_for("ada", token)
    cut(revocations, "ada", id_in(0, after=first))
    assert revocations.refuses("ada", token, allowed)
    assert revocations.refuses("ada", token, revocations.allowed_for("ada", token))


def test_cuts_by_the_hundred_refuse_nothing_of_what_comes_and_move_no_clock(revocations: Revocations) -> None:
    for _ in range(500):
        cut(revocations, "ada")
        token = uuid7()
        assert not revocations.refuses("ada", token, revocations.allowed_for("ada", token))
    assert uuid7() < id_in(1)
    assert int(uuid7()[:8] + uuid7()[9:13], 16) <= time.time_ns() // 1_000_000 + 1


def test_cuts_are_forgotten_when_no_token_of_before_can_be_valid() -> None:
    clock = FakeClock()
    revocations = Revocations(LIFETIME, clock=clock)
    for n in range(100):
        revocations.restore(f"user{n}", id_in(1), clock() + revocations.kept)
    clock.forward(minutes=15)
    revocations.restore("ada", id_in(1), clock() + revocations.kept)
    assert len(revocations) == 101
    clock.forward(minutes=2)
    revocations.restore("ada", id_in(2), clock() + revocations.kept)
    assert len(revocations) == 1


def test_a_restored_cut_never_moves_a_later_one_back(revocations: Revocations) -> None:
    early, between, late = uuid7(), uuid7(), uuid7()
    cut(revocations, "ada", late)
    cut(revocations, "ada", early)
    assert revocations.refuses("ada", between)


@pytest.mark.parametrize("ahead", [20, 3600])
def test_what_is_given_out_after_a_cut_from_a_clock_that_is_ahead_is_accepted(
    revocations: Revocations, ahead: int
) -> None:
    before = uuid7()
    cut(revocations, "ada", id_in(ahead))
    later = uuid7()
    assert not revocations.refuses("ada", later, revocations.allowed_for("ada", later))
    assert revocations.refuses("ada", before, revocations.allowed_for("ada", before))
    assert later < id_in(1)


def test_cuts_from_elsewhere_are_forgotten_too() -> None:
    clock = FakeClock()
    revocations = Revocations(LIFETIME, clock=clock)
    for n in range(100):
        revocations.restore(f"user{n}", uuid7(), clock() + LIFETIME)
    clock.forward(minutes=16)
    revocations.restore("ada", uuid7(), clock() + LIFETIME)
    assert len(revocations) == 1


async def test_a_remembered_token_is_cut_too(tmp_path: Path) -> None:
    clock, ring = FakeClock(), KeyRing(tmp_path)
    terms = TokenTerms("https://shop.example", "mercato", LIFETIME)
    revocations = Revocations(LIFETIME, clock=clock)
    verifier = TokenVerifier(ring, terms, clock=clock, revocations=revocations)
    issuer = TokenIssuer(ring, terms, revocations)
    token_id = uuid7()
    token = await issuer.issue(ADA, token_id=token_id, at=clock())
    assert await verifier.authenticate(token) == await verifier.authenticate(token) == ADA
    cut(revocations, ADA.user_id)
    for _ in range(2):
        with pytest.raises(Unauthenticated, match="not valid"):
            await verifier.authenticate(token)
    # Its user was read before the cut, though it was signed after it.
    with pytest.raises(Unauthenticated):
        await verifier.authenticate(await issuer.issue(ADA, token_id=token_id, at=clock()))
    fresh = await issuer.issue(ADA, token_id=uuid7(), at=clock())
    assert await verifier.authenticate(fresh) == ADA
    cut(revocations, f"store:{ADA.tenant}")
    with pytest.raises(Unauthenticated):
        await verifier.authenticate(fresh)
    again = await issuer.issue(ADA, token_id=uuid7(), at=clock())
    assert await verifier.authenticate(again) == ADA
