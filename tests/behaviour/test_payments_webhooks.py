"""Webhooks: only what is signed is heard, once, and nothing that it says is believed."""

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest

from mercato.kernel.ids import uuid7
from mercato.payments.providers.signature import sign
from mercato.payments.wiring import PaymentsSettings
from mercato.payments.workers import FATES_KEPT, NOTICES_KEPT
from tests.asgi_client import Answer
from tests.behaviour.payments_till import ACME, OTHER, QUICK, Till, open_till
from tests.conftest import OpenDatabase
from tests.stripe_double import API_KEY, StripeDouble, running_double

STRIPE_SECRET = "whsec_test"
PATH = "/api/v1/payments/webhooks/"
UNCHECKED = PaymentsSettings(provider_timeout_s=1.0, first_check_s=3_600)
"""What is open is asked for in an hour, unless somebody says so."""


@pytest.fixture
async def till(open_database: OpenDatabase, tmp_path: Path) -> AsyncIterator[Till]:
    async with open_till(open_database, tmp_path, settings=UNCHECKED) as opened:
        yield opened


def news(payment_id: str, *, kind: str = "charge.settled", event: str = "", tenant: str = ACME) -> bytes:
    metadata = {"tenant": tenant, "key": payment_id}
    return msgspec.json.encode(
        {"id": event or uuid7(), "type": kind, "created": 1, "data": {"object": {"metadata": metadata}}}
    )


async def tell(
    till: Till,
    body: bytes,
    *,
    secret: str | None = None,
    late: float = 0,
    headers: Mapping[str, str] | None = None,
) -> Answer:
    """Send what the sandbox would, signed now unless it is `late`."""
    at = till.clock() - timedelta(seconds=late)
    signed = sign(secret or till.service.sandbox.webhook_secret, body, at=at)
    return await till.send(
        "POST", f"{PATH}sandbox", body, headers={"Mercato-Signature": signed, **(headers or {})}
    )


async def open_payment(till: Till, token: str = "tok_lost") -> str:
    """Return the id of a payment whose outcome nobody knows."""
    payment_id = await till.open(token=token)
    assert (await till.process(payment_id)).status == 202
    return payment_id


async def status(till: Till, payment_id: str) -> str:
    return str((await till.show(payment_id))["status"])


@pytest.mark.parametrize("token, outcome", [("tok_lost", "success"), ("tok_timeout", "failed")])
async def test_news_of_a_payment_has_the_provider_asked_at_once(till: Till, token: str, outcome: str) -> None:
    payment_id = await open_payment(till, token)
    await till.reconcile(seconds=1)
    assert await status(till, payment_id) == "processing"

    answer = await tell(till, news(payment_id))

    assert (answer.status, answer.json["data"]) == (200, {"received": True})
    assert till.service.settlement.due.is_set()
    await till.reconcile()
    assert await status(till, payment_id) == outcome


async def test_news_twice_late_and_out_of_order_changes_nothing(till: Till) -> None:
    payment_id = await open_payment(till)
    bodies = [news(payment_id), news(payment_id, kind="refund.settled"), news(payment_id)] * 7

    answers = await asyncio.gather(*(tell(till, body) for body in bodies))
    await till.reconcile()
    shown = await till.show(payment_id)
    answers += await asyncio.gather(*(tell(till, body) for body in bodies), tell(till, news(payment_id)))
    await till.reconcile(seconds=7_200)

    assert {answer.status for answer in answers} == {200}
    assert (shown["status"], await till.show(payment_id)) == ("success", shown)
    assert len(await till.charges()) == 1


async def test_an_event_is_heard_once_also_after_a_restart(
    open_database: OpenDatabase, tmp_path: Path
) -> None:
    event = news("01939e2f-5a00-7c4b-9f3e-2b1d8c6a4e70")
    async with open_till(open_database, tmp_path, settings=UNCHECKED) as first:
        payment_id = await open_payment(first)
        event = news(payment_id)
        await tell(first, event)
        await first.reconcile()
        await first.cancel_order((await first.show(payment_id))["order_id"])
        version = (await first.show(payment_id))["version"]
    async with open_till(
        open_database, tmp_path, orders=first.orders, clock=first.clock, settings=UNCHECKED
    ) as second:
        second.clock.forward(hours=1)
        assert (await tell(second, event)).status == 200
        assert (await second.show(payment_id))["version"] == version
        assert not second.service.settlement.due.is_set()


