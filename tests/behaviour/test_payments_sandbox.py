"""The sandbox's own ways: its test tokens, its book, and its webhooks."""

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import msgspec
import pytest

from mercato.contracts.payment_books import ChargeOutcome
from mercato.kernel.ids import uuid7
from mercato.kernel.tenancy import TenantId
from mercato.payments.ports import Charged, ChargeRequest, Declined, NeverCharged, RefundRequest
from mercato.payments.providers import sandbox_webhooks, signature
from mercato.payments.providers.notices import SANDBOX_HEADER
from mercato.payments.providers.sandbox import Sandbox, book_at
from mercato.payments.providers.sandbox_webhooks import HttpPost, Mode, SandboxWebhooks
from tests.clock import FakeClock
from tests.conftest import Engine
from tests.engines import SQLITE
from tests.sandbox_books import new_book

AT = FakeClock()()
DEADLINE_S = 20.0
SLOW_S: dict[Engine, float] = {"sqlite": 0.01, "postgres": 2.0}


@pytest.fixture
async def sandbox(engine: Engine, tmp_path: Path) -> AsyncIterator[Sandbox]:
    async with new_book(engine, tmp_path) as book:
        opened = Sandbox(book, slow_s=SLOW_S[engine])
        # It is connected now: a slow charge is slower than any other statement.
        await opened.book()
        yield opened
        await opened.close()


def charging(token: str | None = None, *, key: str = "k") -> ChargeRequest:
    return ChargeRequest(
        key=key,
        tenant=TenantId("acme"),
        amount=1_000,
        currency="USD",
        token=token,
        description=None,
        created_at=AT,
    )


def refunding(charged: Charged, amount: int, *, key: str | None = None) -> RefundRequest:
    return RefundRequest(
        key=key or uuid7(),
        tenant=TenantId("acme"),
        charge_key="k",
        transaction_id=charged.transaction_id,
        amount=amount,
        currency="USD",
        created_at=AT,
    )


async def test_a_key_resolved_as_never_charged_is_void_in_the_book(sandbox: Sandbox) -> None:
    assert await sandbox.resolve(charging()) == NeverCharged()
    assert isinstance(await sandbox.charge(charging()), Declined)
    assert [charge.outcome for charge in await sandbox.book()] == [ChargeOutcome.VOID]


async def test_a_slow_charge_whose_key_is_closed_meanwhile_takes_nothing(sandbox: Sandbox) -> None:
    slow = asyncio.create_task(sandbox.charge(charging("tok_slow")))
    await asyncio.sleep(0)
    assert await sandbox.resolve(charging()) == NeverCharged()
    assert isinstance(await slow, Declined)


async def test_a_timeout_was_not_charged(sandbox: Sandbox) -> None:
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await sandbox.charge(charging("tok_timeout"))
    assert await sandbox.book() == []


async def test_no_token_pays(sandbox: Sandbox) -> None:
    assert isinstance(await sandbox.charge(charging(None)), Charged)


@SQLITE
async def test_the_book_and_its_secret_outlive_the_process(sandbox: Sandbox, tmp_path: Path) -> None:
    charged = await sandbox.charge(charging())
    reopened = Sandbox(book_at(tmp_path / "sandbox.db"), slow_s=0)
    assert await reopened.resolve(charging()) == charged
    assert reopened.webhook_secret == sandbox.webhook_secret
    assert len(reopened.webhook_secret) == 64
    await reopened.close()


async def test_each_end_is_told_once_and_names_whose_it_is(sandbox: Sandbox) -> None:
    told: list[tuple[str, Mapping[str, str]]] = []
    sandbox.on_news(lambda kind, metadata: told.append((kind, metadata)))

    for _ in range(2):
        charged = await sandbox.charge(charging())
        assert isinstance(charged, Charged)
        await sandbox.refund(refunding(charged, 300, key="r"))
    await sandbox.charge(charging("tok_declined", key="other"))
    await sandbox.resolve(charging(key="never"))

    assert told == [
        ("charge.settled", {"tenant": "acme", "key": "k"}),
        ("refund.settled", {"tenant": "acme", "key": "k"}),
        ("charge.settled", {"tenant": "acme", "key": "other"}),
    ]


