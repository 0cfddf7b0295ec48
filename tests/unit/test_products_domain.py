from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mercato.contracts.products import OutOfStock, PriceChanged, PricedLine, WantedLine
from mercato.kernel.errors import MercatoError, ValidationFailed
from mercato.kernel.ids import OrderId, ProductId, uuid7
from mercato.kernel.tenancy import TenantId
from mercato.products import domain
from mercato.products.domain import Hold, HoldState, Inventory, NewProduct, Outcome, Product, Short

ACME = TenantId("acme")
NOW = datetime(2026, 1, 1, tzinfo=UTC)
AN_ID = "019b76da-a800-7000-8000-000000000000"
MUG, CUP = (
    ProductId("00000000-0000-7000-8000-00000000000b"),
    ProductId("00000000-0000-7000-8000-00000000000a"),
)


def product(product_id: ProductId, sku: str, price: int, currency: str = "USD") -> Product:
    draft = NewProduct(sku, sku.title(), Decimal(0))
    made, _, _ = domain.create_product(draft, product_id=product_id, tenant=ACME, currency=currency, at=NOW)
    return Product(**{name: getattr(made, name) for name in made.__struct_fields__} | {"price": price})


FOUND = {
    "MUG": product(MUG, "MUG", 1999),
    MUG: product(MUG, "MUG", 1999),
    "CUP": product(CUP, "CUP", 500),
}


def hold(*lines: tuple[ProductId, int], state: HoldState = HoldState.HELD) -> Hold:
    priced = tuple(PricedLine(product_id, "SKU", "Name", quantity, 100) for product_id, quantity in lines)
    return Hold(ACME, OrderId(uuid7()), state, "USD", priced, NOW, NOW + timedelta(minutes=1))


def fields(error: MercatoError) -> dict[str, str]:
    return {each.field: each.message for each in error.details}


@pytest.mark.parametrize("sku", ["", "a b", "a\n", "ü", "x" * 65, "a/b", AN_ID, AN_ID.upper(), "a\0"])
def test_a_sku_is_a_short_word_that_is_no_id(sku: str) -> None:
    draft = NewProduct(sku, "Mug", Decimal(1))
    with pytest.raises(ValidationFailed) as refused:
        domain.create_product(draft, product_id=MUG, tenant=ACME, currency="USD", at=NOW)
    assert list(fields(refused.value)) == ["sku"]


def test_every_bad_field_of_a_product_is_named() -> None:
    draft = NewProduct("a b", "Mug", Decimal("1.999"))
    with pytest.raises(ValidationFailed) as refused:
        domain.create_product(draft, product_id=MUG, tenant=ACME, currency="USD", at=NOW)
    assert set(fields(refused.value)) == {"sku", "price"}


def test_opening_stock_is_a_movement() -> None:
    draft = NewProduct("MUG", "Mug", Decimal("19.99"), stock=3)
    made, movements, _ = domain.create_product(draft, product_id=MUG, tenant=ACME, currency="USD", at=NOW)
    assert (made.price, made.in_stock) == (1999, True)
    assert [(move.on_hand, move.reserved) for move in movements] == [(3, 0)]


def test_the_same_product_twice_is_one_line() -> None:
    wanted = [WantedLine("MUG", 1), WantedLine("CUP", 2), WantedLine(MUG, 3)]
    currency, lines = domain.price_lines(wanted, FOUND, None)
    assert currency == "USD"
    assert [(line.sku, line.quantity, line.unit_price) for line in lines] == [
        ("MUG", 4, 1999),
        ("CUP", 2, 500),
    ]


def test_every_line_with_another_price_is_named_with_the_current_one() -> None:
    wanted = [
        WantedLine("MUG", 1, Decimal("19.99")),
        WantedLine("MUG", 1, Decimal("19.98")),
        WantedLine("CUP", 1, Decimal("0.1")),
    ]
    with pytest.raises(PriceChanged) as refused:
        domain.price_lines(wanted, FOUND, None)
    assert fields(refused.value) == {
        "items[1].unit_price": "the price is 19.99",
        "items[2].unit_price": "the price is 5.00",
    }


def test_unknown_products_and_impossible_quantities_are_named_before_prices() -> None:
    wanted = [WantedLine("GONE", 1), WantedLine("MUG", -1, Decimal(1)), WantedLine("CUP", 10**10)]
    with pytest.raises(ValidationFailed) as refused:
        domain.price_lines(wanted, FOUND, "EUR")
    assert set(fields(refused.value)) == {
        "items[0].product_id",
        "items[1].quantity",
        "items[2].quantity",
        "currency",
    }


def test_nothing_cannot_be_reserved() -> None:
    with pytest.raises(ValidationFailed):
        domain.price_lines([], {}, None)


def test_out_of_stock_names_every_line_of_the_product() -> None:
    wanted = [WantedLine("CUP", 1), WantedLine("MUG", 2), WantedLine(MUG, 2)]
    refusal = domain.out_of_stock([Short(MUG, "MUG", 3)], wanted)
    assert isinstance(refusal, OutOfStock)
    said = "only 3 available of MUG"
    assert fields(refusal) == {"items[1].quantity": said, "items[2].quantity": said}


def test_lines_move_in_product_order_whatever_the_order_wanted() -> None:
    outcome = domain.reserve(hold((MUG, 1), (CUP, 2)))
    assert [move.product_id for move in outcome.movements] == [CUP, MUG]


def test_stock_cannot_be_counted_below_what_is_reserved() -> None:
    inventory = Inventory(MUG, 5, 3, None, NOW, 1)
    with pytest.raises(domain.StockIsReserved, match="3 are reserved"):
        domain.count(inventory, 2, None, tenant=ACME, at=NOW)
    counted, _, _ = domain.count(inventory, 3, None, tenant=ACME, at=NOW)
    assert counted.available == 0


@given(
    steps=st.lists(st.sampled_from([domain.take, domain.release]), max_size=6),
    quantity=st.integers(min_value=1, max_value=100),
)
def test_whatever_order_a_hold_ends_in_its_movements_end_in_one_of_three_states(
    steps: list[Callable[[Hold | None], Outcome]], quantity: int
) -> None:
    outcome = domain.reserve(hold((MUG, quantity)))
    on_hand = reserved = 0
    on_hand, reserved = on_hand + outcome.movements[0].on_hand, reserved + outcome.movements[0].reserved
    for step in steps:
        outcome = step(outcome.hold)
        on_hand += sum(move.on_hand for move in outcome.movements)
        reserved += sum(move.reserved for move in outcome.movements)
    assert outcome.hold is not None
    expected = {
        HoldState.HELD: (0, quantity),
        HoldState.TAKEN: (-quantity, 0),
        HoldState.RELEASED: (0, 0),
    }
    assert (on_hand, reserved) == expected[outcome.hold.state]


def test_what_is_released_stays_released() -> None:
    released = domain.release(hold((MUG, 1))).hold
    assert domain.take(released).hold is released
    assert domain.release(released).movements == ()
    assert released is not None
    with pytest.raises(domain.ReservationOver):
        domain.reserve_again(released, check_after=NOW)
