"""What must hold between the books: each rule is broken once, and bites."""

from collections.abc import Callable
from typing import TypeVar

import msgspec
import pytest

from mercato.contracts.order_books import OrderBook
from mercato.contracts.orders import OrderStatus, StockState
from mercato.contracts.payment_books import ChargeBook, ChargeOutcome, PaymentBook
from mercato.contracts.payments import PaymentMethod, PaymentStatus
from mercato.contracts.stock_books import HoldBook, StockBook
from mercato.kernel.ids import OrderId, PaymentId, ProductId
from mercato.kernel.tenancy import TenantId
from mercato.runtime.reconcile.books import Books, OrderKey, in_flight
from mercato.runtime.reconcile.rules import Finding, examine

ACME, OTHER = TenantId("acme"), TenantId("other")
LAMP = ProductId("lamp")
NEW, PAID, LOST, WAITING, BACK = (
    OrderId(name) for name in ("new", "paid", "cancelled", "waiting", "refunded")
)
PRICE = 1_000

T = TypeVar("T", bound=msgspec.Struct)


def order(
    order_id: OrderId,
    status: OrderStatus = OrderStatus.PENDING,
    payment_status: str = "unpaid",
    stock: StockState = StockState.RESERVED,
) -> OrderBook:
    return OrderBook(
        tenant_id=ACME,
        order_id=order_id,
        status=status,
        payment_status=payment_status,
        stock=stock,
        total_amount=2 * PRICE,
        lines=((LAMP, 2),),
    )


def hold(order_id: OrderId, state: str) -> HoldBook:
    return HoldBook(ACME, order_id, state, ((LAMP, 2),))


def payment(order_id: OrderId, status: PaymentStatus, **fields: object) -> PaymentBook:
    made = PaymentBook(
        tenant_id=ACME,
        payment_id=PaymentId(f"p-{order_id}"),
        order_id=order_id,
        status=status,
        method=PaymentMethod.CARD,
        amount=2 * PRICE,
        currency="USD",
        refunded_amount=0,
        pending_refunds=0,
        provider="sandbox",
        charge_key=f"p-{order_id}",
    )
    return changed(made, **fields)


def charge(order_id: OrderId, **fields: object) -> ChargeBook:
    made = ChargeBook(
        key=f"p-{order_id}", amount=2 * PRICE, currency="USD", outcome=ChargeOutcome.CHARGED, refunded=0
    )
    return changed(made, **fields)


def changed(book: T, **fields: object) -> T:
    return msgspec.structs.replace(book, **fields)


def balanced() -> Books:
    """Return the books of five orders, each at another point of its life, that add up."""
    return Books(
        orders=[
            order(NEW),
            order(PAID, OrderStatus.CONFIRMED, "paid"),
            order(LOST, OrderStatus.CANCELLED, "failed"),
            order(WAITING, stock=StockState.AWAITING),
            order(BACK, OrderStatus.CANCELLED, "refunded"),
        ],
        holds=[hold(NEW, "held"), hold(PAID, "taken"), hold(LOST, "released"), hold(BACK, "released")],
        stock=[StockBook(ACME, LAMP, on_hand=8, reserved=2, moved_on_hand=8, moved_reserved=2)],
        payments=[
            payment(PAID, PaymentStatus.SUCCESS),
            payment(LOST, PaymentStatus.FAILED),
            payment(BACK, PaymentStatus.REFUNDED, refunded_amount=2 * PRICE),
        ],
        charges=[
            charge(PAID),
            charge(LOST, outcome=ChargeOutcome.DECLINED),
            charge(BACK, refunded=2 * PRICE),
        ],
        in_flight=frozenset(),
    )


def with_order(order_id: OrderId, **fields: object) -> Books:
    books = balanced()
    orders = [changed(each, **fields) if each.order_id == order_id else each for each in books.orders]
    return changed(books, orders=orders)


def with_hold(order_id: OrderId, **fields: object) -> Books:
    books = balanced()
    return changed(
        books, holds=[changed(each, **fields) if each.order_id == order_id else each for each in books.holds]
    )


def with_stock(**fields: object) -> Books:
    books = balanced()
    return changed(books, stock=[changed(books.stock[0], **fields)])


def with_payment(order_id: OrderId, **fields: object) -> Books:
    books = balanced()
    payments = [changed(each, **fields) if each.order_id == order_id else each for each in books.payments]
    return changed(books, payments=payments)


def with_charge(order_id: OrderId, **fields: object) -> Books:
    books = balanced()
    return changed(
        books,
        charges=[changed(each, **fields) if each.key == f"p-{order_id}" else each for each in books.charges],
    )


def without(books: Books, which: str, order_id: OrderId) -> Books:
    kept = [each for each in getattr(books, which) if not _is_about(each, order_id)]
    return changed(books, **{which: kept})


