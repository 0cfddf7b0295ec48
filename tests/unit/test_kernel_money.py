"""Money is exact, or refused."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mercato.kernel.errors import ValidationFailed
from mercato.kernel.money import EXPONENTS, MAX_MAJOR_UNITS, currency, to_decimal, to_minor

currencies = st.sampled_from(sorted(EXPONENTS))


@given(currencies, st.integers(0, MAX_MAJOR_UNITS - 1), st.data())
def test_every_amount_survives_the_way_out_and_in(code: str, major: int, data: st.DataObject) -> None:
    scale = 10 ** EXPONENTS[code]
    minor = major * scale + data.draw(st.integers(0, scale - 1))
    outside = to_decimal(minor, code)
    assert -outside.as_tuple().exponent == EXPONENTS[code]  # type: ignore[operator]  # finite: an int
    assert to_minor(outside, code, field="price") == minor
    # A reader whose numbers are doubles sees the same digits.
    assert f"{float(outside):.{EXPONENTS[code]}f}" == str(outside)


@given(currencies, st.decimals(allow_nan=True, allow_infinity=True))
def test_any_decimal_is_taken_exactly_or_refused_by_name(code: str, amount: Decimal) -> None:
    try:
        minor = to_minor(amount, code, field="items[0].unit_price")
    except ValidationFailed as refused:
        assert [detail.field for detail in refused.details] == ["items[0].unit_price"]
    else:
        assert to_decimal(minor, code) == amount
        assert 0 <= amount < MAX_MAJOR_UNITS


@pytest.mark.parametrize(
    "amount",
    [
        "19.999",
        "0.001",
        "-0.01",
        "1000000000000",
        "1e400",
        "1e-400",
        "NaN",
        "sNaN",
        "Infinity",
        # More digits than the decimal context keeps: they must not be rounded away.
        "19.990000000000000000000000000001",
        "999999999999.99000000000000000000000000001",
    ],
)
def test_what_is_no_amount_of_dollars_is_refused(amount: str) -> None:
    with pytest.raises(ValidationFailed):
        to_minor(Decimal(amount), "USD", field="price")


@pytest.mark.parametrize(
    "amount, code, minor",
    [
        ("19.99", "USD", 1999),
        ("19.9900", "USD", 1999),
        ("-0", "USD", 0),
        ("1E+3", "JPY", 1000),
        ("1.234", "KWD", 1234),
        ("999999999999.999", "KWD", 999_999_999_999_999),
    ],
)
def test_amounts_scale_by_their_currency(amount: str, code: str, minor: int) -> None:
    assert to_minor(Decimal(amount), code, field="price") == minor


def test_a_currency_is_known_or_refused() -> None:
    assert currency("EUR") == "EUR"
    for bad in ("", "eur", "EURO", "XXX", "\0"):
        with pytest.raises(ValidationFailed):
            currency(bad)
