"""How often the services are asked for a GraphQL query: once each for a level, however much there is."""

from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import pytest

from mercato.contracts.order_reading import Order, OrdersWanted
from mercato.contracts.orders import OrderPaymentStatus, OrderStatus
from mercato.contracts.payment_reading import Payment
from mercato.contracts.payments import PaymentMethod, PaymentStatus
from mercato.contracts.products import PricedLine
from mercato.contracts.reading import Listed
from mercato.contracts.user_reading import User
from mercato.gateway.commerce.asking import Asking, Services
from mercato.gateway.commerce.bound import bound
from mercato.gateway.graphql.engine import Engine, Operation
from mercato.kernel.ids import OrderId, PaymentId, ProductId, UserId
from mercato.kernel.paging import Window
from mercato.kernel.principal import Principal, Role
from mercato.kernel.tenancy import TenantId

SHOP = TenantId("shop")
NOW = datetime(2026, 1, 1, tzinfo=UTC)
ADMIN = Principal(UserId("admin"), "admin@example.com", Role.ADMIN, SHOP)
LINE = PricedLine(ProductId("p"), "MUG", "Mug", 2, 1999)


def order(number: int) -> Order:
    return Order(
        id=OrderId(f"o{number}"),
        tenant_id=SHOP,
        user_id=UserId(f"u{number % 3}"),
        name=None,
        status=OrderStatus.PENDING,
        payment_status=OrderPaymentStatus.UNPAID,
        lines=(LINE,),
        total_amount=3998,
        currency="USD",
        shipping_address=None,
        notes=None,
        cancel_reason=None,
        created_at=NOW,
        updated_at=NOW,
        version=1,
    )


def payment(order_id: str) -> Payment:
    return Payment(
        id=PaymentId(f"p{order_id}"),
        tenant_id=SHOP,
        order_id=OrderId(order_id),
        user_id=UserId("u1"),
        amount=3998,
        refunded_amount=0,
        currency="USD",
        method=PaymentMethod.CARD,
        status=PaymentStatus.SUCCESS,
        provider="sandbox",
        transaction_id=None,
        failure_reason=None,
        description=None,
        paid_at=None,
        refunds=(),
        created_at=NOW,
        updated_at=NOW,
        version=1,
    )


def user(user_id: str) -> User:
    return User(
        id=UserId(user_id),
        tenant_id=SHOP,
        email=f"{user_id}@example.com",
        first_name="Ada",
        last_name="Ada",
        role=Role.CUSTOMER,
        is_active=True,
        email_verified=True,
        created_at=NOW,
        updated_at=NOW,
        version=1,
    )


class Told:
    """Every reader at once: has whatever is asked for, and notes how much that was."""

    def __init__(self) -> None:
        self.calls = Counter[str]()
        self.asked: list[int] = []
        self.counted: list[bool] = []

    def _note(self, call: str, asked: int) -> None:
        self.calls[call] += 1
        self.asked.append(asked)

    async def page(self, _: Principal, __: OrdersWanted, window: Window) -> Listed[Order]:
        self._note("orders.page", window.limit)
        self.counted.append(window.counted)
        return Listed(tuple(order(n) for n in range(window.limit)), 1000, has_more=True, end="x")

    async def many(self, _: Principal, ids: Sequence[str]) -> dict[str, Any]:
        kind = "users" if ids[0].startswith("u") else "orders"
        self._note(f"{kind}.many", len(ids))
        return {each: user(each) if kind == "users" else order(int(each[1:])) for each in ids}

    async def latest_of_orders(self, _: Principal, ids: Sequence[str]) -> dict[str, Payment]:
        self._note("payments.latest", len(ids))
        return {each: payment(each) for each in ids}

    async def of_users(self, _: Principal, ids: Sequence[str], limit: int) -> dict[str, tuple[Order, ...]]:
        self._note("orders.of_users", len(ids))
        return {each: tuple(order(n) for n in range(limit)) for each in ids}


@pytest.fixture
def told() -> Told:
    return Told()


async def ask(told: Told, document: str, **variables: object) -> Any:
    reader: Any = told
    services = Services(*[reader] * 6)
    asking = Asking(request_id="1", tenant=SHOP, principal=ADMIN, services=services, client="-", headers={})
    result = await Engine(bound()).execute(Operation(document, variables), asking)
    assert not result.errors
    return result.data


@pytest.mark.parametrize("count", [1, 10, 100])
async def test_orders_with_user_and_payment_ask_each_service_once(told: Told, count: int) -> None:
    data = await ask(
        told, f"{{ orders(limit: {count}) {{ data {{ id user {{ email }} payment {{ amount }} }} }} }}"
    )
    shown = data["orders"]["data"]
    assert len(shown) == count
    assert shown[0] == {"id": "o0", "user": {"email": "u0@example.com"}, "payment": {"amount": 39.98}}
    assert told.calls == {"orders.page": 1, "users.many": 1, "payments.latest": 1}
    # The same user is asked for once.
    assert sorted(told.asked) == sorted([count, min(count, 3), count])


async def test_what_is_deeper_asks_once_a_level_and_not_once_an_object(told: Told) -> None:
    await ask(
        told,
        "{ orders(limit: 20) { data { user { orders(limit: 5) { payment { order { user { id } } } } } } } }",
    )
    assert told.calls == {
        "orders.page": 1,
        "users.many": 2,
        "orders.of_users": 1,
        "payments.latest": 1,
        "orders.many": 1,
    }


@pytest.mark.parametrize(
    "counts, selection",
    [
        (0, "{ data { id } }"),
        (0, "{ data { id } pageInfo { hasMore endCursor } }"),
        (1, "{ data { id } pageInfo { total } }"),
        (1, "{ pageInfo { sum: total } }"),
        (1, "{ ...F } fragment F on OrderList { pageInfo { ... @include(if: true) { total } } }"),
        (0, "{ data { id } pageInfo { limit total @skip(if: true) } }"),
    ],
)
async def test_a_list_is_counted_for_who_asks_how_many_there_are(
    told: Told, selection: str, counts: int
) -> None:
    head, _, fragments = selection.partition(" fragment")
    await ask(told, f"{{ orders(limit: 3) {head} }}" + (f" fragment{fragments}" if fragments else ""))
    assert [sum(told.counted), len(told.counted)] == [counts, 1]


async def test_whether_a_list_is_counted_is_for_each_request_to_say(told: Told) -> None:
    document = "query ($wanted: Boolean!) { orders { pageInfo { limit total @include(if: $wanted) } } }"
    assert await ask(told, document, wanted=False) == {"orders": {"pageInfo": {"limit": 20}}}
    assert await ask(told, document, wanted=True) == {"orders": {"pageInfo": {"limit": 20, "total": 1000}}}
    both = "{ orders { pageInfo { total } } o: orders { data { id } } }"
    await ask(told, both)
    assert sorted(told.counted) == [False, False, True, True]
