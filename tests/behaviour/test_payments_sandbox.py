"""What any payment provider promises, kept by the sandbox."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from mercato.contracts.payment_books import ChargeOutcome
from mercato.kernel.ids import uuid7
from mercato.payments.ports import (
    Charged,
    ChargeRequest,
    Declined,
    NeverCharged,
    OutcomeUnknown,
    Refunded,
    RefundRefused,
    RefundRequest,
)
from mercato.payments.providers.sandbox import Sandbox


@pytest.fixture
async def sandbox(tmp_path: Path) -> AsyncIterator[Sandbox]:
    opened = Sandbox(tmp_path / "sandbox.db", slow_s=0.01)
    yield opened
    await opened.close()


def charging(token: str | None = None, *, key: str = "k") -> ChargeRequest:
    return ChargeRequest(key=key, amount=1_000, currency="USD", token=token, description=None)


def refunding(charged: Charged, amount: int, *, key: str | None = None) -> RefundRequest:
    return RefundRequest(
        key=key or uuid7(), transaction_id=charged.transaction_id, amount=amount, currency="USD"
    )


async def charged_by(sandbox: Sandbox) -> Charged:
    outcome = await sandbox.charge(charging())
    assert isinstance(outcome, Charged)
    return outcome


async def test_twenty_charges_of_one_key_are_one_charge(sandbox: Sandbox) -> None:
    outcomes = await asyncio.gather(*(sandbox.charge(charging("tok_slow")) for _ in range(20)))
    assert len(set(outcomes)) == 1
    assert [charge.amount for charge in await sandbox.book()] == [1_000]


async def test_a_key_keeps_its_first_outcome(sandbox: Sandbox) -> None:
    declined = await sandbox.charge(charging("tok_declined"))
    assert isinstance(declined, Declined)
    assert await sandbox.charge(charging("tok_visa")) == declined
    assert await sandbox.resolve("k") == declined


async def test_a_lost_answer_is_found_by_asking(sandbox: Sandbox) -> None:
    with pytest.raises(OutcomeUnknown):
        await sandbox.charge(charging("tok_lost"))
    assert isinstance(await sandbox.resolve("k"), Charged)


async def test_a_key_resolved_as_never_charged_is_closed(sandbox: Sandbox) -> None:
    assert await sandbox.resolve("k") == NeverCharged()
    assert await sandbox.resolve("k") == NeverCharged()
    assert isinstance(await sandbox.charge(charging()), Declined)
    assert [charge.outcome for charge in await sandbox.book()] == [ChargeOutcome.VOID]


async def test_a_slow_charge_whose_key_is_closed_meanwhile_takes_nothing(sandbox: Sandbox) -> None:
    slow = asyncio.create_task(sandbox.charge(charging("tok_slow")))
    await asyncio.sleep(0)
    assert await sandbox.resolve("k") == NeverCharged()
    assert isinstance(await slow, Declined)


async def test_a_timeout_was_not_charged(sandbox: Sandbox) -> None:
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await sandbox.charge(charging("tok_timeout"))
    assert await sandbox.book() == []


async def test_a_refund_is_made_once_per_key(sandbox: Sandbox) -> None:
    charged = await charged_by(sandbox)
    request = refunding(charged, 600, key="r")
    outcomes = await asyncio.gather(*(sandbox.refund(request) for _ in range(20)))
    assert set(outcomes) == {Refunded()}
    assert [charge.refunded for charge in await sandbox.book()] == [600]


async def test_more_than_was_charged_is_not_refunded(sandbox: Sandbox) -> None:
    charged = await charged_by(sandbox)
    outcomes = await asyncio.gather(*(sandbox.refund(refunding(charged, 300)) for _ in range(5)))
    assert sum(isinstance(outcome, RefundRefused) for outcome in outcomes) == 2
    assert isinstance(await sandbox.refund(refunding(Charged("sbx_unknown"), 1)), RefundRefused)


async def test_the_book_outlives_the_process(sandbox: Sandbox, tmp_path: Path) -> None:
    charged = await charged_by(sandbox)
    reopened = Sandbox(tmp_path / "sandbox.db", slow_s=0)
    assert await reopened.resolve("k") == charged
    await reopened.close()
