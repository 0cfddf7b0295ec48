"""Bodies and queries fit, or every bad field is named."""

import enum
from decimal import Decimal
from typing import Annotated, Any

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from mercato.kernel.errors import Kind, MercatoError, ValidationFailed
from mercato.kernel.money import Amount
from mercato.web.decode import MAX_NAMED, Body, BodyDecoder, Query, decode_query

Name = Annotated[str, msgspec.Meta(min_length=1, max_length=20)]
Quantity = Annotated[int, msgspec.Meta(ge=1, le=1000)]


class Method(enum.StrEnum):
    CARD = "card"
    CASH = "cash"


class Line(Body, frozen=True, kw_only=True):
    product_id: Name
    quantity: Quantity
    unit_price: Amount | None = None


class Placing(Body, frozen=True, kw_only=True):
    items: Annotated[list[Line], msgspec.Meta(min_length=1, max_length=90)]
    address: Name
    method: Method = Method.CARD
    gift: Line | None = None
    urgent: bool = False


class Filter(Query, frozen=True, kw_only=True):
    search: Annotated[str, msgspec.Meta(max_length=20)] | None = None
    limit: Annotated[int, msgspec.Meta(ge=1, le=100)] = 20
    in_stock: bool | None = None
    min_price: Decimal | None = None
    method: Method | None = None


decoder = BodyDecoder(Placing)
GOOD = {"items": [{"product_id": "p", "quantity": 1}], "address": "a"}


def refusal(body: bytes) -> MercatoError:
    with pytest.raises(MercatoError) as refused:
        decoder.decode(body)
    assert refused.value.kind is Kind.INVALID
    return refused.value


def fields(body: Any) -> dict[str, str]:
    refused = refusal(body if isinstance(body, bytes) else msgspec.json.encode(body))
    assert isinstance(refused, ValidationFailed), refused.message
    return {detail.field: detail.message for detail in refused.details}


def test_every_bad_field_is_named_however_deep() -> None:
    found = fields(
        {
            "items": [
                {"product_id": "", "quantity": 0},
                {"product_id": "p", "quantity": 1},
                {"quantity": "1", "unit_price": "9.99", "color": "red"},
            ],
            "method": "gold",
            "gift": {"product_id": 7, "quantity": False},
            "urgent": 1,
            "total": 0,
        }
    )
    assert set(found) == {
        "items[0].product_id",
        "items[0].quantity",
        "items[2].product_id",
        "items[2].quantity",
        "items[2].unit_price",
        "items[2].color",
        "method",
        "gift.product_id",
        "gift.quantity",
        "urgent",
        "total",
        "address",
    }
    assert found["total"] == "is not a known field"
    assert found["address"] == "is required"
    assert found["items[2].product_id"] == "is required"


def test_a_list_of_the_wrong_length_or_kind_is_named() -> None:
    assert set(fields({**GOOD, "items": []})) == {"items"}
    assert set(fields({**GOOD, "items": [GOOD["items"][0]] * 91})) == {"items"}
    assert set(fields({**GOOD, "items": {}})) == {"items"}
    assert set(fields({**GOOD, "items": [None, 1]})) == {"items[0]", "items[1]"}


def test_no_answer_names_more_fields_than_it_may() -> None:
    assert len(fields({**GOOD, **{f"x{n}": 1 for n in range(1000)}})) == MAX_NAMED
    assert all(len(name) <= 64 for name in fields({**GOOD, "x" * 100_000: 1}))


def test_nul_is_refused_by_name_wherever_it_is() -> None:
    assert set(fields({**GOOD, "address": "a\0b"})) == {"address"}
    nul_line = {"product_id": "\0", "quantity": 1}
    assert set(fields({**GOOD, "items": [nul_line], "gift": nul_line})) == {
        "items[0].product_id",
        "gift.product_id",
    }
    escaped_backslash = b'{"items": [{"product_id": "p", "quantity": 1}], "address": "\\\\u0000"}'
    assert decoder.decode(escaped_backslash).address == "\\u0000"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b" ",
        b"{",
        b"null",
        b"[]",
        b'"text"',
        b"NaN",
        b'{"address": NaN}',
        b'{"address": Infinity}',
        b'{"address": "\xff"}',
        b'{"address": "\xed\xa0\x80"}',
        b'{"address": "\\ud800"}',
        b'{"address": "\\ud800\\u0000"}',
        b'\xef\xbb\xbf{"address": "a"}',
        b"[" * 10_000,
        b"[" * 10_000 + b"]" * 10_000,
        b'{"x":' * 10_000,
        b'{"items":' * 10_000 + b"1" + b"}" * 10_000,
        b'{"address": 1e99999999999999999999}',
    ],
)
def test_what_cannot_be_read_is_refused(body: bytes) -> None:
    assert refusal(body).code == "BAD_REQUEST"


