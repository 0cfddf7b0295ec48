"""Placing orders: once per key, priced by the catalogue, also while products is away."""

import asyncio
from collections import Counter
from datetime import timedelta
from typing import Any

import msgspec
import pytest

from mercato.contracts.orders import OrderStatus, StockState
from mercato.contracts.payments import PaymentStatus
from mercato.contracts.products import ProductDeleted, ProductUpdated
from mercato.kernel.cause import ByCall
from mercato.kernel.errors import Conflict, NotFound
from mercato.kernel.ids import OrderId, uuid7
from mercato.kernel.tenancy import DEFAULT_TENANT, TenantId
from mercato.orders.domain import InvalidTransition
from mercato.web.idempotency import LEASE, body_hash, claim_for
from tests.behaviour.orders_desk import (
    ADAM,
    ANN,
    BOB,
    HOLD_S,
    Desk,
    open_desk,
    payment,
    product_created,
    rejected,
    reserved,
    statuses,
)
from tests.conftest import OpenDatabase
from tests.shop import HASH_SECRET, PEOPLE
from tests.waiting import until


@pytest.fixture
async def desk(open_database: OpenDatabase) -> Desk:
    desk = open_desk(await open_database("orders"))
    desk.stock.put("LAMP", price=1_999)
    desk.stock.put("MUG", price=500)
    return desk


@pytest.fixture
async def remembering(desk: Desk) -> Desk:
    """A desk that has heard of the products before products went away."""
    await desk.hear(*(product_created(shelf.item) for shelf in desk.stock.shelves.values()))
    desk.stock.away = True
    return desk


async def test_an_order_has_its_stock_and_the_catalogues_price_before_the_answer(desk: Desk) -> None:
    answer = await desk.place("LAMP", "MUG", notes="careful")

    assert answer.status == 201
    shown = answer.json["data"]
    assert b'"total_amount":24.99' in answer.body
    assert [(each["sku"], each["unit_price"]) for each in shown["items"]] == [("LAMP", 19.99), ("MUG", 5)]
    assert (DEFAULT_TENANT, shown["id"]) in desk.stock.held
    ((kind, created),) = await desk.events()
    assert (kind, created["order_id"], created["stock"]) == ("order.created", shown["id"], "reserved")


async def test_20_identical_keyed_calls_place_one_order(desk: Desk) -> None:
    answers = await asyncio.gather(*(desk.place("LAMP", key="k") for _ in range(20)))

    again = await desk.place("LAMP", key="k")
    assert {answer.body for answer in answers if answer.status == 201} == {again.body}
    assert {answer.code for answer in answers if answer.status != 201} <= {"IDEMPOTENCY_KEY_IN_USE"}
    assert (await desk.orders(), len(desk.stock.held), len(await desk.events())) == (1, 1, 1)


async def test_after_a_crash_behind_the_reservation_the_retry_places_the_same_order(desk: Desk) -> None:
    body = {"items": [{"product_id": "LAMP", "quantity": 1}], "shipping_address": "Here"}
    claim = claim_for(DEFAULT_TENANT, ANN.user_id, "POST /api/v1/orders", "k", uuid7())
    digest = body_hash(HASH_SECRET, "/api/v1/orders", msgspec.json.encode(body))
    await desk.service.parts.claims.open(claim, digest, now=desk.clock(), lease_until=desk.clock() + LEASE)
    desk.stock.answers_late = True
    asking = asyncio.create_task(desk.call("POST", body=body))
    await until(lambda: bool(desk.stock.held))
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    ((tenant, _), held) = desk.stock.held.popitem()
    desk.stock.held[tenant, OrderId(claim.object_id)] = held
    desk.stock.answers_late = False

    desk.clock.forward(seconds=LEASE.total_seconds())
    answer = await desk.call("POST", body=body, key="k")

    assert (answer.status, answer.json["data"]["id"]) == (201, claim.object_id)
    assert (await desk.orders(), len(desk.stock.held)) == (1, 1)
    order = await desk.order(OrderId(claim.object_id))
    # Whoever comes back late still has the whole time to pay.
    assert order.hold_until == desk.clock() + timedelta(seconds=HOLD_S)


async def test_one_id_is_one_order_however_often_it_is_placed(desk: Desk) -> None:
    order_id = await desk.placed()
    again = await desk.order(order_id)

    for _ in range(3):
        with pytest.raises(Conflict):
            await desk.service.store.add(again, (), by=ByCall("ann"))

    assert await desk.orders() == 1
    assert await desk.order(order_id) == again


