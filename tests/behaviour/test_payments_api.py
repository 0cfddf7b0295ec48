"""Payments over HTTP: who may do what, and what is told."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from mercato.contracts.orders import OrderStatus, StockState
from mercato.kernel.ids import OrderId
from tests.behaviour.payments_till import ACME, BOB, Till, open_till
from tests.conftest import OpenDatabase

NOBODY_S = "019b76da-a800-7000-8000-000000000000"
"""An id that names nothing."""


@pytest.fixture
async def till(open_database: OpenDatabase, tmp_path: Path) -> AsyncIterator[Till]:
    async with open_till(open_database, tmp_path) as opened:
        yield opened


async def test_a_payment_is_created_for_the_order_s_amount(till: Till) -> None:
    order_id = till.orders.place(total=1_999)
    made = await till.create(order_id, token="tok_visa")
    assert made.status == 201
    shown = made.json["data"]
    assert (shown["amount"], shown["status"], shown["order_id"]) == (19.99, "pending", order_id)
    assert b"tok_" not in made.body
    assert (await till.call("ann", "GET", f"/order/{order_id}")).json["data"] == shown
    assert (await till.call("ann", "GET", f"/{shown['id']}")).json["data"] == shown
    assert await till.events() == ["payment.created"]


@pytest.mark.parametrize("order_id", [NOBODY_S, "x", "", "' OR 1=1 --"])
async def test_an_order_that_is_not_there_cannot_be_paid(till: Till, order_id: str) -> None:
    assert (await till.create(OrderId(order_id))).code == "NOT_FOUND"


async def test_only_a_pending_reserved_order_of_one_s_own_can_be_paid(till: Till) -> None:
    assert (await till.create(till.orders.place(user=BOB))).code == "NOT_FOUND"
    assert (await till.create(till.orders.place(), who="twin")).code == "NOT_FOUND"
    assert (await till.create(till.orders.place(), who="rival")).code == "NOT_FOUND"
    done = await till.create(till.orders.place(status=OrderStatus.CONFIRMED))
    assert (done.status, done.code) == (409, "CONFLICT")
    waiting = await till.create(till.orders.place(stock=StockState.AWAITING))
    assert (waiting.status, waiting.code) == (409, "RESERVATION_PENDING")


async def test_a_deleted_order_is_not_there_to_be_paid(till: Till) -> None:
    order_id = till.orders.place(status=OrderStatus.CANCELLED)
    till.orders.known[ACME, order_id] = replace(till.orders.known[ACME, order_id], is_deleted=True)

    for who in ("ann", "admin"):
        answer = await till.create(order_id, who=who)
        assert (answer.status, answer.code) == (404, "NOT_FOUND")


async def test_staff_may_pay_for_a_customer_who_then_sees_it(till: Till) -> None:
    made = await till.create(till.orders.place(), who="admin")
    assert made.status == 201
    assert (await till.call("ann", "GET", f"/{made.json['data']['id']}")).status == 200


async def test_a_failed_payment_makes_room_for_a_new_one(till: Till) -> None:
    order_id = till.orders.place()
    first = (await till.create(order_id, token="tok_declined")).json["data"]["id"]
    assert (await till.create(order_id)).code == "CONFLICT"
    assert (await till.process(first)).json["data"]["status"] == "failed"
    second = (await till.create(order_id)).json["data"]["id"]
    assert (await till.process(second)).json["data"]["status"] == "success"
    assert (await till.create(order_id)).code == "CONFLICT"
    latest = await till.call("ann", "GET", f"/order/{order_id}")
    assert latest.json["data"]["id"] == second


@pytest.mark.parametrize("who", ["bob", "twin", "rival"])
async def test_somebody_else_s_payment_is_not_there(till: Till, who: str) -> None:
    payment_id = await till.open()
    order_id = (await till.show(payment_id))["order_id"]
    for method, path in [
        ("GET", f"/{payment_id}"),
        ("GET", f"/order/{order_id}"),
        ("POST", f"/{payment_id}/process"),
        ("POST", f"/{payment_id}/cancel"),
    ]:
        assert (await till.call(who, method, path)).code == "NOT_FOUND"
    assert (await till.call(who, "GET")).json["data"] == []
    refused = await till.refund(payment_id, who=who)
    assert refused.code == ("NOT_FOUND" if who == "rival" else "FORBIDDEN")


@pytest.mark.parametrize("payment_id", ["x", "%00", "..", NOBODY_S.upper(), NOBODY_S])
async def test_an_id_that_names_nothing_is_not_found(till: Till, payment_id: str) -> None:
    for method, path in [("GET", ""), ("POST", "/process"), ("POST", "/cancel")]:
        assert (await till.call("admin", method, f"/{payment_id}{path}")).code == "NOT_FOUND"
    assert (await till.refund(payment_id)).code == "NOT_FOUND"


@pytest.mark.parametrize(
    "amount", [0, -1, 0.001, 1e30, "1", True, [], "NaN"], ids=lambda amount: f"amount-{amount!r}"
)
async def test_an_amount_that_is_none_is_refused(till: Till, amount: object) -> None:
    payment_id = await till.paid()
    refused = await till.call("admin", "POST", f"/{payment_id}/refund", {"amount": amount})
    assert (refused.status, refused.code) == (400, "VALIDATION_ERROR")
    assert (await till.show(payment_id))["refunds"] == []


async def test_fields_that_a_client_may_not_set_are_refused_by_name(till: Till) -> None:
    refused = await till.create(till.orders.place(), amount=0.01, status="success", method="gold")
    assert refused.status == 400
    named = {detail["field"] for detail in refused.json["error"]["details"]}
    assert named == {"amount", "status", "method"}


async def test_cash_is_marked_paid_by_staff_only(till: Till) -> None:
    payment_id = await till.open(method="cash")
    assert (await till.process(payment_id, who="ann")).code == "FORBIDDEN"
    done = await till.process(payment_id, who="admin")
    again = await till.process(payment_id, who="admin")
    assert (done.status, done.json["data"]["status"], done.json["data"]["provider"]) == (200, "success", None)
    assert again.json == done.json
    back = await till.refund(payment_id, 5)
    assert (back.status, back.json["data"]["refunded_amount"]) == (200, 5.0)
    assert await till.charges() == []
    assert (await till.events())[1:] == ["payment.success", "payment.refunded"]


async def test_only_a_pending_payment_can_be_cancelled(till: Till) -> None:
    payment_id = await till.open()
    cancelled = await till.call("ann", "POST", f"/{payment_id}/cancel")
    assert (cancelled.status, cancelled.json["data"]["status"]) == (200, "cancelled")
    assert (await till.call("ann", "POST", f"/{payment_id}/cancel")).code == "INVALID_TRANSITION"
    assert (await till.process(payment_id)).code == "INVALID_TRANSITION"
    assert await till.charges() == []


async def test_lists_are_newest_first_and_a_customer_s_own(till: Till) -> None:
    mine = [await till.open() for _ in range(5)]
    await till.create(till.orders.place(user=BOB), who="bob")
    first = (await till.call("ann", "GET", "?limit=2")).json
    assert [each["id"] for each in first["data"]] == mine[:2:-1]
    assert first["meta"]["total_count"] == 5
    rest = await till.call("ann", "GET", f"/my-payments?after={first['meta']['next_cursor']}&limit=3")
    assert [each["id"] for each in rest.json["data"]] == mine[2::-1]
    assert rest.json["meta"]["has_more"] is False
    assert (await till.call("admin", "GET")).json["meta"]["total_count"] == 6
    assert (await till.call("admin", "GET", "/my-payments")).json["data"] == []


async def test_lists_are_filtered_by_status_and_order(till: Till) -> None:
    paid, other = await till.paid(), await till.open()
    order_id = (await till.show(other))["order_id"]
    found = await till.call("ann", "GET", "?status=success")
    assert [each["id"] for each in found.json["data"]] == [paid]
    found = await till.call("ann", "GET", f"?order_id={order_id}")
    assert [each["id"] for each in found.json["data"]] == [other]
    assert (await till.call("ann", "GET", "?order_id=x")).json["data"] == []
    assert (await till.call("ann", "GET", "?status=rich")).status == 400


async def test_a_repeated_key_opens_one_payment(till: Till) -> None:
    order_id = till.orders.place()
    first = await till.create(order_id, key="k")
    again = await till.create(order_id, key="k")
    assert (first.status, again.status, again.body) == (201, 201, first.body)
    assert again.headers["idempotent-replayed"] == "true"
    assert (await till.create(till.orders.place(), key="k")).code == "IDEMPOTENCY_KEY_REUSED"


async def test_a_repeated_key_tells_the_stored_outcome(till: Till) -> None:
    payment_id = await till.open()
    first = await till.process(payment_id, key="k")
    await till.refund(payment_id)
    again = await till.process(payment_id, key="k")
    assert (first.status, again.status, again.body) == (200, 200, first.body)
    assert again.headers["idempotent-replayed"] == "true"


async def test_a_repeated_key_refunds_once(till: Till) -> None:
    payment_id = await till.paid()
    answers = await asyncio.gather(*(till.refund(payment_id, 5, key="k") for _ in range(10)))
    assert {answer.status for answer in answers} <= {200, 202, 409}
    again = await till.refund(payment_id, 5, key="k")
    assert (again.status, again.json["data"]["refunded_amount"]) == (200, 5.0)
    assert again.headers["idempotent-replayed"] == "true"
    assert len((await till.show(payment_id))["refunds"]) == 1


async def test_no_token_is_kept_or_written_to_the_log(till: Till, tmp_path: Path) -> None:
    payment_id = await till.open(token="tok_canary")
    done = await till.process(payment_id)
    assert done.json["data"]["failure_reason"] == "unknown token"
    row = await till.db.fetch_one("SELECT token FROM payments WHERE id = ?", (payment_id,))
    assert row == (None,)
    outbox = await till.db.fetch_all("SELECT body FROM outbox")
    assert b"canary" not in b"".join([done.body, *till.log, *(body for (body,) in outbox)])
    assert b"canary" not in (tmp_path / "sandbox.db-wal").read_bytes()
