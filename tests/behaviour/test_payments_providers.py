"""What any payment provider promises, kept by each."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from mercato.adapters.http.breaker import CircuitOpen
from mercato.contracts.payment_books import ChargeOutcome
from mercato.kernel.ids import uuid7
from mercato.kernel.tenancy import TenantId
from mercato.payments.ports import (
    Charged,
    ChargeRequest,
    Declined,
    NeverCharged,
    OutcomeUnknown,
    Provider,
    Refunded,
    RefundRefused,
    RefundRequest,
)
from mercato.payments.providers.sandbox import Sandbox
from mercato.payments.providers.stripe import Stripe
from mercato.payments.providers.stripe_api import StripeApi, to_stripe
from tests.clock import FakeClock
from tests.sandbox_books import new_book
from tests.stripe_double import API_KEY, StripeDouble, running_double

SLOW_S = 0.02


@dataclass
class Bank:
    """A provider, and what it has really done."""

    provider: Provider
    clock: FakeClock
    double: StripeDouble | None = None

    async def charged(self) -> list[int]:
        """Return the amounts that were taken."""
        if self.double is not None:
            return [intent["amount"] for intent in self.double.charges]
        assert isinstance(self.provider, Sandbox)
        book = await self.provider.book()
        return [charge.amount for charge in book if charge.outcome is ChargeOutcome.CHARGED]

    async def refunded(self) -> list[int]:
        """Return the amounts that were given back."""
        if self.double is not None:
            return [refund["amount"] for refund in self.double.refunds.values()]
        assert isinstance(self.provider, Sandbox)
        return [charge.refunded for charge in await self.provider.book() if charge.refunded]

    def request(self, token: str | None = "tok_visa", *, key: str = "k", **fields: Any) -> ChargeRequest:
        given: dict[str, Any] = {"amount": 1_000, "currency": "USD", "description": "Order 7"}
        given |= {"created_at": self.clock()} | fields
        return ChargeRequest(key=key, tenant=TenantId("acme"), token=token, **given)

    def refund(self, charged: Charged, amount: int, *, key: str | None = None) -> RefundRequest:
        return RefundRequest(
            key=key or uuid7(),
            tenant=TenantId("acme"),
            charge_key="k",
            transaction_id=charged.transaction_id,
            amount=amount,
            currency="USD",
            created_at=self.clock(),
        )

    async def charge(self, **fields: Any) -> Charged:
        outcome = await self.provider.charge(self.request(**fields))
        assert isinstance(outcome, Charged), outcome
        return outcome

    async def ask(self, request: ChargeRequest) -> Charged | Declined | NeverCharged | None:
        """Charge, and wait for no answer that does not come at once."""
        try:
            async with asyncio.timeout(10):
                return await self.provider.charge(request)
        except OutcomeUnknown:
            return None


@asynccontextmanager
async def sandbox_bank(engine: str, folder: Path) -> AsyncIterator[Bank]:
    async with new_book(engine, folder) as book:
        sandbox = Sandbox(book, slow_s=SLOW_S)
        yield Bank(sandbox, FakeClock())
        await sandbox.close()


@asynccontextmanager
async def stripe_bank() -> AsyncIterator[Bank]:
    clock = FakeClock()
    async with running_double() as double:
        stripe = Stripe(StripeApi(double.url, API_KEY, timeout_s=1.5), clock=clock)
        yield Bank(stripe, clock, double)
        await stripe.close()


@pytest.fixture(params=["sandbox in sqlite", "sandbox in postgres", "stripe"])
async def bank(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Bank]:
    name, _, engine = request.param.partition(" in ")
    async with sandbox_bank(engine, tmp_path) if name == "sandbox" else stripe_bank() as opened:
        yield opened


@pytest.fixture
async def stripe() -> AsyncIterator[Bank]:
    async with stripe_bank() as opened:
        yield opened


async def lose_one(bank: Bank) -> ChargeRequest:
    """Charge, and lose the answer."""
    if bank.double is None:
        request = bank.request("tok_lost")
        assert await bank.ask(request) is None
    else:
        request = bank.request()
        bank.double.lose = {"confirm"}
        assert await bank.ask(request) is None
        bank.double.lose = set()
    return request


async def test_twenty_charges_of_one_key_are_one_charge(bank: Bank) -> None:
    token = "tok_slow"
    if bank.double is not None:
        token, bank.double.slow_s = "tok_visa", SLOW_S

    outcomes = await asyncio.gather(*(bank.ask(bank.request(token)) for _ in range(20)))

    assert await bank.charged() == [1_000]
    known = {outcome for outcome in outcomes if outcome is not None}
    assert known == {await bank.provider.resolve(bank.request(token))}
    assert await bank.ask(bank.request(token)) in known


async def test_two_keys_are_two_charges(bank: Bank) -> None:
    assert await bank.charge(key="k1") != await bank.charge(key="k2", amount=2_000)
    assert await bank.charged() == [1_000, 2_000]


@pytest.mark.parametrize(
    "token, reason",
    [
        ("tok_declined", "card declined"),
        ("tok_insufficient_funds", "insufficient funds"),
        ("tok_nobody_knows", "unknown token"),
    ],
)
async def test_a_declined_token_takes_nothing_and_says_why(bank: Bank, token: str, reason: str) -> None:
    request = bank.request(token)

    assert await bank.ask(request) == Declined(reason)
    assert isinstance(await bank.ask(request), Declined)
    assert await bank.charged() == []


async def test_a_key_keeps_its_first_outcome(bank: Bank) -> None:
    declined = await bank.ask(bank.request("tok_declined"))

    assert isinstance(declined, Declined)
    assert await bank.ask(bank.request("tok_visa")) == declined
    assert await bank.provider.resolve(bank.request(None)) == declined
    assert await bank.charged() == []


async def test_a_lost_answer_is_found_by_asking(bank: Bank) -> None:
    request = await lose_one(bank)

    outcome = await bank.provider.resolve(request)

    assert isinstance(outcome, Charged)
    assert await bank.provider.resolve(request) == outcome
    assert await bank.charged() == [1_000]


async def test_a_key_resolved_as_never_charged_is_closed(bank: Bank) -> None:
    assert await bank.provider.resolve(bank.request()) == NeverCharged()
    assert await bank.provider.resolve(bank.request()) == NeverCharged()
    assert isinstance(await bank.ask(bank.request()), Declined)
    assert await bank.charged() == []


async def test_of_a_slow_charge_and_a_resolution_at_once_one_wins(bank: Bank) -> None:
    token = "tok_slow"
    if bank.double is not None:
        token, bank.double.slow_s = "tok_visa", SLOW_S
    slow = asyncio.create_task(bank.ask(bank.request(token)))
    await asyncio.sleep(0)

    resolved = None
    while resolved is None:
        try:
            resolved = await bank.provider.resolve(bank.request(token))
        except OutcomeUnknown:
            continue

    outcome = await slow
    if isinstance(resolved, Charged):
        # It was asked for so late that the charge was there.
        assert outcome in {resolved, None}
        assert await bank.charged() == [1_000]
    else:
        assert isinstance(outcome, Declined | None)
        assert await bank.charged() == []
    assert await bank.provider.resolve(bank.request(token)) == resolved


async def test_twenty_resolutions_at_once_agree(bank: Bank) -> None:
    request = await lose_one(bank)

    outcomes = await asyncio.gather(
        *(bank.provider.resolve(request) for _ in range(20)), return_exceptions=True
    )

    known = {each for each in outcomes if not isinstance(each, OutcomeUnknown)}
    assert known == {await bank.provider.resolve(request)}


async def test_a_refund_is_made_once_per_key(bank: Bank) -> None:
    request = bank.refund(await bank.charge(), 600, key="r")

    outcomes = await asyncio.gather(
        *(bank.provider.refund(request) for _ in range(20)), return_exceptions=True
    )

    assert {each for each in outcomes if not isinstance(each, OutcomeUnknown)} == {Refunded()}
    assert await bank.provider.refund(request) == Refunded()
    assert await bank.refunded() == [600]


async def test_more_than_was_charged_is_not_refunded(bank: Bank) -> None:
    charged = await bank.charge()

    outcomes = [await bank.provider.refund(bank.refund(charged, 300)) for _ in range(5)]

    assert outcomes[:3] == [Refunded()] * 3
    assert all(isinstance(each, RefundRefused) for each in outcomes[3:])
    assert isinstance(await bank.provider.refund(bank.refund(Charged("unknown"), 1)), RefundRefused)
    assert sum(await bank.refunded()) == 900


# Stripe alone


def double_of(bank: Bank) -> StripeDouble:
    assert bank.double is not None
    return bank.double


@pytest.mark.parametrize("status", [401, 403, 409, 429, 500, 503])
@pytest.mark.parametrize("word", ["payment_intents", "confirm"])
async def test_an_answer_that_says_nothing_leaves_the_outcome_open(
    stripe: Bank, word: str, status: int
) -> None:
    double_of(stripe).fail = {word: status}
    with pytest.raises(OutcomeUnknown):
        await stripe.provider.charge(stripe.request())
    double_of(stripe).fail = {}
    assert await stripe.provider.resolve(stripe.request()) == NeverCharged()
    assert [each["status"] for each in double_of(stripe).intents.values()] == ["canceled"]


async def test_a_server_that_is_away_or_silent_leaves_the_outcome_open(stripe: Bank) -> None:
    double_of(stripe).slow_s = 3.0
    with pytest.raises(OutcomeUnknown):
        await stripe.provider.charge(stripe.request())
    nobody = Stripe(StripeApi("http://127.0.0.1:9", API_KEY, timeout_s=1.5), clock=stripe.clock)
    with pytest.raises(OutcomeUnknown, match="ConnectError"):
        await nobody.resolve(stripe.request())
    await nobody.close()


async def test_a_lost_creation_is_found_again_and_not_made_twice(stripe: Bank) -> None:
    double_of(stripe).lose = {"payment_intents"}
    with pytest.raises(OutcomeUnknown):
        await stripe.provider.charge(stripe.request())
    double_of(stripe).lose = set()

    assert isinstance(await stripe.provider.charge(stripe.request()), Charged)
    assert len(double_of(stripe).intents) == 1


async def test_what_stripe_is_still_working_on_is_open(stripe: Bank) -> None:
    for _ in range(2):
        with pytest.raises(OutcomeUnknown):
            await stripe.provider.charge(stripe.request("tok_processing"))
        with pytest.raises(OutcomeUnknown):
            await stripe.provider.resolve(stripe.request())
    double_of(stripe).intents["pi_0"]["status"] = "succeeded"
    assert await stripe.provider.resolve(stripe.request()) == Charged("pi_0")


@pytest.mark.parametrize("found", [True, False])
async def test_when_stripe_has_forgotten_the_key_the_charge_is_searched_for(
    stripe: Bank, *, found: bool
) -> None:
    request = stripe.request()
    if found:
        await stripe.provider.charge(request)
    double_of(stripe).forget_keys()
    stripe.clock.forward(hours=25)

    outcome = await stripe.provider.resolve(request)

    assert outcome == (Charged("pi_0") if found else NeverCharged())
    assert len(double_of(stripe).intents) == 1


async def test_what_may_be_there_and_is_not_found_yet_is_open(stripe: Bank) -> None:
    """Stripe's search lags behind, so for a while a charge that it does not find proves nothing."""
    request = stripe.request()
    double_of(stripe).fail = {"payment_intents": 400}
    for minutes in (0, 59):
        stripe.clock.forward(minutes=minutes)
        with pytest.raises(OutcomeUnknown, match="not found yet"):
            await stripe.provider.resolve(request)
    stripe.clock.forward(minutes=1)
    assert await stripe.provider.resolve(request) == NeverCharged()