def _is_about(book: object, order_id: OrderId) -> bool:
    return order_id in (getattr(book, "order_id", None), getattr(book, "key", "").removeprefix("p-"))


def added(which: str, *more: object) -> Books:
    books = balanced()
    return changed(books, **{which: [*getattr(books, which), *more]})


def differences(books: Books) -> list[Finding]:
    return [finding for finding in examine(books) if not finding.is_open]


def told(books: Books) -> str:
    return "\n".join(f"{finding.subject} {finding.problem}" for finding in differences(books))


def test_books_that_add_up_are_left_alone() -> None:
    assert examine(balanced()) == []


UNKNOWN = OrderId("unknown")

BROKEN: dict[str, tuple[Callable[[], Books], str]] = {
    "more reserved than there is": (
        lambda: with_stock(on_hand=1, moved_on_hand=1),
        "product lamp 2 reserved of 1 on hand",
    ),
    "negative stock": (lambda: with_stock(reserved=-1), "product lamp -1 reserved of 8 on hand"),
    "stock without a movement": (
        lambda: with_stock(on_hand=9),
        "product lamp stock is 9/2 reserved, its movements make 8/2",
    ),
    "a reservation without a movement": (
        lambda: with_stock(moved_reserved=1),
        "product lamp stock is 8/2 reserved, its movements make 8/1",
    ),
    "reserved and held by nobody": (
        lambda: with_stock(reserved=3, moved_reserved=3),
        "product lamp 3 reserved, and holds hold 2",
    ),
    "a hold of a product that is gone": (
        lambda: changed(balanced(), stock=[]),
        "product lamp holds hold 2 of a product that is not there",
    ),
    "confirmed without its stock": (
        lambda: with_order(NEW, status=OrderStatus.CONFIRMED),
        "order new is confirmed, and its stock is held",
    ),
    "confirmed with no stock at all": (
        lambda: without(balanced(), "holds", PAID),
        "order paid is confirmed, and its stock is not held",
    ),
    "shipped and released": (
        lambda: with_hold(PAID, state="released"),
        "order paid is confirmed, and its stock is released",
    ),
    "cancelled and still held": (
        lambda: with_hold(LOST, state="held"),
        "order cancelled is cancelled, and its stock is held",
    ),
    "cancelled and taken": (
        lambda: with_hold(LOST, state="taken"),
        "order cancelled is cancelled, and its stock is taken",
    ),
    "pending and taken": (
        lambda: with_hold(NEW, state="taken"),
        "order new is pending, and its stock is taken",
    ),
    "waiting for stock it has": (
        lambda: added("holds", hold(WAITING, "held")),
        "order waiting is pending, and its stock is held",
    ),
    "reserved with no hold": (
        lambda: with_order(WAITING, stock=StockState.RESERVED),
        "order waiting is pending, and its stock is not held",
    ),
    "another quantity held": (
        lambda: with_order(NEW, lines=((LAMP, 1),)),
        "order new the held quantities are not the ordered ones",
    ),
    "taken for nobody": (
        lambda: added("holds", hold(UNKNOWN, "taken")),
        "order unknown stock was taken for an order that is not there",
    ),
    "two payments for one order": (
        lambda: added("payments", payment(PAID, PaymentStatus.PENDING, payment_id="p2", charge_key="p2")),
        "order paid has 2 payments that are open or paid",
    ),
    "a payment over another amount": (
        lambda: with_payment(LOST, amount=1),
        "order cancelled is over 2000, and payment p-cancelled over 1",
    ),
    "more given back than taken": (
        lambda: with_payment(BACK, refunded_amount=2 * PRICE + 1),
        "order refunded payment p-refunded gives back more than it took",
    ),
    "paid and not known": (
        lambda: with_order(PAID, payment_status="unpaid"),
        "order paid is unpaid, and payment p-paid is success",
    ),
    "paid and pending": (
        lambda: with_order(PAID, status=OrderStatus.PENDING),
        "order paid is pending, and payment p-paid is success",
    ),
    "paid and cancelled": (
        lambda: with_order(PAID, status=OrderStatus.CANCELLED),
        "order paid is cancelled, and payment p-paid is success",
    ),
    "known as paid without a payment": (
        lambda: with_order(LOST, payment_status="paid"),
        "order cancelled is paid, and no payment is",
    ),
    "a payment for no order": (
        lambda: without(balanced(), "orders", PAID),
        "payment p-paid is for an order that is not there",
    ),
    "paid and never charged": (
        lambda: without(balanced(), "charges", PAID),
        "payment p-paid is success, and the provider charged nothing",
    ),
    "paid and declined": (
        lambda: with_charge(PAID, outcome=ChargeOutcome.DECLINED),
        "payment p-paid is success, and the provider charged nothing",
    ),
    "failed and charged": (
        lambda: with_charge(LOST, outcome=ChargeOutcome.CHARGED),
        "payment p-cancelled is failed, and the provider charged 2000",
    ),
    "charged another amount": (
        lambda: with_charge(PAID, amount=1),
        "payment p-paid is over 2000 USD, the charge over 1 USD",
    ),
    "charged in another currency": (
        lambda: with_charge(PAID, currency="EUR"),
        "payment p-paid is over 2000 USD, the charge over 2000 EUR",
    ),
    "a refund the provider never made": (
        lambda: with_charge(BACK, refunded=0),
        "payment p-refunded has 2000 refunded, the provider 0",
    ),
    "a refund nobody asked for": (
        lambda: with_charge(PAID, refunded=1),
        "payment p-paid has 0 refunded, the provider 1",
    ),
    "a charge nobody asked for": (
        lambda: added("charges", charge(UNKNOWN)),
        "charge p-unknown the provider charged what no payment asked for",
    ),
}