def test_amounts_are_numbers_kept_to_the_last_digit() -> None:
    def price(number: bytes) -> object:
        body = b'{"address": "a", "items": [{"product_id": "p", "quantity": 1, "unit_price": %b}]}'
        return decoder.decode(body % number).items[0].unit_price

    assert price(b"19.99") == Decimal("19.99")
    assert price(b"20") == Decimal(20)
    assert price(b"0.1000000000000000000000000000000000001") == Decimal(
        "0.1000000000000000000000000000000000001"
    )
    assert price(b"1e400") == Decimal("1e400")
    for bad in (b"true", b'"19.99"', b"[]"):
        with pytest.raises(ValidationFailed):
            price(bad)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.sampled_from(["items", "gift"]), inner),
)


def value_or_refusal(body: bytes) -> None:
    try:
        value = decoder.decode(body)
    except MercatoError as refused:
        assert refused.kind is Kind.INVALID
        # Whatever is told must itself be something that can be sent.
        msgspec.json.encode((refused.message, refused.details))
    else:
        assert isinstance(value, Placing)


@given(st.binary(max_size=200))
@example(b'{"\\udfff": 1}')
def test_any_bytes_become_a_body_or_a_refusal(body: bytes) -> None:
    value_or_refusal(body)


@settings(max_examples=50)
@given(json_values, json_values, json_values)
def test_any_json_becomes_a_body_or_a_refusal(items: object, address: object, gift: object) -> None:
    value_or_refusal(msgspec.json.encode({"items": items, "address": address, "gift": gift}))


def test_a_query_is_read_by_its_types() -> None:
    read = decode_query("limit=5&in_stock=true&min_price=1.50&search=a%20b&method=card", Filter)
    assert read == Filter(limit=5, in_stock=True, min_price=Decimal("1.50"), search="a b", method=Method.CARD)
    assert decode_query("", Filter) == Filter()
    assert decode_query("search=", Filter).search == ""


def test_every_bad_parameter_is_named() -> None:
    with pytest.raises(ValidationFailed) as refused:
        decode_query("limit=0&in_stock=2&min_price=x&method=gold&nonsense=1&search=" + "x" * 21, Filter)
    assert {detail.field for detail in refused.value.details} == {
        "limit",
        "in_stock",
        "min_price",
        "method",
        "nonsense",
        "search",
    }


@pytest.mark.parametrize("query", ["limit=1&limit=2", "search=%00", "limit=" + "9" * 5000, "=1"])
def test_a_parameter_given_twice_or_beyond_measure_is_refused(query: str) -> None:
    with pytest.raises(ValidationFailed):
        decode_query(query, Filter)


@pytest.mark.parametrize(
    "query",
    ["search=%FF", "search=%ED%A0%80", "&".join(f"a{n}=1" for n in range(10_000)), "flag", "&&"],
)
def test_a_query_that_cannot_be_read_is_refused(query: str) -> None:
    with pytest.raises(MercatoError) as refused:
        decode_query(query, Filter)
    assert refused.value.code == "BAD_REQUEST"


@given(st.binary(max_size=100))
@example(b"min_price=1e99999999999999999999")
@example(b"limit=" + "٣".encode())
def test_any_query_is_read_or_refused(query: bytes) -> None:
    try:
        decode_query(query.decode("latin-1"), Filter)
    except MercatoError as refused:
        assert refused.kind is Kind.INVALID


@pytest.mark.parametrize("query", ["limit=null", "method=NULL", "in_stock=Null"])
def test_the_word_null_is_no_way_to_leave_a_parameter_out(query: str) -> None:
    with pytest.raises(ValidationFailed) as refused:
        decode_query(query, Filter)
    assert [detail.field for detail in refused.value.details] == [query.partition("=")[0]]
    assert decode_query("search=null", Filter).search == "null"
