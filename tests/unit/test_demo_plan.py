"""What the demo draws from a seed."""

import pytest

from mercato.cli.demo.fates import FATES
from mercato.cli.demo.plan import PlannedStore, draw
from mercato.contracts.orders import OrderStatus
from mercato.kernel.money import EXPONENTS, to_decimal, to_minor

SEEDS = [1, 2, 77]


@pytest.fixture(params=SEEDS)
def stores(request: pytest.FixtureRequest) -> tuple[PlannedStore, ...]:
    return draw(request.param)


def test_a_seed_always_draws_the_same_and_another_one_something_else() -> None:
    assert draw(1) == draw(1)
    first, other = draw(1), draw(2)
    for one, two in zip(first, other, strict=True):
        assert (one.name, one.currency) == (two.name, two.currency)
        assert one.id != two.id
        assert one.products != two.products
        assert [each.total for each in one.orders] != [each.total for each in two.orders]


def test_the_catalogues_are_large_and_each_product_is_one_of_a_kind(stores: tuple[PlannedStore, ...]) -> None:
    products = [each for store in stores for each in store.products]
    assert len(products) >= 200
    assert len({each.category for each in products}) == 8
    assert next(each.name for each in products if each.sku == "prod-1") == "Brass desk lamp"
    for store in stores:
        assert len({each.sku for each in store.products}) == len(store.products)
        assert len({each.name for each in store.products}) == len(store.products)
        assert any(each.stock == 0 for each in store.products)
        assert any(0 < each.stock < 5 for each in store.products)


def test_amounts_have_no_more_digits_than_their_currency(stores: tuple[PlannedStore, ...]) -> None:
    assert {EXPONENTS[store.currency] for store in stores} == {0, 2}
    for store in stores:
        for each in store.products:
            shown = to_decimal(each.price, store.currency)
            assert to_minor(shown, store.currency, field="price") == each.price > 0
        for order in store.orders:
            assert order.refund is None or 0 < order.refund < order.total


def test_every_state_of_an_order_occurs(stores: tuple[PlannedStore, ...]) -> None:
    for store in stores:
        assert {order.fate for order in store.orders} == set(FATES)
        assert {order.fate.status for order in store.orders} == {status.value for status in OrderStatus}


def test_no_order_depends_on_stock_that_another_may_have_taken(stores: tuple[PlannedStore, ...]) -> None:
    for store in stores:
        wanted: dict[str, int] = {}
        for order in store.orders:
            for sku, quantity in order.lines:
                wanted[sku] = wanted.get(sku, 0) + quantity
        stock = {each.sku: each.stock for each in store.products}
        assert all(wanted[sku] <= stock[sku] for sku in wanted)


def test_people_are_told_apart_by_their_addresses(stores: tuple[PlannedStore, ...]) -> None:
    for store in stores:
        emails = [each.email for each in (*store.admins, *store.customers)]
        assert len(set(emails)) == len(emails)
        assert all(email.isascii() for email in emails)
        assert all(each.address for each in store.customers)
