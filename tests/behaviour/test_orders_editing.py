"""Changing and deleting orders: by whom, until when, and of which version."""

import asyncio
from collections import Counter

import pytest

from mercato.contracts.orders import OrderPaymentStatus, OrderStatus
from mercato.contracts.payments import PaymentStatus
from mercato.kernel.ids import OrderId, uuid7
from mercato.kernel.tenancy import DEFAULT_TENANT
from mercato.orders.domain import MAX_TIMELINE
from tests.asgi_client import Answer
from tests.behaviour.orders_desk import BOB, Desk, open_desk, payment
from tests.conftest import OpenDatabase


@pytest.fixture
async def desk(open_database: OpenDatabase) -> Desk:
    desk = open_desk(await open_database("orders"))
    desk.stock.put("LAMP")
    return desk


async def edit(
    desk: Desk, order_id: str, who: str = "ann", match: str | None = None, **fields: object
) -> Answer:
    return await desk.call("PUT", f"/{order_id}", fields, who=who, match=match)


async def move(desk: Desk, order_id: str, to: str, match: str | None = None) -> Answer:
    return await desk.call("PATCH", f"/{order_id}/status", {"status": to}, who="adam", match=match)


async def version(desk: Desk, order_id: str) -> int:
    return int((await desk.call("GET", f"/{order_id}", who="adam")).json["data"]["version"])


async def cancelled(desk: Desk) -> OrderId:
    order_id = await desk.placed()
    assert (await desk.call("POST", f"/{order_id}/cancel", {})).status == 200
    return order_id


@pytest.mark.parametrize("who", ["ann", "adam"])
async def test_address_and_notes_of_a_pending_order_can_be_changed(desk: Desk, who: str) -> None:
    order_id = await desk.placed()

    answer = await edit(desk, order_id, who, shipping_address="There")

    shown = answer.json["data"]
    assert (answer.status, answer.headers["etag"]) == (200, '"2"')
    assert (shown["shipping_address"], shown["notes"], shown["version"]) == ("There", None, 2)
    both = (await edit(desk, order_id, who, shipping_address="Elsewhere", notes="Ring twice.")).json["data"]
    assert (both["shipping_address"], both["notes"], both["status"]) == (
        "Elsewhere",
        "Ring twice.",
        "pending",
    )
    assert [kind for kind, _ in await desk.events()] == ["order.created"]


async def test_a_change_is_in_the_history_and_no_change_is_not(desk: Desk) -> None:
    order_id = await desk.placed()
    await edit(desk, order_id, notes="Ring twice.")
    assert (await edit(desk, order_id, notes="Ring twice.")).json["data"]["version"] == 2

    entries = (await desk.call("GET", f"/{order_id}/timeline")).json["data"]

    assert [(each["event"], each.get("note")) for each in entries] == [
        ("order.created", None),
        ("order.updated", "notes"),
    ]


async def test_corrections_in_a_row_push_nothing_out_of_the_history(desk: Desk) -> None:
    order_id = await desk.placed()
    for n in range(MAX_TIMELINE + 1):
        await edit(desk, order_id, notes=str(n))
    await edit(desk, order_id, shipping_address="There")

    order = await desk.order(order_id)

    assert [entry.event for entry in order.timeline] == ["order.created", "order.updated"]
    assert order.timeline[-1].note == "shipping_address, notes"
    assert order.version == MAX_TIMELINE + 3


@pytest.mark.parametrize(
    "body, fields",
    [
        ({}, {"shipping_address", "notes"}),
        ({"notes": None}, {"shipping_address", "notes"}),
        ({"shipping_address": "  "}, {"shipping_address"}),
        ({"notes": "x" * 2001, "shipping_address": "x" * 1001}, {"shipping_address", "notes"}),
        ({"notes": "x", "status": "confirmed"}, {"status"}),
        ({"notes": "x", "total_amount": 0, "items": []}, {"total_amount", "items"}),
    ],
)
async def test_what_cannot_be_changed_is_refused_by_name(desk: Desk, body: object, fields: set[str]) -> None:
    order_id = await desk.placed()

    answer = await desk.call("PUT", f"/{order_id}", body)

    assert (answer.status, answer.code) == (400, "VALIDATION_ERROR")
    assert {each["field"] for each in answer.json["error"]["details"]} == fields
    assert await version(desk, order_id) == 1


async def test_only_a_pending_order_can_be_changed(desk: Desk) -> None:
    order_id = await desk.placed()
    await move(desk, order_id, "confirmed")

    for who in ("ann", "adam"):
        answer = await edit(desk, order_id, who, notes="late")
        assert (answer.status, answer.code) == (409, "INVALID_TRANSITION")
        assert "confirmed" in answer.json["error"]["message"]


async def test_of_20_changes_of_one_version_at_once_one_is_made(desk: Desk) -> None:
    order_id = await desk.placed()

    answers = await asyncio.gather(*(edit(desk, order_id, match='"1"', notes=str(n)) for n in range(20)))

    assert Counter(answer.status for answer in answers) == {200: 1, 412: 19}
    assert {answer.code for answer in answers if answer.status == 412} == {"VERSION_MISMATCH"}
    kept = next(answer for answer in answers if answer.status == 200)
    assert (await desk.order(order_id)).notes == kept.json["data"]["notes"]