class Ear:
    """Whom the sandbox calls: it answers as it is told to, and remembers what it heard."""

    def __init__(self, *answers: int | OSError) -> None:
        self.answers = list(answers)
        self.heard: list[tuple[bytes, Mapping[str, str]]] = []
        self.changed = asyncio.Event()

    async def __call__(self, body: bytes, headers: Mapping[str, str]) -> int:
        self.heard.append((body, headers))
        self.changed.set()
        answer = self.answers.pop(0) if self.answers else 200
        if isinstance(answer, OSError):
            raise answer
        return answer

    @property
    def keys(self) -> list[str]:
        return [msgspec.json.decode(body)["data"]["object"]["metadata"]["key"] for body, _ in self.heard]

    async def until(self, count: int) -> None:
        async with asyncio.timeout(DEADLINE_S):
            while len(self.heard) < count:
                await self.changed.wait()
                self.changed.clear()


async def reported(ear: Ear, mode: Mode, keys: list[str], *, spread_s: float = 0.02, count: int = 0) -> None:
    """Have news of those keys sent, and wait until so many were heard."""
    webhooks = SandboxWebhooks(ear, "secret", mode=mode, spread_s=spread_s, clock=FakeClock())
    sending = asyncio.create_task(webhooks.run())
    for key in keys:
        webhooks.tell("charge.settled", {"tenant": "acme", "key": key})
    await ear.until(count or len(keys))
    sending.cancel()
    await asyncio.gather(sending, return_exceptions=True)


async def test_news_is_sent_signed() -> None:
    ear = Ear()
    await reported(ear, "on", ["a", "b"])
    assert sorted(ear.keys) == ["a", "b"]
    body, headers = ear.heard[0]
    signature.check("secret", headers[SANDBOX_HEADER], body, at=AT)
    assert headers["Content-Type"] == "application/json"


async def test_news_may_come_twice_as_one_event() -> None:
    ear = Ear()
    await reported(ear, "twice", ["a", "b"], count=4)
    assert set(Counter(msgspec.json.decode(body)["id"] for body, _ in ear.heard).values()) == {2}


async def test_news_may_come_late() -> None:
    ear = Ear()
    before = asyncio.get_running_loop().time()
    await reported(ear, "late", ["a"], spread_s=0.05)
    assert asyncio.get_running_loop().time() - before >= 0.05


async def test_news_may_come_in_any_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(random, "uniform", random.Random(7).uniform)
    ear, keys = Ear(), [f"{number:02}" for number in range(20)]
    await reported(ear, "shuffled", keys)
    assert sorted(ear.keys) == keys
    assert ear.keys != keys


async def test_news_that_is_not_taken_is_sent_again_and_at_last_given_up(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(sandbox_webhooks, "_FIRST_PAUSE_S", 0.0)
    ear = Ear(503, ConnectionError("away"), TimeoutError(), 500, 500, 200)
    webhooks = SandboxWebhooks(ear, "secret", mode="on", spread_s=0, clock=FakeClock())
    await webhooks._send(b"one")
    assert len(ear.heard) == 5
    assert "in vain" in caplog.text
    await webhooks._send(b"two")
    assert len(ear.heard) == 6


async def test_news_that_waits_is_bounded(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(sandbox_webhooks, "MOST", 3)
    ear = Ear()
    await reported(ear, "twice", ["a", "b"], count=3)
    assert ear.keys.count("a") == 2
    assert "dropped" in caplog.text


async def test_nobody_who_listens_is_an_error_of_the_network() -> None:
    with pytest.raises(ConnectionError):
        await HttpPost("http://127.0.0.1:9/webhooks")(b"{}", {})