async def test_a_key_that_stands_for_something_else_leaves_the_outcome_open(stripe: Bank) -> None:
    """What was asked for first under the key may have been done: that is no refusal of ours."""
    charged = await stripe.charge(amount=1_000)
    with pytest.raises(OutcomeUnknown):
        await stripe.provider.charge(stripe.request(amount=2_000))
    await stripe.provider.refund(stripe.refund(charged, 600, key="r"))
    with pytest.raises(OutcomeUnknown):
        await stripe.provider.refund(stripe.refund(charged, 400, key="r"))
    assert (await stripe.charged(), await stripe.refunded()) == ([1_000], [600])


async def test_what_waits_for_its_payer_is_closed_and_not_left_to_be_paid_later(stripe: Bank) -> None:
    outcome = await stripe.ask(stripe.request("tok_redirect"))

    assert outcome == Declined("the payment was closed")
    assert [each["status"] for each in double_of(stripe).intents.values()] == ["canceled"]
    assert await stripe.provider.resolve(stripe.request()) == NeverCharged()


@pytest.mark.parametrize("refunds", [1, 150])
async def test_when_stripe_has_forgotten_a_refund_it_is_looked_for(stripe: Bank, refunds: int) -> None:
    charged = await stripe.charge()
    requests = [stripe.refund(charged, 1) for _ in range(refunds)]
    for request in requests:
        await stripe.provider.refund(request)
    double_of(stripe).forget_keys()
    stripe.clock.forward(hours=25)

    assert await stripe.provider.refund(requests[0]) == Refunded()
    assert len(await stripe.refunded()) == refunds


