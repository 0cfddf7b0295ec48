"""GraphQL shows and changes nothing that REST would not, whichever way it is asked for."""

from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest

from tests.graphql_client import ask, told
from tests.running import Platform, Shopper, Store, add_product, open_store, order_of

ORDER = "query($order: ID!) { order(id: $order) { id user { email } payment { id } } }"
PAYMENT = "query($payment: ID!) { payment(id: $payment) { id order { id } user { email } } }"
BY_ORDER = "query($order: ID!) { paymentByOrder(orderId: $order) { id order { id shippingAddress } } }"
USER = "query($user: ID!) { user(id: $user) { email orders { id } } }"
ALIASED = """query($order: ID!, $payment: ID!) { mine: order(id: $order) { ...seen }
  other: payment(id: $payment) { order { ...seen } } } fragment seen on Order { id shippingAddress }"""
LISTS = """{ orders { data { id user { id } payment { id } } } myOrders { data { id } }
  payments { data { id order { id } } } myPayments { data { id } } }"""
OF_ANOTHER = "query($user: ID!) { orders(userId: $user) { data { id } } }"
OF_ORDER = "query($order: ID!) { payments(orderId: $order) { data { id } } }"
CHANGES = {
    "cancelOrder": "mutation($order: ID!) { cancelOrder(id: $order) { id } }",
    "processPayment": "mutation($payment: ID!) { processPayment(id: $payment) { id } }",
    "createPayment": "mutation($order: ID!) { createPayment(input: {orderId: $order, method: card}) { id } }",
    "updateUser": 'mutation($user: ID!) { updateUser(id: $user, input: {firstName: "X"}) { id } }',
    "deleteUser": "mutation($user: ID!) { deleteUser(id: $user) }",
}
OF_STAFF = {
    "users": "{ users { data { email } } }",
    "updateOrderStatus": "mutation($order: ID!) { updateOrderStatus(id: $order, status: shipped) { id } }",
    "refundPayment": "mutation($payment: ID!) { refundPayment(id: $payment) { id } }",
    "deleteProduct": "mutation($product: ID!) { deleteProduct(id: $product) }",
    "setInventory": "mutation($product: ID!) { setInventory(productId: $product, input: {stockQuantity: 9})"
    " { onHand } }",
    "createProduct": 'mutation { createProduct(input: {sku: "X", name: "X", price: 1}) { id } }',
    "createUser": 'mutation { createUser(input: {email: "x@example.com", firstName: "X", lastName: "X"})'
    " { id } }",
}


@dataclass
class Scene:
    """What is Carl's in a store, and others who would like to have it."""

    store: Store
    shop: Shopper
    strangers: dict[str, str]
    ids: dict[str, str]

    def asks(self, document: str) -> dict[str, str]:
        """Return the ids that a document takes."""
        return {name: each for name, each in self.ids.items() if f"${name}:" in document}


@pytest.fixture
async def scene(platform: Platform, request: pytest.FixtureRequest) -> AsyncIterator[Scene]:
    name = f"gqlr-{abs(hash(request.node.name)) % 10**8}"
    store, rival = await open_store(platform, name), await open_store(platform, f"{name}-r")
    person = {"email": f"eve@{name}.example", "password": "eve-password", "first_name": "E", "last_name": "E"}
    async with platform.client(store=name) as shop:
        eve = (await shop.post("/api/v1/users/register", person)).data["token"]
        product = await add_product(shop, store, "MUG", stock=5)
        order = (await shop.post("/api/v1/orders", order_of(product), token=store.customer)).data
        paying = {"order_id": order["id"], "method": "card"}
        payment = (await shop.post("/api/v1/payments", paying, token=store.customer)).data["id"]
        ids = {"order": order["id"], "payment": payment, "user": order["user_id"], "product": product}
        strangers = {"another customer": eve, "another store's admin": rival.admin, "nobody": ""}
        yield Scene(store, shop, strangers, ids)


async def test_another_s_objects_are_nowhere_to_be_found(scene: Scene) -> None:
    for who, token in scene.strangers.items():
        for document in (ORDER, PAYMENT, BY_ORDER, USER, ALIASED):
            answer = await ask(scene.shop, document, token, **scene.asks(document))
            assert set(answer.data.values()) == {None}, (who, answer.told)
            wanted = "UNAUTHORIZED" if who == "nobody" else "NOT_FOUND"
            assert set(answer.codes.values()) == {wanted}, (who, answer.told)


async def test_lists_hold_nothing_of_others(scene: Scene) -> None:
    for who, token in scene.strangers.items():
        for document in (LISTS, OF_ANOTHER, OF_ORDER):
            answer = await ask(scene.shop, document, token, **scene.asks(document))
            if who == "nobody":
                assert set(answer.codes.values()) == {"UNAUTHORIZED"}
            else:
                assert all(each["data"] == [] for each in answer.data.values()), (who, answer.told)


async def test_nobody_else_changes_what_is_somebody_s(scene: Scene) -> None:
    for who, token in scene.strangers.items():
        for field, document in CHANGES.items():
            answer = await ask(scene.shop, document, token, **scene.asks(document))
            wanted = "UNAUTHORIZED" if who == "nobody" else "NOT_FOUND"
            assert answer.codes == {field: wanted}, (who, answer.told)
    own = (await told(scene.shop, ORDER, scene.store.customer, order=scene.ids["order"]))["order"]
    assert own["payment"] == {"id": scene.ids["payment"]}


async def test_what_is_for_staff_is_for_staff(scene: Scene) -> None:
    for field, document in OF_STAFF.items():
        for token, wanted in ((scene.store.customer, "FORBIDDEN"), ("", "UNAUTHORIZED")):
            answer = await ask(scene.shop, document, token, **scene.asks(document))
            assert answer.codes == {field: wanted}, answer.told


async def test_staff_see_all_of_their_store(scene: Scene) -> None:
    admin = scene.store.admin
    order = (await told(scene.shop, ORDER, admin, order=scene.ids["order"]))["order"]
    assert order["user"]["email"].startswith("customer@")
    assert order["payment"]["id"] == scene.ids["payment"]
    lists = await told(scene.shop, LISTS, admin)
    assert lists["orders"]["data"][0]["user"]["id"] == scene.ids["user"]
    assert lists["payments"]["data"][0]["order"]["id"] == scene.ids["order"]
    assert lists["myOrders"]["data"] == lists["myPayments"]["data"] == []


async def test_a_customer_sees_only_how_much_of_a_product_there_is(scene: Scene) -> None:
    stock = "query($product: ID!) { product(id: $product) { sku inventory { available } } }"
    asked = scene.asks(stock)
    seen = await told(scene.shop, stock, scene.store.customer, **asked)
    assert seen["product"] == {"sku": "MUG", "inventory": {"available": 4}}
    visitor = await ask(scene.shop, stock, "", **asked)
    assert visitor.data["product"] == {"sku": "MUG", "inventory": None}
    assert visitor.codes == {"product.inventory": "UNAUTHORIZED"}


async def test_a_wrong_token_is_refused_before_anything_is_asked(scene: Scene) -> None:
    answer = await scene.shop.post("/graphql", {"query": "{ products { data { id } } }"}, token="nonsense")
    assert answer.status == 401
    assert answer.json["errors"][0]["extensions"]["code"] == "UNAUTHORIZED"
