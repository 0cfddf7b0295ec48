"""GraphQL on the running platform: the purchase, and every field of the schema."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import pytest

from tests.graphql_client import CREATE_ORDER, ME, ORDERS, REGISTER, ask, told
from tests.running import Platform, Shopper, Store, add_product, open_store

PAY = """mutation($order: ID!) { createPayment(input: {orderId: $order, method: card})
  { id status amount order { id } } }"""
PROCESS = "mutation($id: ID!) { processPayment(id: $id) { id status paidAt } }"
PRODUCT = "mutation($input: CreateProductInput!) { createProduct(input: $input) { id sku price inStock } }"


@dataclass
class Counter:
    """A store, and its counter."""

    store: Store
    shop: Shopper
    product: str


@pytest.fixture
async def counter(platform: Platform, request: pytest.FixtureRequest) -> AsyncIterator[Counter]:
    name = f"gql-{abs(hash(request.node.name)) % 10**8}"
    store = await open_store(platform, name)
    async with platform.client(store.customer, name) as shop:
        yield Counter(store, shop, await add_product(shop, store, "LAPTOP", stock=5, price=999.99))


async def test_the_documents_of_the_manual_are_answered_as_written(
    platform: Platform, counter: Counter
) -> None:
    async with platform.client(store=counter.store.id) as visitor:
        session = (await told(visitor, REGISTER))["register"]
        assert session["user"]["fullName"] == "John Doe"
        token = session["token"]
        order = (await told(visitor, CREATE_ORDER % counter.product, token))["createOrder"]
        assert order["status"] == "pending"
        assert order["totalAmount"] == 999.99
        assert order["items"] == [{"productName": "Product LAPTOP", "quantity": 1, "unitPrice": 999.99}]
        orders = (await told(visitor, ORDERS, token))["orders"]
        assert orders["pageInfo"] == {"total": 1, "hasMore": False}
        assert [each["id"] for each in orders["data"]] == [order["id"]]
        assert orders["data"][0]["user"] == session["user"]
        assert orders["data"][0]["payment"] is None
        me = (await told(visitor, ME, token))["me"]
        assert me["orders"][0]["items"] == [{"productName": "Product LAPTOP", "quantity": 1}]


async def test_a_purchase_from_the_catalogue_to_the_refund(counter: Counter) -> None:
    shop, admin = counter.shop, counter.store.admin
    order = (await told(shop, CREATE_ORDER % "LAPTOP"))["createOrder"]["id"]
    payment = (await told(shop, PAY, order=order))["createPayment"]
    assert (payment["status"], payment["amount"], payment["order"]["id"]) == ("pending", 999.99, order)
    paid = (await told(shop, PROCESS, id=payment["id"]))["processPayment"]
    assert paid["status"] == "success"
    assert paid["paidAt"].endswith("Z")
    await shop.until(f"/api/v1/orders/{order}", "status", "confirmed")
    moved = "mutation($id: ID!, $to: OrderStatus!) { updateOrderStatus(id: $id, status: $to) { status } }"
    refused = await ask(shop, moved, id=order, to="processing")
    assert refused.codes == {"updateOrderStatus": "FORBIDDEN"}
    assert (await told(shop, moved, admin, id=order, to="processing"))["updateOrderStatus"] == {
        "status": "processing"
    }
    refund = """mutation($id: ID!) { refundPayment(id: $id, amount: 99.99, reason: "scratched")
      { status refundedAmount refunds { amount reason status } } }"""
    back = (await told(shop, refund, admin, id=payment["id"]))["refundPayment"]
    assert (back["status"], back["refundedAmount"]) == ("partially_refunded", 99.99)
    assert back["refunds"] == [{"amount": 99.99, "reason": "scratched", "status": "succeeded"}]
    whole = """query($id: ID!) { order(id: $id) { paymentStatus payment { id user { email } }
      timeline { event status by at } } }"""
    seen = (await told(shop, whole, id=order))["order"]
    assert seen["payment"]["id"] == payment["id"]
    assert seen["timeline"][0]["event"] == "order.created"
    assert seen["timeline"][-1]["status"] == "processing"


async def test_the_catalogue_is_kept_by_its_admin(counter: Counter) -> None:
    shop, admin = counter.shop, counter.store.admin
    wanted = {"sku": "CUP", "name": "Cup", "price": 4.5, "stock": 3, "category": None}
    cup = (await told(shop, PRODUCT, admin, input=wanted))["createProduct"]
    assert (cup["sku"], cup["price"], cup["inStock"]) == ("CUP", 4.5, True)
    change = """mutation($id: ID!, $version: Int) { updateProduct(id: $id, ifVersion: $version,
      input: {name: "Blue cup", description: "of tin"}) { name description version } }"""
    changed = (await told(shop, change, admin, id=cup["id"], version=1))["updateProduct"]
    assert changed == {"name": "Blue cup", "description": "of tin", "version": 2}
    stale = await ask(shop, change, admin, id=cup["id"], version=1)
    assert stale.codes == {"updateProduct": "VERSION_MISMATCH"}
    count = """mutation($id: ID!) { setInventory(productId: $id, input: {stockQuantity: 7,
      warehouseLocation: "A1"}) { onHand available warehouseLocation } }"""
    counted = (await told(shop, count, admin, id=cup["id"]))["setInventory"]
    assert counted == {"onHand": 7, "available": 7, "warehouseLocation": "A1"}
    gone = await told(shop, "mutation($id: ID!) { deleteProduct(id: $id) }", admin, id=cup["id"])
    assert gone == {"deleteProduct": True}
    assert (await ask(shop, "query($id: ID!) { product(id: $id) { id } }", id=cup["id"])).codes == {
        "product": "NOT_FOUND"
    }


async def test_fields_that_are_refused_are_all_named(counter: Counter) -> None:
    wrong = {"sku": "a b", "name": "", "price": 4.505}
    refused = await ask(counter.shop, PRODUCT, counter.store.admin, input=wrong)
    assert refused.codes == {"createProduct": "VALIDATION_ERROR"}
    named = {each["field"] for each in refused.errors["createProduct"]["extensions"]["details"]}
    assert {"sku", "name"} <= named
    paged = await ask(counter.shop, "{ orders(limit: 101, offset: -1) { data { id } } }")
    assert paged.codes == {"orders": "VALIDATION_ERROR"}


async def test_lists_go_on_where_they_ended(counter: Counter) -> None:
    for name in ("A", "B"):
        await add_product(counter.shop, counter.store, name, stock=1)
    page = """query($after: String) { products(limit: 2, sort: name, after: $after)
      { data { sku } pageInfo { total limit offset hasMore endCursor } } }"""
    first = (await told(counter.shop, page))["products"]
    assert [each["sku"] for each in first["data"]] == ["A", "B"]
    cursor = first["pageInfo"].pop("endCursor")
    assert first["pageInfo"] == {"total": 3, "limit": 2, "offset": 0, "hasMore": True}
    last = (await told(counter.shop, page, after=cursor))["products"]
    assert [each["sku"] for each in last["data"]] == ["LAPTOP"]
    assert last["pageInfo"] == {
        "total": None,
        "limit": 2,
        "offset": None,
        "hasMore": False,
        "endCursor": None,
    }
    assert (await ask(counter.shop, page, after="nonsense")).codes == {"products": "VALIDATION_ERROR"}


async def test_the_same_key_is_the_same_order(counter: Counter) -> None:
    place = """mutation($key: String) { createOrder(idempotencyKey: $key, input: {shippingAddress: "1 Main",
      items: [{productId: "LAPTOP", quantity: 1}]}) { id } }"""
    made = [(await told(counter.shop, place, key="once"))["createOrder"]["id"] for _ in range(3)]
    assert len(set(made)) == 1
    assert (await told(counter.shop, "{ myOrders { pageInfo { total } } }"))["myOrders"]["pageInfo"] == {
        "total": 1
    }


async def test_signing_in_and_out(platform: Platform, counter: Counter) -> None:
    async with platform.client(store=counter.store.id) as visitor:
        login = """mutation($email: String!, $password: String!) { login(input: {email: $email,
          password: $password}) { token refreshToken expiresIn } }"""
        email = f"customer@{counter.store.id}.example"
        refused = await ask(visitor, login, email=email, password="wrong-password")
        assert refused.codes == {"login": "UNAUTHORIZED"}
        session = (await told(visitor, login, email=email, password="customer-password"))["login"]
        assert session["expiresIn"] == 900
        renew = "mutation($it: String!) { refreshToken(refreshToken: $it) { token refreshToken } }"
        fresh = (await told(visitor, renew, it=session["refreshToken"]))["refreshToken"]
        leave = "mutation($it: String!) { logout(refreshToken: $it) }"
        assert await told(visitor, leave, it=fresh["refreshToken"]) == {"logout": True}
        assert (await ask(visitor, renew, it=fresh["refreshToken"])).codes == {"refreshToken": "UNAUTHORIZED"}


async def test_users_are_kept_by_the_store_s_admin(counter: Counter) -> None:
    shop, admin = counter.shop, counter.store.admin
    make = """mutation($email: String!) { createUser(input: {email: $email, password: "a-password",
      firstName: "Bo", lastName: "B"}) { id role isActive version } }"""
    made = (await told(shop, make, admin, email=f"bo@{counter.store.id}.example"))["createUser"]
    assert (made["role"], made["isActive"]) == ("customer", True)
    change = """mutation($id: ID!) { updateUser(id: $id, input: {isActive: false}) { isActive } }"""
    assert (await told(shop, change, admin, id=made["id"]))["updateUser"] == {"isActive": False}
    listed: Any = await told(shop, "{ users(active: false) { data { id } pageInfo { total } } }", admin)
    assert listed["users"] == {"data": [{"id": made["id"]}], "pageInfo": {"total": 1}}
    away = await told(shop, "mutation($id: ID!) { deleteUser(id: $id) }", admin, id=made["id"])
    assert away == {"deleteUser": True}
