"""Orders for clients of the AWS SaaS reference architecture."""

from typing import Any

import pytest

from mercato.contracts.payments import PaymentStatus
from mercato.kernel.ids import OrderId, uuid7
from tests.asgi_client import Answer
from tests.behaviour.orders_desk import ANN, Desk, open_desk, payment, product_created
from tests.conftest import OpenDatabase
from tests.shop import bearer

ORDER = {"orderId", "tenantId", "orderName", "orderProducts", "status"}


@pytest.fixture
async def desk(open_database: OpenDatabase) -> Desk:
    desk = open_desk(await open_database("orders"))
    desk.stock.put("LAMP")
    desk.stock.put("CHAIR", available=3)
    return desk


async def flat(
    desk: Desk, method: str, path: str = "/orders", body: object = None, *, who: str = "ann", **headers: str
) -> Answer:
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    return await desk.send(method, path, body, headers=bearer(who) | sent)


def wanted(*products: str, **fields: object) -> dict[str, object]:
    lines = [{"productId": product, "price": 10, "quantity": 1} for product in products]
    return {"orderName": "Desk", "orderProducts": lines} | fields


async def placed(desk: Desk, *products: str) -> Any:
    answer = await flat(desk, "POST", "/orders", wanted(*products or ("LAMP",)))
    assert answer.status == 201, answer.body
    return answer.json


def refused(answer: Answer, status: int, *words: str) -> None:
    assert (answer.status, set(answer.json)) == (status, {"error"})
    for word in words:
        assert word in answer.json["error"], answer.json


async def test_an_order_without_an_address_is_the_same_order_in_both_apis(desk: Desk) -> None:
    lamp = desk.stock.shelves[ANN.tenant, "LAMP"].item
    body = wanted(f"default:{lamp.product_id}", "CHAIR")
    answer = await flat(desk, "POST", "/orders", body)
    assert (answer.status, answer.headers["etag"]) == (201, '"1"')
    order = answer.json
    assert set(order) == ORDER
    assert (order["tenantId"], order["orderName"], order["status"]) == ("default", "Desk", "pending")
    assert order["orderProducts"][0] == {"productId": lamp.product_id, "price": 10.0, "quantity": 1}
    seen = (await desk.call("GET", f"/{order['orderId']}")).json["data"]
    assert (seen["name"], seen["shipping_address"], seen["total_amount"]) == ("Desk", None, 20.0)
    assert desk.stock.shelves[ANN.tenant, "CHAIR"].available == 2
    ((kind, event),) = await desk.events()
    assert (kind, event["name"], event["stock"]) == ("order.created", "Desk", "reserved")
    await desk.hear(payment(OrderId(order["orderId"]), PaymentStatus.SUCCESS, desk.clock()))
    for name in (order["orderId"], f"default:{order['orderId']}"):
        shown = await flat(desk, "GET", f"/orders/{name}")
        assert shown.json == order | {"status": "confirmed"}


async def test_a_price_is_only_compared_and_stock_is_never_oversold(desk: Desk) -> None:
    cheap = wanted("LAMP", orderProducts=[{"productId": "LAMP", "price": 1, "quantity": 1}])
    refused(await flat(desk, "POST", "/orders", cheap), 409, "orderProducts[0].price is now 10.00")
    priceless = wanted(orderProducts=[{"productId": "LAMP", "quantity": 2}])
    assert (await flat(desk, "POST", "/orders", priceless)).json["orderProducts"][0]["price"] == 10.0
    many = wanted(orderProducts=[{"productId": "CHAIR", "price": 10, "quantity": 4}])
    refused(await flat(desk, "POST", "/orders", many), 409, "not enough in stock")
    unknown = await flat(desk, "POST", "/orders", wanted("SOFA"))
    refused(unknown, 400, "orderProducts[0].productId is not in the catalogue")
    refused(await flat(desk, "POST", "/orders", wanted("other:LAMP")), 400, "orderProducts[0].productId")
    assert await desk.orders() == 1