async def test_news_of_what_is_not_open_changes_nothing(till: Till) -> None:
    waiting, paid = await till.open(), await till.paid()
    before = [await till.show(each) for each in (waiting, paid)]

    for payment_id in (waiting, paid):
        assert (await tell(till, news(payment_id))).status == 200
    await till.reconcile(seconds=7_200)

    assert [await till.show(each) for each in (waiting, paid)] == before
    assert not till.service.settlement.due.is_set()


async def test_news_of_a_pending_refund_has_it_asked_for(till: Till, monkeypatch: pytest.MonkeyPatch) -> None:
    payment_id = await till.paid()
    with monkeypatch.context() as patched:
        patched.setattr(till.service.sandbox, "refund", lambda _: asyncio.Event().wait())
        assert (await till.refund(payment_id, 5)).status == 202
    await till.reconcile(seconds=1)
    assert (await till.show(payment_id))["refunded_amount"] == 0

    await tell(till, news(payment_id, kind="refund.settled"))
    await till.reconcile()

    assert (await till.show(payment_id))["refunded_amount"] == 5


@pytest.mark.parametrize(
    "signature",
    [
        None,
        "",
        "t=,v1=",
        "v1=abc",
        "t=1767268800",
        "t=1767268800,v1=zz",
        "t=1767268800,v1=\u00e9",
        "t=1767268800,v0={v1}",
        "t=99999999999999999999,v1={v1}",
        "t=-1,v1={v1}",
        "t=1767268801,v1={v1}",
    ],
)
async def test_what_is_not_signed_by_the_provider_is_refused(till: Till, signature: str | None) -> None:
    payment_id = await open_payment(till)
    body = news(payment_id)
    right = sign(till.service.sandbox.webhook_secret, body, at=till.clock())
    headers = {} if signature is None else {"Mercato-Signature": signature.format(v1=right.split("v1=")[1])}

    answer = await till.send("POST", f"{PATH}sandbox", body, headers=headers)

    assert (answer.status, answer.code) == (401, "UNAUTHORIZED")
    assert await till.db.fetch_all("SELECT * FROM notices") == []


async def test_a_signature_holds_for_its_body_its_secret_and_five_minutes(till: Till) -> None:
    payment_id = await open_payment(till)
    body = news(payment_id)
    right = sign(till.service.sandbox.webhook_secret, body, at=till.clock())

    for answer in (
        await tell(till, body, secret="another"),
        await tell(till, body, late=301),
        await tell(till, body, late=-301),
        await till.send("POST", f"{PATH}sandbox", body + b" ", headers={"Mercato-Signature": right}),
        await till.send("POST", f"{PATH}sandbox", body, headers={"Stripe-Signature": right}),
    ):
        assert answer.status == 401
    assert (await tell(till, body, late=300)).status == 200
    assert (await tell(till, body, late=-300)).status == 200
    rolled = f"v1=00,{right},v1=11"
    assert (await tell(till, news(payment_id), headers={"Mercato-Signature": right})).status == 401
    assert (
        await till.send("POST", f"{PATH}sandbox", body, headers={"Mercato-Signature": rolled})
    ).status == 200


@pytest.mark.parametrize("provider", ["stripe", "paypal", "Sandbox", "..", "%00", "x" * 3000])
async def test_a_provider_that_is_not_set_up_is_not_there(till: Till, provider: str) -> None:
    answer = await till.send("POST", f"{PATH}{provider}", b"{}")
    assert (answer.status, answer.code) == (404, "NOT_FOUND")