async def test_too_little_stock_places_nothing_and_frees_the_key(desk: Desk) -> None:
    desk.stock.put("LAST-ONE", available=1)

    answers = await asyncio.gather(*(desk.place("LAST-ONE", key=f"k{n}") for n in range(20)))

    assert Counter(answer.status for answer in answers) == {201: 1, 409: 19}
    assert {answer.code for answer in answers if answer.status == 409} == {"OUT_OF_STOCK"}
    assert await desk.orders() == 1
    desk.stock.put("LAST-ONE", available=50)
    again = await asyncio.gather(*(desk.place("LAST-ONE", key=f"k{n}") for n in range(20)))
    assert {answer.status for answer in again} == {201}
    assert await desk.orders() == 20


@pytest.mark.parametrize(
    "fields",
    [
        {"items": []},
        {"items": [{"product_id": "LAMP", "quantity": 1}] * 91},
        {"items": [{"product_id": "LAMP", "quantity": 0}]},
        {"items": [{"product_id": "LAMP", "quantity": 1.5}]},
        {"items": [{"product_id": "LAMP", "quantity": 1, "unit_price": "19.99"}]},
        {"items": [{"product_id": "LAMP", "quantity": 1, "price": 1}]},
        {"items": [{"product_id": "", "quantity": 1}]},
        {"shipping_address": ""},
        {"shipping_address": None},
        {"user_id": "nobody"},
        {"currency": "EUR"},
        {"status": "confirmed"},
    ],
)
async def test_what_cannot_be_ordered_is_refused_and_leaves_nothing(
    desk: Desk, fields: dict[str, Any]
) -> None:
    answer = await desk.place("LAMP", **fields)

    assert (answer.status, answer.code) == (400, "VALIDATION_ERROR")
    assert answer.json["error"]["details"]
    assert (await desk.orders(), desk.stock.held) == (0, {})


async def test_only_staff_orders_for_somebody_else(desk: Desk) -> None:
    refused = await desk.place("LAMP", user_id=BOB.user_id)
    made = await desk.place("LAMP", user_id=BOB.user_id, who="adam")

    assert refused.json["error"]["details"][0]["field"] == "user_id"
    assert made.json["data"]["user_id"] == BOB.user_id
    assert (await desk.call("GET", f"/{made.json['data']['id']}")).status == 404


async def test_of_20_changes_at_once_each_is_kept_or_refused(desk: Desk) -> None:
    order_id = await desk.placed()
    service, at = desk.service.service, desk.clock()

    async def confirm() -> None:
        await service.move(ADAM, order_id, OrderStatus.CONFIRMED, by=ByCall("adam"), at=at)

    async def cancel() -> None:
        await service.cancel(ANN, order_id, None, by=ByCall("ann"), at=at)

    outcomes = await asyncio.gather(
        *(confirm() if n % 2 else cancel() for n in range(20)), return_exceptions=True
    )

    kept = [outcome for outcome in outcomes if outcome is None]
    assert len(kept) == 1
    assert all(isinstance(outcome, InvalidTransition) for outcome in outcomes if outcome is not None)
    order = await desk.order(order_id)
    assert (order.version, len(statuses(order))) == (2, 2)
    assert [kind for kind, _ in await desk.events()] == ["order.created", "order.status_changed"]


async def test_orders_of_others_and_of_other_stores_are_not_there(desk: Desk) -> None:
    order_id = await desk.placed()
    service, by, at = desk.service.service, ByCall("x"), desk.clock()
    other_store = msgspec.structs.replace(ADAM, tenant=TenantId("other"))

    for stranger in (BOB, PEOPLE["bea"], other_store):
        with pytest.raises(NotFound):
            await service.get(stranger, order_id)
        with pytest.raises(NotFound):
            await service.cancel(stranger, order_id, None, by=by, at=at)
    assert await service.facts(TenantId("other"), [order_id]) == {}
    for malformed in ("", "1", "../x", order_id.upper(), f"{order_id}\n", "' OR 1=1 --", "\x00"):
        with pytest.raises(NotFound):
            await service.get(ADAM, malformed)
    with pytest.raises(NotFound):
        await desk.service.store.change(
            TenantId("other"), order_id, lambda found: found.move(OrderStatus.CANCELLED, by="x", at=at), by=by
        )


@pytest.mark.parametrize("path", ["/{}/status", "/{}/status?x=1"])
async def test_a_customer_may_not_move_an_order_whosever_it_is(desk: Desk, path: str) -> None:
    for order_id in (await desk.placed(), uuid7(), "nonsense"):
        answer = await desk.call("PUT", path.format(order_id), {"status": "confirmed"})
        assert (answer.status, answer.code) == (403, "FORBIDDEN")


async def test_while_products_is_away_the_last_known_price_holds(remembering: Desk) -> None:
    desk = remembering
    answer = await desk.place("LAMP", "MUG")

    assert (answer.status, answer.json["data"]["total_amount"]) == (201, 24.99)
    order = await desk.order(OrderId(answer.json["data"]["id"]))
    assert (order.status, order.stock) == (OrderStatus.PENDING, StockState.AWAITING)
    _, created = (await desk.events())[-1]
    assert (created["stock"], len(created["lines"])) == ("awaiting", 2)