@pytest.mark.parametrize(
    "body, words",
    [
        ({}, ("orderProducts is required",)),
        ({"orderProducts": []}, ("orderProducts must be a list of 1 to 90 items",)),
        ({"orderProducts": [{"productId": "LAMP", "quantity": 0}]}, ("orderProducts[0].quantity must be",)),
        ({"orderProducts": [{"product_id": "LAMP", "quantity": 1}]}, ("orderProducts[0].product_id is not",)),
        (wanted("LAMP", orderName=""), ("orderName must be",)),
        (wanted("LAMP", orderName="a\nb"), ("orderName must be",)),
        (wanted("LAMP", orderName="a\0"), ("orderName must",)),
        (wanted("LAMP", userId=uuid7()), ("userId is not a known field",)),
        (wanted("LAMP", tenantId="other", status="delivered"), ("tenantId is not", "status is not")),
        (wanted("LAMP", orderProducts="LAMP"), ("orderProducts must be a list",)),
    ],
)
async def test_what_is_wrong_with_an_order_is_told_by_name(
    desk: Desk, body: dict[str, object], words: tuple[str, ...]
) -> None:
    refused(await flat(desk, "POST", "/orders", body), 400, *words)
    assert await desk.orders() == 0


async def test_a_repeated_key_is_one_order(desk: Desk) -> None:
    key = {"idempotency_key": "desk"}
    first = await flat(desk, "POST", "/orders", wanted("CHAIR"), **key)
    again = await flat(desk, "POST", "/orders", wanted("CHAIR"), **key)
    assert (again.status, again.json, again.headers["idempotent-replayed"]) == (201, first.json, "true")
    refused(await flat(desk, "POST", "/orders", wanted("LAMP"), **key), 422)
    assert (await desk.orders(), desk.stock.shelves[ANN.tenant, "CHAIR"].available) == (1, 2)
    refused(await flat(desk, "POST", "/orders", wanted("SOFA"), idempotency_key="free"), 400)
    assert (await flat(desk, "POST", "/orders", wanted("LAMP"), idempotency_key="free")).status == 201


async def test_while_products_is_away_an_order_waits_at_the_last_known_price(desk: Desk) -> None:
    await desk.hear(product_created(desk.stock.shelves[ANN.tenant, "LAMP"].item))
    desk.stock.away = True
    assert (await placed(desk))["status"] == "pending"
    stale = wanted(orderProducts=[{"productId": "LAMP", "price": 9, "quantity": 1}])
    refused(await flat(desk, "POST", "/orders", stale), 409, "orderProducts[0].price is now 10.00 USD")
    away = await flat(desk, "POST", "/orders", wanted("CHAIR"))
    refused(away, 503, "away")
    assert away.headers["retry-after"] == "5"


async def test_a_customer_sees_their_own_orders_and_staff_all(desk: Desk) -> None:
    mine = await placed(desk)
    theirs = (await flat(desk, "POST", "/orders", wanted("LAMP"), who="adam")).json
    assert (await flat(desk, "GET", "/orders")).json == [mine]
    assert (await flat(desk, "GET", "/orders", who="adam")).json == [theirs, mine]
    assert (await flat(desk, "GET", "/orders", who="bea")).json == []
    for name in (theirs["orderId"], f"default:{theirs['orderId']}", uuid7(), "x", "%00"):
        refused(await flat(desk, "GET", f"/orders/{name}"), 404, "There is no such order.")
    for name in (mine["orderId"], f"default:{mine['orderId']}", f"other:{mine['orderId']}"):
        refused(await flat(desk, "GET", f"/orders/{name}", who="bea"), 404)
        refused(await flat(desk, "PUT", f"/orders/{name}", {"orderName": "Mine"}, who="bea"), 404)
        refused(await flat(desk, "DELETE", f"/orders/{name}", who="bea"), 404)
    refused(await flat(desk, "GET", f"/orders/other:{mine['orderId']}"), 404)


async def test_lists_go_on_by_their_links(desk: Desk) -> None:
    made = [(await placed(desk))["orderId"] for _ in range(5)]
    first = await flat(desk, "GET", "/orders?limit=3")
    query = first.headers["link"].removeprefix("<").partition(">")[0]
    rest = await flat(desk, "GET", f"/orders{query}")
    assert [each["orderId"] for each in [*first.json, *rest.json]] == made[::-1]
    assert "link" not in rest.headers
    for wrong in ("after=x", "limit=1001", "offset=1", "status=pending", "user_id=x"):
        refused(await flat(desk, "GET", f"/orders?{wrong}"), 400)