async def test_a_stale_version_stops_every_write_of_an_order(desk: Desk) -> None:
    order_id = await desk.placed()
    await edit(desk, order_id, notes="first")

    for answer in (
        await edit(desk, order_id, match='"1"', notes="second"),
        await move(desk, order_id, "confirmed", match='"1"'),
        await desk.call("PUT", f"/{order_id}/status", {"status": "confirmed"}, who="adam", match='"1"'),
        await desk.call("POST", f"/{order_id}/cancel", {}, match='"1"'),
        await desk.call("DELETE", f"/{order_id}", match='"1"'),
        await desk.call("DELETE", f"/{order_id}", match='W/"2"'),
    ):
        assert (answer.status, answer.code) == (412, "VERSION_MISMATCH")
    assert await version(desk, order_id) == 2
    assert (await move(desk, order_id, "confirmed", match='"2"')).status == 200
    assert (await desk.call("POST", f"/{order_id}/cancel", {}, who="adam", match="*")).status == 200
    assert (await desk.call("DELETE", f"/{order_id}", match='"7", "4"')).status == 204


@pytest.mark.parametrize("by", ["ann", "adam"])
async def test_an_order_at_its_end_can_be_deleted_and_is_gone(desk: Desk, by: str) -> None:
    order_id = await cancelled(desk)
    other = await desk.placed()

    deleted = await desk.call("DELETE", f"/{order_id}", who=by)

    assert (deleted.status, deleted.body) == (204, b"")
    for method, path, body in (
        ("GET", f"/{order_id}", None),
        ("GET", f"/{order_id}/timeline", None),
        ("PUT", f"/{order_id}", {"notes": "x"}),
        ("POST", f"/{order_id}/cancel", {}),
        ("DELETE", f"/{order_id}", None),
    ):
        assert (await desk.call(method, path, body)).status == 404, path
    for path in ("", "/my-orders", "?status=cancelled"):
        listed = (await desk.call("GET", path)).json
        ids = [each["id"] for each in listed["data"]]
        assert ids == ([] if "status" in path else [other])
        assert listed["meta"]["total_count"] == len(ids)
    assert {book.order_id for book in await desk.service.store.books()} == {order_id, other}


@pytest.mark.parametrize("end", [OrderStatus.CANCELLED, OrderStatus.DELIVERED])
async def test_who_asks_about_a_deleted_order_is_told_how_it_ended(desk: Desk, end: OrderStatus) -> None:
    """Products asks about a hold whose order's events are late: never placed would give it back."""
    order_id = await desk.placed()
    way = (
        ["cancelled"] if end is OrderStatus.CANCELLED else ["confirmed", "processing", "shipped", "delivered"]
    )
    for status in way:
        await move(desk, order_id, status)
    await desk.call("DELETE", f"/{order_id}", who="adam")

    facts = (await desk.service.desk.facts(DEFAULT_TENANT, [order_id]))[order_id]

    assert (facts.status, facts.is_deleted) == (end, True)


@pytest.mark.parametrize(
    "path", [[], ["confirmed"], ["confirmed", "processing"], ["confirmed", "processing", "shipped"]]
)
async def test_an_order_under_way_cannot_be_deleted(desk: Desk, path: list[str]) -> None:
    order_id = await desk.placed()
    for status in path:
        await move(desk, order_id, status)

    answer = await desk.call("DELETE", f"/{order_id}", who="adam")

    assert (answer.status, answer.code) == (409, "INVALID_TRANSITION")
    assert "cancelled or delivered" in answer.json["error"]["message"]
    assert (await desk.call("GET", f"/{order_id}")).status == 200


async def test_a_deleted_order_still_follows_its_payment(desk: Desk) -> None:
    order_id = await desk.placed()
    await desk.hear(payment(order_id, PaymentStatus.PENDING, desk.clock()))
    await desk.call("POST", f"/{order_id}/cancel", {})
    await desk.hear(payment(order_id, PaymentStatus.SUCCESS, desk.clock()))
    await desk.call("DELETE", f"/{order_id}")

    await desk.hear(payment(order_id, PaymentStatus.REFUNDED, desk.clock()))

    book = (await desk.service.store.books())[0]
    assert (book.status, book.payment_status) == (OrderStatus.CANCELLED, OrderPaymentStatus.REFUNDED)
    assert (await desk.call("GET", f"/{order_id}")).status == 404


async def test_others_can_neither_change_nor_delete(desk: Desk) -> None:
    order_id = await cancelled(desk)
    bobs = (await desk.place("LAMP", who="adam", user_id=BOB.user_id)).json["data"]["id"]

    for who, named in (
        ("bea", order_id),
        ("ann", bobs),
        ("ann", uuid7()),
        ("adam", "x"),
        ("ann", order_id.upper()),
    ):
        assert (await edit(desk, named, who, notes="x")).status == 404
        assert (await desk.call("DELETE", f"/{named}", who=who)).status == 404
    assert (await desk.call("GET", f"/{order_id}")).json["data"]["version"] == 2


async def test_of_20_deletions_at_once_one_is_made(desk: Desk) -> None:
    order_id = await cancelled(desk)

    answers = await asyncio.gather(*(desk.call("DELETE", f"/{order_id}") for _ in range(20)))

    assert Counter(answer.status for answer in answers) == {204: 1, 404: 19}


async def test_what_a_client_has_is_not_sent_again(desk: Desk) -> None:
    order_id = await desk.placed()
    etag = (await desk.call("GET", f"/{order_id}")).headers["etag"]
    headers = {"Authorization": "Bearer ann", "If-None-Match": etag}

    same = await desk.send("GET", f"/api/v1/orders/{order_id}", headers=headers)
    await edit(desk, order_id, notes="x")
    changed = await desk.send("GET", f"/api/v1/orders/{order_id}", headers=headers)

    assert ((same.status, same.body), changed.status) == ((304, b""), 200)