@pytest.mark.parametrize(
    "body", [b"{}", b"[]", b"x", b"\xff", b'{"id":"","type":"x","data":{"object":{}}}', b"[" * 50_000]
)
async def test_what_is_signed_and_no_event_is_refused(till: Till, body: bytes) -> None:
    answer = await tell(till, body)
    assert (answer.status, answer.code) == (400, "BAD_REQUEST")


async def test_a_body_is_bounded_and_json(till: Till) -> None:
    assert (await tell(till, b" " * (64 * 1024 + 1))).status == 413
    text = {"Content-Type": "text/plain"}
    assert (await tell(till, news(uuid7()), headers=text)).status == 415
    assert (await till.send("GET", f"{PATH}sandbox")).status in {404, 405}


async def test_news_of_no_payment_of_ours_is_taken_and_told_to_the_log(
    till: Till, caplog: pytest.LogCaptureFixture
) -> None:
    payment_id = await open_payment(till)

    for body in (
        news(uuid7()),
        news("nonsense"),
        news(payment_id, tenant=OTHER),
        news(payment_id, tenant="' OR 1=1 --"),
        msgspec.json.encode({"id": "e", "type": "charge.settled", "data": {"object": {}}}),
    ):
        assert (await tell(till, body)).status == 200

    assert caplog.text.count("a webhook is about no payment of ours") == 5
    await till.reconcile()
    assert await status(till, payment_id) == "processing"


async def test_news_on_the_way_to_an_end_is_taken_and_does_nothing(till: Till) -> None:
    payment_id = await open_payment(till)
    assert (await tell(till, news(payment_id, kind="charge.started"))).status == 200
    await till.reconcile()
    assert await status(till, payment_id) == "processing"
    assert await till.db.fetch_all("SELECT * FROM notices") == []


async def test_what_is_past_is_purged_a_part_at_a_time(till: Till) -> None:
    for _ in range(5):
        await tell(till, news(uuid7()))
        await till.cancel_order(till.orders.place())
    now, store = till.clock(), till.service.store
    later = now + timedelta(microseconds=1)

    async def left() -> list[int]:
        return [
            len(await till.db.fetch_all(f"SELECT * FROM {table}")) for table in ("notices", "order_fates")
        ]

    assert await store.purge(notices_before=now, fates_before=now, limit=3) == 0
    assert await store.purge(notices_before=later, fates_before=now, limit=3) == 3
    assert await left() == [2, 5]
    assert await store.purge(notices_before=later, fates_before=later, limit=3) == 3
    assert await left() == [0, 2]
    assert timedelta(days=3) < NOTICES_KEPT
    assert timedelta(hours=1) <= FATES_KEPT


async def test_a_purged_cancellation_still_lets_no_payment_be_opened(till: Till) -> None:
    order_id = till.orders.place()
    till.orders.cancel(order_id)
    await till.cancel_order(order_id)
    later = till.clock() + FATES_KEPT
    await till.service.store.purge(notices_before=later, fates_before=later, limit=10)
    assert (await till.create(order_id)).code == "CONFLICT"


# Stripe


@pytest.fixture
async def stripe() -> AsyncIterator[StripeDouble]:
    async with running_double() as double:
        yield double


@pytest.fixture
async def stripe_till(
    open_database: OpenDatabase, tmp_path: Path, stripe: StripeDouble
) -> AsyncIterator[Till]:
    settings = PaymentsSettings(
        provider="stripe",
        provider_timeout_s=1.0,
        first_check_s=3_600,
        stripe_key=API_KEY,
        stripe_webhook_secret=STRIPE_SECRET,
        stripe_url=stripe.url,
    )
    async with open_till(open_database, tmp_path, settings=settings) as opened:
        yield opened


async def told_by_stripe(till: Till, kind: str, about: dict[str, Any]) -> Answer:
    body = msgspec.json.encode({"id": f"evt_{uuid7()}", "type": kind, "data": {"object": about}})
    headers = {"Stripe-Signature": sign(STRIPE_SECRET, body, at=till.clock())}
    return await till.send("POST", f"{PATH}stripe", body, headers=headers)