async def test_a_pending_order_gets_another_name_and_nothing_else(desk: Desk) -> None:
    order = await placed(desk, "LAMP", "CHAIR")
    path = f"/orders/default:{order['orderId']}"
    sent_back = order | {"orderName": "Chair"}
    renamed = await flat(desk, "PUT", path, sent_back, if_match='"1"')
    assert (renamed.status, renamed.json, renamed.headers["etag"]) == (200, sent_back, '"2"')
    assert (await desk.call("GET", f"/{order['orderId']}")).json["data"]["name"] == "Chair"
    refused(await flat(desk, "PUT", path, order, if_match='"1"'), 412)
    same = await flat(desk, "PUT", path, sent_back)
    assert (same.status, same.headers["etag"]) == (200, '"2"')
    lines = order["orderProducts"]
    for forged in (
        {"orderId": uuid7()},
        {"tenantId": "other"},
        {"orderProducts": lines[:1]},
        {"orderProducts": [lines[0] | {"price": 0.01}, lines[1]]},
        {"orderProducts": [lines[0] | {"quantity": 2}, lines[1]]},
        {"orderProducts": [*lines, lines[0]]},
    ):
        refused(await flat(desk, "PUT", path, sent_back | forged), 400, f"{next(iter(forged))} cannot be")
    moved = await flat(desk, "PUT", path, sent_back | {"status": "delivered"}, who="adam")
    refused(moved, 400, "status is pending: change it by PUT /orders/")
    refused(await flat(desk, "PUT", path, {}), 400, "orderName is required")
    refused(await flat(desk, "PUT", path, {"orderName": ""}), 400, "orderName must be")
    kept = (await flat(desk, "GET", path)).json
    assert kept == sent_back


async def test_an_order_without_a_name_is_sent_back_without_one(desk: Desk) -> None:
    order_id = await desk.placed()
    order = (await flat(desk, "GET", f"/orders/{order_id}")).json
    assert order["orderName"] == ""
    back = await flat(desk, "PUT", f"/orders/{order_id}", order)
    assert (back.status, back.headers["etag"]) == (200, '"1"')
    named = await flat(desk, "PUT", f"/orders/{order_id}", order | {"orderName": "Now named"})
    assert named.json["orderName"] == "Now named"


async def test_staff_moves_an_order_on_and_it_can_be_deleted_at_its_end(desk: Desk) -> None:
    order = await placed(desk)
    path = f"/orders/default:{order['orderId']}"
    refused(await flat(desk, "PUT", f"{path}/status", {"status": "cancelled"}), 403)
    refused(
        await flat(desk, "PUT", f"{path}/status", {"status": "shipped"}, who="adam"),
        409,
        "allowed: cancelled",
    )
    refused(await flat(desk, "PUT", f"{path}/status", {"status": "lost"}, who="adam"), 400, "status must be")
    refused(await flat(desk, "DELETE", path), 409, "cannot be deleted")
    cancelled = await flat(desk, "PUT", f"{path}/status", {"status": "cancelled"}, who="adam")
    assert cancelled.json == order | {"status": "cancelled"}
    assert [kind for kind, _ in await desk.events()] == ["order.created", "order.status_changed"]
    refused(await flat(desk, "PUT", path, {"orderName": "Late"}), 409)
    assert (await flat(desk, "DELETE", path)).status == 204
    assert (await flat(desk, "GET", "/orders")).json == []


async def test_a_users_orders_are_theirs_and_the_staffs_to_see(desk: Desk) -> None:
    # The id of a user is a UUID in all stores; the customers of this desk have none.
    refused(await flat(desk, "GET", f"/users/{ANN.user_id}/orders"), 404)
    refused(await flat(desk, "GET", f"/users/{uuid7()}/orders"), 404)
    assert (await flat(desk, "GET", f"/users/default:{uuid7()}/orders", who="adam")).json == []
    refused(await flat(desk, "GET", f"/users/other:{uuid7()}/orders", who="adam"), 404)