async def test_a_refund_that_takes_its_time_is_asked_for_again(stripe: Bank) -> None:
    double_of(stripe).refunds_are = "pending"
    request = stripe.refund(await stripe.charge(), 600)
    for _ in range(2):
        with pytest.raises(OutcomeUnknown):
            await stripe.provider.refund(request)
    for status, outcome in (("succeeded", Refunded()), ("failed", RefundRefused("the refund failed"))):
        double_of(stripe).refunds["re_0"]["status"] = status
        assert await stripe.provider.refund(request) == outcome
    assert await stripe.refunded() == [600]


async def test_what_stripe_cannot_take_is_declined_in_words(stripe: Bank) -> None:
    assert await stripe.ask(stripe.request(None)) == Declined("no means of payment was given")
    assert await stripe.ask(stripe.request(amount=1)) == Declined("the amount is too small for this provider")
    digits = Declined("the provider cannot take an amount with that many digits")
    assert await stripe.ask(stripe.request(amount=1_234, currency="KWD")) == digits
    assert await stripe.provider.resolve(stripe.request(amount=1_234, currency="KWD")) == NeverCharged()
    assert await stripe.ask(stripe.request("tok_3ds")) == Declined(
        "the bank wants the payer to confirm, which is not possible here"
    )


@pytest.mark.parametrize(
    "minor, currency, amount",
    [
        (1_999, "USD", 1_999),
        (500, "JPY", 500),
        (5, "ISK", 500),
        (5, "UGX", 500),
        (5_120, "KWD", 5_120),
        (5_124, "KWD", None),
        (700, "MGA", 7),
        (750, "MGA", None),
        (1_050, "HUF", 1_050),
        (0, "BHD", 0),
    ],
)
def test_an_amount_is_told_as_stripe_counts_it(minor: int, currency: str, amount: int | None) -> None:
    assert to_stripe(minor, currency) == amount


