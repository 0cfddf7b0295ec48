"""The platform against a simple model of it, over thousands of arbitrary steps."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from tests.asgi_client import Answer
from tests.modes import OWN_PROCESSES
from tests.system.model_town import PASSWORD, Model, Order, Payment, Person, Product, Town

pytestmark = OWN_PROCESSES

STEPS_PER_RUN, RUNS, STEPS = 120, 110, 10_000
"""Runs end early now and then, so they are some more than make up the steps."""
SKUS = ["CUP", "LAMP", "MUG", "PEN", "BED"]
MOST_PEOPLE = 40
"""Fewer than may fail to sign in from one address, as those do who have left."""
PLACES = st.integers(0, 10**6)
"""Picks one of what there is, counted round."""
PRICES = st.integers(0, 50_00)
CASH_TOKENS = {"card": ["tok_visa", "tok_declined", ""], "cash": [""], "bank_transfer": [""]}


def major(minor: int) -> float:
    return minor / 100


class Shop(RuleBasedStateMachine):
    """One store of its own on a platform that all runs share."""

    town: ClassVar[Town]
    steps: ClassVar[int] = 0

    @initialize()
    def open(self) -> None:
        self.model = model = Model()
        # Wrong passwords are counted by address; this store's are not to count for the next.
        self.town.client.address = f"address of {model.store}"
        admin = {"email": f"admin@{model.store}.example", "password": PASSWORD}
        admin |= {"first_name": "Ada", "last_name": "Min"}
        made = self.town.call("POST", "/tenants", {"id": model.store, "name": "Shop", "admin": admin})
        told = self.expect(made, 201)
        model.admin = Person(told["user"]["id"], admin["email"], told["token"], "Ada")
        self.registered = 0
        for _ in range(2):
            self.register()
        for sku in SKUS[:3]:
            self.add_product(sku, 10_00, 40)

    # --- what a step says

    def expect(self, answer: Answer, status: int, code: str = "") -> Any:
        assert answer.status == status, (answer.status, answer.body)
        if code:
            assert answer.code == code
        return answer.json["data"] if answer.body and status < 300 else None

    def call(self, who: Person, method: str, path: str, body: object = None) -> Answer:
        return self.town.call(method, path, body, token=who.token)

    def as_admin(self, method: str, path: str, body: object = None) -> Answer:
        return self.call(self.model.admin, method, path, body)

    def somebody(self, place: int) -> Person:
        active = [person for person in self.model.people if person.active]
        return active[place % len(active)]

    def some_product(self, place: int) -> Product:
        return self.model.products[place % len(self.model.products)]

    def some_order(self, place: int) -> Order:
        return self.model.orders[place % len(self.model.orders)]

    def some_payment(self, place: int) -> Payment:
        payments = [payment for order in self.model.orders for payment in order.payments]
        return payments[place % len(payments)]

    # --- users

    @precondition(lambda self: self.registered < MOST_PEOPLE)
    @rule()
    def register(self) -> None:
        self.registered += 1
        email = f"person{self.registered}@example.com"
        body = {"email": email, "password": PASSWORD, "first_name": "Pat", "last_name": "Buyer"}
        headers = {"X_Tenant_Id": self.model.store}
        told = self.expect(self.town.call("POST", "/users/register", body, **headers), 201)
        self.model.people.append(Person(told["user"]["id"], email, told["token"], "Pat"))
        self.expect(self.town.call("POST", "/users/register", body, **headers), 409, "DUPLICATE_EMAIL")

    @rule(place=PLACES, name=st.sampled_from(["Kim", "Lee"]))
    def rename(self, place: int, name: str) -> None:
        person = self.somebody(place)
        told = self.expect(self.call(person, "PUT", f"/users/{person.id}", {"first_name": name}), 200)
        person.first_name = name
        assert told["first_name"] == name

    @precondition(lambda self: sum(person.active for person in self.model.people) > 2)
    @rule(place=PLACES)
    def leave(self, place: int) -> None:
        person = self.somebody(place)
        assert self.call(person, "DELETE", f"/users/{person.id}").status == 204
        person.active = False
        self.expect(self.call(person, "GET", "/users/me"), 401)
        headers = {"X_Tenant_Id": self.model.store}
        login = {"email": person.email, "password": PASSWORD}
        self.expect(self.town.call("POST", "/users/login", login, **headers), 401)
        self.expect(self.as_admin("GET", f"/users/{person.id}"), 404)

    # --- products

    @rule(sku=st.sampled_from(SKUS), price=PRICES, stock=st.integers(0, 40))
    def add_product(self, sku: str, price: int, stock: int) -> None:
        body = {"sku": sku, "name": sku.title(), "price": major(price), "stock": stock}
        answer = self.as_admin("POST", "/products", body)
        if any(product.sku == sku and product.live for product in self.model.products):
            self.expect(answer, 409, "DUPLICATE_SKU")
            return
        told = self.expect(answer, 201)
        self.model.products.append(Product(told["id"], sku, sku.title(), price, None, stock))

    @precondition(lambda self: self.model.products)
    @rule(place=PLACES, price=PRICES, category=st.sampled_from([None, "home", "office"]))
    def change_product(self, place: int, price: int, category: str | None) -> None:
        product = self.some_product(place)
        body = {"price": major(price), "category": category}
        answer = self.as_admin("PATCH", f"/products/{product.id}", body)
        if not product.live:
            self.expect(answer, 404)
            return
        self.expect(answer, 200)
        product.price, product.category = price, category

    @precondition(lambda self: self.model.products)
    @rule(place=PLACES)
    def delete_product(self, place: int) -> None:
        product = self.some_product(place)
        answer = self.as_admin("DELETE", f"/products/{product.id}")
        self.expect(answer, 204 if product.live else 404)
        product.live = False

    @precondition(lambda self: self.model.products)
    @rule(place=PLACES, quantity=st.integers(0, 40))
    def count(self, place: int, quantity: int) -> None:
        product = self.some_product(place)
        answer = self.as_admin("PUT", f"/products/{product.id}/inventory", {"stock_quantity": quantity})
        if not product.live:
            self.expect(answer, 404)
        elif quantity < product.reserved:
            self.expect(answer, 409)
        else:
            self.expect(answer, 200)
            product.on_hand = quantity

    @precondition(lambda self: self.model.products)
    @rule(place=PLACES, delta=st.integers(-5, 9).filter(bool))
    def adjust(self, place: int, delta: int) -> None:
        product = self.some_product(place)
        body = {"delta": delta, "reason": "counted again"}
        answer = self.as_admin("POST", f"/products/{product.id}/inventory/adjust", body)
        if not product.live:
            self.expect(answer, 404)
        elif product.available + delta < 0:
            self.expect(answer, 409)
        else:
            self.expect(answer, 200)
            product.on_hand += delta

    # --- orders

    @precondition(lambda self: self.model.products)
    @rule(who=PLACES, picks=st.lists(st.tuples(PLACES, st.integers(1, 4)), min_size=1, max_size=3))
    def place_order(self, who: int, picks: list[tuple[int, int]]) -> None:
        person = self.somebody(who)
        lines: dict[str, int] = {}
        for place, quantity in picks:
            product = self.some_product(place)
            lines[product.id] = lines.get(product.id, 0) + quantity
        wanted = [
            {"product_id": self.some_product(place).id, "quantity": quantity} for place, quantity in picks
        ]
        answer = self.call(person, "POST", "/orders", {"items": wanted, "shipping_address": "1 Main St"})
        found = {product_id: self.model.product(product_id) for product_id in lines}
        if not all(product.live for product in found.values()):
            self.expect(answer, 400, "VALIDATION_ERROR")
        elif any(found[product_id].available < quantity for product_id, quantity in lines.items()):
            self.expect(answer, 409, "OUT_OF_STOCK")
        else:
            told = self.expect(answer, 201)
            total = sum(found[product_id].price * quantity for product_id, quantity in lines.items())
            for product_id, quantity in lines.items():
                found[product_id].reserved += quantity
            self.model.orders.append(Order(told["id"], person, lines, total, "1 Main St"))
            assert told["total_amount"] == major(total)

    @rule(
        who=PLACES,
        pick=PLACES,
        quantity=st.integers(1, 3),
        to=st.sampled_from(["", "", "processing", "shipped"]),
    )
    def buy(self, who: int, pick: int, quantity: int, to: str) -> None:
        """Place an order, pay it and move it on: arbitrary steps alone would seldom get so far."""
        kept = [index for index, product in enumerate(self.model.products) if product.available >= quantity]
        kept = [index for index in kept if self.model.products[index].live]
        if not kept:
            return
        self.place_order(who, [(kept[pick % len(kept)], quantity)])
        placed = len(self.model.orders) - 1
        self.open_payment(placed, "card", 0)
        self.process(sum(len(order.payments) for order in self.model.orders) - 1)
        for status in ("processing", "shipped")[: ("", "processing", "shipped").index(to)]:
            self.move(placed, status)

    @precondition(lambda self: self.model.orders)
    @rule(place=PLACES, address=st.sampled_from(["2 Side St", "3 Back St"]))
    def redirect(self, place: int, address: str) -> None:
        order = self.some_order(place)
        answer = self.as_admin("PUT", f"/orders/{order.id}", {"shipping_address": address})
        if order.deleted:
            self.expect(answer, 404)
        elif order.status != "pending":
            self.expect(answer, 409, "INVALID_TRANSITION")
        else:
            self.expect(answer, 200)
            order.address = address

    @precondition(lambda self: self.model.orders)
    @rule(place=PLACES, to=st.sampled_from(sorted(Model.TRANSITIONS)))
    def move(self, place: int, to: str) -> None:
        order = self.some_order(place)
        answer = self.as_admin("PATCH", f"/orders/{order.id}/status", {"status": to})
        if order.deleted:
            self.expect(answer, 404)
        elif to not in Model.TRANSITIONS[order.status]:
            self.expect(answer, 409, "INVALID_TRANSITION")
        else:
            self.expect(answer, 200)
            self.model.move(order, to)

    @precondition(lambda self: self.model.orders)
    @rule(place=PLACES, by_owner=st.booleans())
    def cancel(self, place: int, by_owner: bool) -> None:  # noqa: FBT001  hypothesis passes it by name
        order = self.some_order(place)
        who = order.owner if by_owner else self.model.admin
        answer = self.call(who, "POST", f"/orders/{order.id}/cancel", {"reason": "changed my mind"})
        allowed = {"pending"} if by_owner else {"pending", "confirmed", "processing"}
        if not who.active and who is not self.model.admin:
            self.expect(answer, 401)
        elif order.deleted:
            self.expect(answer, 404)
        elif order.status not in allowed:
            self.expect(answer, 409, "INVALID_TRANSITION")
        else:
            self.expect(answer, 200)
            self.model.move(order, "cancelled")

    @precondition(lambda self: self.model.orders)
    @rule(place=PLACES)
    def delete_order(self, place: int) -> None:
        order = self.some_order(place)
        answer = self.as_admin("DELETE", f"/orders/{order.id}")
        if order.deleted:
            self.expect(answer, 404)
        elif Model.TRANSITIONS[order.status]:
            self.expect(answer, 409, "INVALID_TRANSITION")
        else:
            self.expect(answer, 204)
            order.deleted = True

    @rule()
    def let_time_to_pay_run_out(self) -> None:
        self.town.pass_time(minutes=16)
        for order in self.model.orders:
            if order.status == "pending":
                self.model.move(order, "cancelled")
        self.sign_in_again()

    def sign_in_again(self) -> None:
        headers = {"X_Tenant_Id": self.model.store}
        for person in (self.model.admin, *self.model.people):
            if person.active:
                body = {"email": person.email, "password": PASSWORD}
                told = self.expect(self.town.call("POST", "/users/login", body, **headers), 200)
                person.token = told["token"]

    # --- payments

    @precondition(lambda self: self.model.orders)
    @rule(place=PLACES, method=st.sampled_from(sorted(CASH_TOKENS)), pick=PLACES)
    def open_payment(self, place: int, method: str, pick: int) -> None:
        order = self.some_order(place)
        token = CASH_TOKENS[method][pick % len(CASH_TOKENS[method])]
        body = {"order_id": order.id, "method": method} | ({"token": token} if token else {})
        answer = self.as_admin("POST", "/payments", body)
        if order.deleted:
            self.expect(answer, 404)
        elif order.status != "pending" or order.open_payment is not None:
            self.expect(answer, 409)
        else:
            told = self.expect(answer, 201)
            order.payments.append(Payment(told["id"], order, order.total, method, token))
            order.payment_status = "pending"
            assert told["amount"] == major(order.total)

    @precondition(lambda self: any(order.payments for order in self.model.orders))
    @rule(place=PLACES)
    def process(self, place: int) -> None:
        payment = self.some_payment(place)
        answer = self.as_admin("POST", f"/payments/{payment.id}/process")
        if payment.status in {"cancelled", "refunded"} or (
            payment.method != "card" and payment.status == "failed"
        ):
            self.expect(answer, 409, "INVALID_TRANSITION")
            return
        if payment.status == "pending":
            declined = payment.token == "tok_declined"
            payment.status = payment.order.payment_status = "failed" if declined else "success"
            if not declined:
                payment.order.payment_status = "paid"
                if payment.order.status == "pending":
                    self.model.move(payment.order, "confirmed")
        assert self.expect(answer, 200)["status"] == payment.status

    @precondition(lambda self: any(order.payments for order in self.model.orders))
    @rule(place=PLACES, amount=st.one_of(st.none(), st.integers(1, 60_00)))
    def refund(self, place: int, amount: int | None) -> None:
        payment = self.some_payment(place)
        body = {} if amount is None else {"amount": major(amount)}
        answer = self.as_admin("POST", f"/payments/{payment.id}/refund", body)
        left = payment.amount - payment.refunded if payment.captured else 0
        if not payment.captured:
            self.expect(answer, 409, "INVALID_TRANSITION")
        elif not 0 < (left if amount is None else amount) <= left:
            self.expect(answer, 409)
        else:
            self.expect(answer, 200)
            payment.refund(left if amount is None else amount)

    @precondition(lambda self: any(order.payments for order in self.model.orders))
    @rule(place=PLACES)
    def cancel_payment(self, place: int) -> None:
        payment = self.some_payment(place)
        answer = self.as_admin("POST", f"/payments/{payment.id}/cancel")
        if payment.status != "pending":
            self.expect(answer, 409, "INVALID_TRANSITION")
        else:
            self.expect(answer, 200)
            payment.status, payment.order.payment_status = "cancelled", "unpaid"

    # --- what must be so

    @invariant()
    def a_step_was_taken(self) -> None:
        Shop.steps += 1

    def all_of(self, path: str) -> list[dict[str, Any]]:
        """Read a list to its end by cursors."""
        found: list[dict[str, Any]] = []
        after = ""
        while True:
            answer = self.as_admin("GET", f"{path}?limit=7{after}")
            found += self.expect(answer, 200)
            cursor = answer.json["meta"].get("next_cursor")
            if cursor is None:
                return found
            after = f"&after={cursor}"

    def teardown(self) -> None:
        if not hasattr(self, "model"):
            return
        self.sign_in_again()
        self.check_products()
        self.check_orders()
        told = {payment["id"]: payment for payment in self.all_of("/payments")}
        known = [payment for order in self.model.orders for payment in order.payments]
        assert set(told) == {payment.id for payment in known}
        for payment in known:
            seen = told[payment.id]
            assert (seen["status"], seen["refunded_amount"]) == (payment.status, major(payment.refunded))
        people = {person["id"]: person["first_name"] for person in self.all_of("/users")}
        active = [self.model.admin, *(person for person in self.model.people if person.active)]
        assert people == {person.id: person.first_name for person in active}

    def check_products(self) -> None:
        told = {product["id"]: product for product in self.all_of("/products")}
        live = [product for product in self.model.products if product.live]
        assert set(told) == {product.id for product in live}
        for product in live:
            seen = told[product.id]
            found = (seen["sku"], seen["price"], seen["category"], seen["in_stock"])
            assert found == (product.sku, major(product.price), product.category, product.available > 0)
            stock = self.expect(self.as_admin("GET", f"/products/{product.id}/inventory"), 200)
            assert (stock["on_hand"], stock["reserved"]) == (product.on_hand, product.reserved)

    def check_orders(self) -> None:
        told = {order["id"]: order for order in self.all_of("/orders")}
        kept = [order for order in self.model.orders if not order.deleted]
        assert set(told) == {order.id for order in kept}
        for order in kept:
            seen = told[order.id]
            found = (seen["status"], seen["payment_status"], seen["shipping_address"], seen["total_amount"])
            assert found == (order.status, order.payment_status, order.address, major(order.total))


@pytest.fixture
def town(tmp_path: Path) -> Iterator[Town]:
    town = Town(tmp_path / "data")
    try:
        yield town
    finally:
        town.stop()


# The town's workers draw how long they pause, in a thread of their own, while Hypothesis draws here.
@pytest.mark.filterwarnings("ignore:Do not use the `random` module inside strategies")
def test_the_platform_does_what_a_simple_model_of_it_does(town: Town) -> None:
    Shop.town, Shop.steps = town, 0
    run_state_machine_as_test(
        Shop,
        settings=settings(
            max_examples=RUNS,
            stateful_step_count=STEPS_PER_RUN,
            deadline=None,
            derandomize=True,
            suppress_health_check=list(HealthCheck),
        ),
    )
    report = town.reconcile()
    assert report.balanced, report.differences
    assert Shop.steps >= STEPS
    assert min(report.orders, report.payments) > 2 * RUNS, report
