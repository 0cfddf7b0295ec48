"""Cuts: what was given out before them is void, what comes after is not."""

from datetime import timedelta
from pathlib import Path

import pytest

from mercato.adapters.identity.keys import KeyRing
from mercato.adapters.identity.revocations import Revocations
from mercato.adapters.identity.tokens import TokenIssuer, TokenTerms, TokenVerifier
from mercato.kernel import ids
from mercato.kernel.errors import Unauthenticated
from mercato.kernel.ids import UserId, id_in, uuid7
from mercato.kernel.principal import Principal, Role
from mercato.kernel.tenancy import TenantId
from tests.clock import FakeClock

LIFETIME = timedelta(minutes=15)
ADA = Principal(UserId(uuid7()), "ada@example.com", Role.CUSTOMER, TenantId("shop"))


@pytest.fixture(autouse=True)
def _ids_of_before(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the ids that other tests make begin where they would have."""
    monkeypatch.setattr(ids, "_last_ms", ids._last_ms)


def test_a_cut_falls_between_what_was_and_what_comes() -> None:
    revocations = Revocations(LIFETIME, clock=FakeClock())
    before = uuid7()
    assert not revocations.refuses("ada", before)
    revocations.cut("ada")
    assert revocations.refuses("ada", before)
    assert not revocations.refuses("ada", uuid7())
    assert not revocations.refuses("bob", before)


def test_cuts_are_forgotten_when_no_token_of_before_can_be_valid() -> None:
    clock = FakeClock()
    revocations = Revocations(LIFETIME, clock=clock)
    for n in range(100):
        revocations.cut(f"user{n}")
    clock.forward(minutes=15)
    revocations.cut("ada")
    assert len(revocations) == 101
    clock.forward(minutes=2)
    revocations.cut("ada")
    assert len(revocations) == 1


def test_a_restored_cut_never_moves_a_later_one_back() -> None:
    clock = FakeClock()
    revocations = Revocations(LIFETIME, clock=clock)
    early, between = uuid7(), uuid7()
    revocations.cut("ada")
    revocations.restore("ada", early, clock() + LIFETIME)
    assert revocations.refuses("ada", between)
    before = uuid7()
    revocations.restore("ada", id_in(1), clock() + LIFETIME)
    assert revocations.refuses("ada", before)


def test_what_is_given_out_after_a_cut_from_a_clock_that_is_ahead_lies_after_it() -> None:
    clock = FakeClock()
    revocations = Revocations(LIFETIME, clock=clock)
    revocations.restore("ada", id_in(20), clock() + LIFETIME)
    later = [uuid7() for _ in range(100)]
    assert later == sorted(later)
    assert not revocations.refuses("ada", later[0])


def test_a_clock_that_is_an_hour_ahead_is_not_followed() -> None:
    clock = FakeClock()
    revocations = Revocations(LIFETIME, clock=clock)
    before = uuid7()
    revocations.restore("ada", id_in(3600), clock() + LIFETIME)
    assert before < uuid7() < id_in(120)


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
    issuer = TokenIssuer(ring, terms)
    token_id = uuid7()
    token = await issuer.issue(ADA, token_id=token_id, at=clock())
    assert await verifier.authenticate(token) == await verifier.authenticate(token) == ADA
    revocations.cut(ADA.user_id)
    for _ in range(2):
        with pytest.raises(Unauthenticated, match="not valid"):
            await verifier.authenticate(token)
    # Its user was read before the cut, though it was signed after it.
    with pytest.raises(Unauthenticated):
        await verifier.authenticate(await issuer.issue(ADA, token_id=token_id, at=clock()))
    fresh = await issuer.issue(ADA, token_id=uuid7(), at=clock())
    assert await verifier.authenticate(fresh) == ADA