async def test_neither_key_nor_token_is_in_an_error(stripe: Bank, caplog: pytest.LogCaptureFixture) -> None:
    secret = "tok_of_a_card_nobody_must_see"
    told = [repr(await stripe.ask(stripe.request(secret)))]
    double_of(stripe).fail = {"payment_intents": 401}
    with pytest.raises(OutcomeUnknown) as refused:
        await stripe.provider.charge(stripe.request(secret, key="k2"))
    told += [repr(refused.value), caplog.text]

    for text in told:
        assert secret not in text
        assert API_KEY not in text
        assert "4242" not in text
    assert "does not accept our key" in caplog.text


async def test_each_object_says_whose_it_is(stripe: Bank) -> None:
    await stripe.provider.refund(stripe.refund(await stripe.charge(), 600, key="r"))

    about = {"mercato_key": "k", "mercato_tenant": "acme"}
    assert double_of(stripe).intents["pi_0"]["metadata"] == about
    assert double_of(stripe).refunds["re_0"]["metadata"] == about | {"mercato_refund": "r"}


async def test_a_provider_that_keeps_failing_is_left_alone_for_a_while(stripe: Bank) -> None:
    double = double_of(stripe)
    double.fail = {"payment_intents": 500}
    for _ in range(3):
        stripe.provider.check()
        with pytest.raises(OutcomeUnknown, match="500"):
            await stripe.provider.charge(stripe.request())
    asked = len(double.requests)

    with pytest.raises(CircuitOpen):
        stripe.provider.check()
    with pytest.raises(OutcomeUnknown, match="not asked"):
        await stripe.provider.charge(stripe.request())
    assert len(double.requests) == asked


async def test_declined_cards_and_requests_that_are_refused_leave_nobody_alone(stripe: Bank) -> None:
    for _ in range(10):
        assert isinstance(await stripe.provider.charge(stripe.request("tok_declined")), Declined)
    stripe.provider.check()
