"""The commerce schema: that each field can be had, and that it does not change unnoticed."""

import dataclasses
import hashlib
from datetime import UTC, datetime
from typing import Any

import pytest

from mercato.contracts.order_reading import Order, TimelineEntry
from mercato.contracts.payment_reading import Payment, Refund
from mercato.contracts.payments import RefundStatus
from mercato.contracts.product_reading import Inventory, Product
from mercato.contracts.products import PricedLine
from mercato.contracts.user_reading import User
from mercato.gateway.commerce.bound import bound
from mercato.gateway.commerce.joins import FIELDS, Line
from mercato.gateway.commerce.lists import Part
from mercato.gateway.commerce.mutations import Session
from mercato.gateway.graphql.bindings import Attribute, snake
from mercato.kernel.ids import ProductId

SCHEMA = "a102949a47b8bc766ffc4291be045fc6d4d4dc1481b57df6fc4ed3476fca99b3"
"""SHA-256 of the schema as clients know it."""
OBJECTS: dict[str, Any] = {
    "User": User,
    "Product": Product,
    "Inventory": Inventory,
    "Order": Order,
    "TimelineEntry": TimelineEntry,
    "Payment": Payment,
    "Session": Session,
    "PageInfo": Part,
}
"""The types whose fields are those of one class, by name."""


def fields_of(name: str) -> list[str]:
    from graphql import GraphQLObjectType, build_schema  # noqa: PLC0415  slow to import

    found = build_schema(bound().sdl).type_map[name]
    assert isinstance(found, GraphQLObjectType)
    return list(found.fields)


@pytest.mark.parametrize("name", OBJECTS)
def test_what_is_not_bound_is_an_attribute_of_the_object(name: str) -> None:
    kind = OBJECTS[name]
    for field in fields_of(name):
        if field not in FIELDS.get(name, {}):
            assert hasattr(kind, snake(field)), field


def test_each_part_of_a_line_and_of_a_refund_can_be_had() -> None:
    line = Line(PricedLine(ProductId("1"), "MUG", "Mug", 2, 100), "USD")
    at = datetime(2026, 1, 1, tzinfo=UTC)
    refund = Refund("1", 100, RefundStatus.FAILED, "broken", at, "the card is gone"), "USD"
    for name, value in (("OrderItem", line), ("Refund", refund)):
        assert set(FIELDS[name]) == set(fields_of(name))
        for field, binding in FIELDS[name].items():
            assert isinstance(binding, Attribute)
            assert callable(binding.get)
            assert binding.get(value) is not None, field


def test_every_field_and_argument_is_bound_to_a_type_that_is_there() -> None:
    for name, fields in bound().fields.items():
        assert set(fields) <= set(fields_of(name)), name
    for name in ("Query", "Mutation", "Subscription"):
        assert set(bound().fields[name]) == set(fields_of(name))
    assert dataclasses.is_dataclass(bound())


def test_the_schema_does_not_change_unnoticed() -> None:
    """Clients rely on it: whoever changes it says so in the changelog, and then here."""
    assert hashlib.sha256(bound().sdl.encode()).hexdigest() == SCHEMA