async def test_a_payment_is_made_and_given_back_by_stripe(stripe_till: Till, stripe: StripeDouble) -> None:
    payment_id = await stripe_till.open(token="tok_visa")
    done = (await stripe_till.process(payment_id)).json["data"]
    back = (await stripe_till.refund(payment_id, 5)).json["data"]

    assert (done["status"], done["provider"], done["transaction_id"]) == ("success", "stripe", "pi_0")
    assert (back["status"], back["refunded_amount"]) == ("partially_refunded", 5)
    assert [each["amount"] for each in stripe.refunds.values()] == [500]
    assert [book.charge_key for book in await stripe_till.service.books()] == [None]
    declined = (await stripe_till.process(await stripe_till.open(token="tok_declined"))).json["data"]
    assert (declined["status"], declined["failure_reason"]) == ("failed", "card declined")
    assert b"4242" not in b"".join(stripe_till.log)


async def test_stripes_news_has_stripe_asked(stripe_till: Till, stripe: StripeDouble) -> None:
    payment_id = await stripe_till.open(token="tok_visa")
    stripe.lose = {"confirm"}
    assert (await stripe_till.process(payment_id)).status == 202
    stripe.lose = set()
    about = stripe.intents["pi_0"]

    assert (await told_by_stripe(stripe_till, "payment_intent.created", about)).status == 200
    await stripe_till.reconcile()
    assert await status(stripe_till, payment_id) == "processing"
    assert (await told_by_stripe(stripe_till, "payment_intent.succeeded", about)).status == 200
    await stripe_till.reconcile()
    assert await status(stripe_till, payment_id) == "success"


async def test_a_lie_about_a_payment_is_not_believed(stripe_till: Till, stripe: StripeDouble) -> None:
    payment_id = await stripe_till.open(token="tok_visa")
    stripe.fail = {"confirm": 503}
    assert (await stripe_till.process(payment_id)).status == 202
    lie = stripe.intents["pi_0"] | {"status": "succeeded"}

    await told_by_stripe(stripe_till, "payment_intent.succeeded", lie)
    await stripe_till.reconcile()

    assert await status(stripe_till, payment_id) == "failed"
    assert stripe.charges == []


async def test_a_provider_is_not_heard_about_another_ones_payment(
    stripe_till: Till, stripe: StripeDouble
) -> None:
    payment_id = await stripe_till.open(token="tok_visa")
    stripe.fail = {"confirm": 503}
    assert (await stripe_till.process(payment_id)).status == 202
    stripe_till.clock.forward(seconds=60)
    version = (await stripe_till.show(payment_id))["version"]

    assert (await tell(stripe_till, news(payment_id))).status == 200

    assert (await stripe_till.show(payment_id))["version"] == version


async def test_what_another_provider_has_open_is_still_asked_of_it(
    open_database: OpenDatabase, tmp_path: Path, stripe: StripeDouble
) -> None:
    async with open_till(open_database, tmp_path, settings=UNCHECKED) as before:
        lost, waiting = await open_payment(before), await before.open()
    settings = PaymentsSettings(provider="stripe", stripe_key=API_KEY, stripe_url=stripe.url)
    async with open_till(
        open_database, tmp_path, orders=before.orders, clock=before.clock, settings=settings
    ) as after:
        await after.service.take_up()
        await after.reconcile()
        assert await status(after, lost) == "success"
        assert (await after.process(waiting)).json["data"]["provider"] == "stripe"
    assert all("/search" not in request for request in stripe.requests)
    async with open_till(
        open_database, tmp_path, orders=before.orders, clock=before.clock, settings=QUICK
    ) as without:
        paid = await without.open()
        await without.db.transact(
            lambda tx: tx.execute(
                "UPDATE payments SET status = 'processing', provider = 'stripe', check_at = 0 WHERE id = ?",
                (paid,),
            )
        )
        await without.reconcile()
        assert await status(without, paid) == "processing"


@pytest.fixture(autouse=True)
def no_token_in_the_log(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    yield
    for secret in ("tok_", API_KEY, STRIPE_SECRET):
        assert secret not in caplog.text