async def test_a_stock_that_answers_too_late_counts_as_away(open_database: OpenDatabase) -> None:
    desk = open_desk(await open_database("orders"), deadline_s=0.01)
    item = desk.stock.put("LAMP")
    await desk.hear(product_created(item))
    desk.stock.answers_late = True

    order = await desk.order(await desk.placed())

    assert order.stock is StockState.AWAITING
    assert set(desk.stock.held) == {(DEFAULT_TENANT, order.id)}


async def test_a_product_never_heard_of_cannot_be_ordered_while_products_is_away(remembering: Desk) -> None:
    answer = await remembering.place("LAMP", "UNHEARD-OF", key="k")

    assert (answer.status, answer.code) == (503, "SERVICE_UNAVAILABLE")
    assert int(answer.headers["retry-after"]) > 0
    assert await remembering.orders() == 0
    remembering.stock.put("UNHEARD-OF")
    remembering.stock.away = False
    assert (await remembering.place("LAMP", "UNHEARD-OF", key="k")).status == 201


async def test_the_remembered_price_is_compared_too(remembering: Desk) -> None:
    cheap: dict[str, Any] = {"items": [{"product_id": "LAMP", "quantity": 1, "unit_price": 0.01}]}
    right: dict[str, Any] = {"items": [{"product_id": "LAMP", "quantity": 1, "unit_price": 19.99}]}

    refused = await remembering.place(**cheap)

    assert (refused.status, refused.code) == (409, "PRICE_CHANGED")
    assert refused.json["error"]["details"] == [
        {"field": "items[0].unit_price", "message": "is now 19.99 USD"}
    ]
    assert (await remembering.place(**right)).status == 201


async def test_the_remembered_currency_is_the_stores(remembering: Desk) -> None:
    answer = await remembering.place("LAMP", currency="EUR")

    assert [each["field"] for each in answer.json["error"]["details"]] == ["currency"]


async def test_a_product_named_twice_is_one_line_while_products_is_away(remembering: Desk) -> None:
    product_id = remembering.stock.shelves[DEFAULT_TENANT, "LAMP"].item.product_id

    answer = await remembering.place("LAMP", product_id, "MUG")

    lines = [(each["sku"], each["quantity"]) for each in answer.json["data"]["items"]]
    assert lines == [("LAMP", 2), ("MUG", 1)]


async def test_memory_follows_the_catalogue(remembering: Desk) -> None:
    desk = remembering
    lamp, mug = (shelf.item for shelf in desk.stock.shelves.values())
    await desk.hear(
        ProductUpdated(
            tenant_id=DEFAULT_TENANT,
            product_id=lamp.product_id,
            sku="LAMP-2",
            name="New lamp",
            price=1,
            currency="USD",
        ),
        ProductDeleted(
            tenant_id=DEFAULT_TENANT,
            product_id=mug.product_id,
            sku=mug.sku,
            name=mug.name,
            price=mug.price,
            currency="USD",
        ),
    )

    assert (await desk.place("LAMP-2")).json["data"]["total_amount"] == 0.01
    assert (await desk.place("LAMP")).status == 503
    assert (await desk.place("MUG")).status == 503


async def test_what_another_store_sells_is_not_remembered_here(remembering: Desk) -> None:
    assert (await remembering.place("LAMP", who="bea")).status == 503


async def test_a_waiting_order_becomes_payable_when_its_stock_comes(remembering: Desk) -> None:
    desk = remembering
    order_id = await desk.placed()
    moved = await desk.call("PUT", f"/{order_id}/status", {"status": "confirmed"}, who="adam")
    assert (moved.status, moved.code) == (409, "RESERVATION_PENDING")

    until = desk.clock() + timedelta(seconds=HOLD_S)
    await desk.hear(reserved(order_id, until))

    facts = (await desk.service.desk.facts(DEFAULT_TENANT, [order_id]))[order_id]
    assert (facts.status, facts.stock) == (OrderStatus.PENDING, StockState.RESERVED)
    await desk.hear(payment(order_id, PaymentStatus.SUCCESS, desk.clock()))
    assert (await desk.order(order_id)).status is OrderStatus.CONFIRMED


async def test_a_waiting_order_without_stock_is_cancelled_with_the_reason(remembering: Desk) -> None:
    order_id = await remembering.placed()

    await remembering.hear(rejected(order_id, "only 0 of LAMP left"))

    shown = (await remembering.call("GET", f"/{order_id}")).json["data"]
    assert (shown["status"], shown["cancel_reason"]) == ("cancelled", "only 0 of LAMP left")