@pytest.mark.parametrize("case", BROKEN)
def test_every_rule_bites(case: str) -> None:
    break_it, expected = BROKEN[case]

    assert expected in told(break_it()).splitlines()


def test_a_double_charge_is_found_under_whatever_key() -> None:
    books = added("charges", charge(PAID, key="again"))

    assert told(books) == "charge again the provider charged what no payment asked for"


def test_stores_are_never_mixed_up() -> None:
    """Another store's product of the same id neither covers a hold nor asks for one."""
    books = changed(balanced(), stock=[changed(balanced().stock[0], tenant_id=OTHER)])

    assert {finding.tenant_id for finding in differences(books)} == {ACME, OTHER}


def test_what_has_an_event_under_way_is_open_and_no_difference() -> None:
    books = with_order(PAID, status=OrderStatus.PENDING, payment_status="unpaid")
    assert differences(books)

    books = changed(books, in_flight=frozenset({OrderKey(ACME, PAID)}))

    assert differences(books) == []
    assert {finding.subject for finding in examine(books)} == {"order paid"}


def test_an_event_of_another_store_excuses_nothing() -> None:
    books = with_order(PAID, status=OrderStatus.PENDING)
    books = changed(books, in_flight=frozenset({OrderKey(OTHER, PAID)}))

    assert differences(books)


def test_a_payment_the_provider_has_not_answered_is_open() -> None:
    books = with_payment(PAID, status=PaymentStatus.PROCESSING)
    books = changed(books, orders=with_order(PAID, payment_status="pending").orders)

    assert differences(books) == []
    open_ones = [finding for finding in examine(books) if finding.is_open]
    assert [finding.problem for finding in open_ones] == ["is processing, and the provider charged 2000"]


def test_a_refund_the_provider_has_not_answered_is_open() -> None:
    books = with_payment(BACK, status=PaymentStatus.SUCCESS, refunded_amount=0, pending_refunds=2 * PRICE)

    assert differences(books) == []
    assert any(finding.is_open for finding in examine(books))


def test_stock_held_for_a_placement_under_way_is_open() -> None:
    books = added("holds", hold(UNKNOWN, "held"))
    books = changed(books, stock=with_stock(reserved=4, moved_reserved=4).stock)

    assert [(each.subject, each.is_open) for each in examine(books)] == [("order unknown", True)]


@pytest.mark.parametrize(
    "unanswered", [payment(NEW, PaymentStatus.FAILED), payment(NEW, PaymentStatus.CANCELLED)]
)
def test_a_payment_that_never_reached_the_provider_needs_no_charge(unanswered: PaymentBook) -> None:
    assert examine(added("payments", unanswered)) == []


def test_cash_is_in_no_providers_book() -> None:
    books = with_payment(PAID, method=PaymentMethod.CASH, provider=None, charge_key=None)

    assert examine(without(books, "charges", PAID)) == []


def test_a_cancelled_order_that_cost_nothing_needs_no_refund() -> None:
    free = changed(order(LOST, OrderStatus.CANCELLED, "paid"), total_amount=0)
    books = changed(
        balanced(),
        orders=[free],
        holds=[],
        stock=[],
        payments=[payment(LOST, PaymentStatus.SUCCESS, amount=0)],
        charges=[charge(LOST, amount=0)],
    )
    assert examine(books) == []


def test_ordering_keys_name_the_orders_under_way() -> None:
    keys = ["acme/order/o1", "acme/stock/o2", "acme/payment/o3", "acme/product/o4", "acme/user/u", "", "x"]

    assert in_flight(keys) == {OrderKey(ACME, OrderId(name)) for name in ("o1", "o2", "o3")}
