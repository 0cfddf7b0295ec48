"""Errors tell clients what is meant for them, with codes that they know, and nothing of a defect."""

import logging
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest

from mercato.gateway.graphql.answer import Location, encode
from mercato.gateway.graphql.bindings import Args, Attribute, Load
from mercato.gateway.graphql.engine import Engine, Operation
from mercato.kernel.errors import Forbidden, MercatoError, NotFound, Unavailable
from tests.graphql_shop import FIELDS, Order, Shop, answers, ask, bound, codes, open_engine

ENGINE = open_engine()
SECRET = "password=hunter2"


@pytest.mark.parametrize(
    "query,code,message",
    [
        ("{ myOrders { id }", "GRAPHQL_PARSE_FAILED", "Syntax Error: Expected Name, found <EOF>."),
        ("", "GRAPHQL_PARSE_FAILED", "Syntax Error: Unexpected <EOF>."),
        ("{ nothing }", "GRAPHQL_VALIDATION_FAILED", "Cannot query field 'nothing' on type 'Query'."),
        ("type A { a: Int }", "GRAPHQL_VALIDATION_FAILED", "The 'A' definition is not executable."),
        (
            "fragment A on Query { myOrders { id } }",
            "GRAPHQL_VALIDATION_FAILED",
            "Fragment 'A' is never used.",
        ),
    ],
)
async def test_a_document_that_is_wrong_is_refused_with_the_place(
    query: str, code: str, message: str
) -> None:
    for result in await answers(ENGINE, Shop(), query):
        problem = result.errors[0]
        assert (problem.extensions.code, problem.message) == (code, message)
        assert problem.locations
        assert msgspec.json.decode(encode(result)).keys() == {"errors"}, (
            "nothing was executed, so there is no data"
        )


async def test_two_fields_of_one_name_that_differ_are_refused_with_both_places() -> None:
    result = await ask(ENGINE, "{ a: order(id: 1) { id }\n  a: order(id: 2) { id } }")
    (problem,) = result.errors
    assert problem.message.startswith("Fields 'a' conflict because they have differing arguments.")
    assert problem.locations == (Location(1, 3), Location(2, 3))


@pytest.mark.parametrize(
    "query,name,message",
    [
        (
            "query A { myOrders { id } } query B { myOrders { id } }",
            None,
            "Must provide operation name if query",
        ),
        ("query A { myOrders { id } } query B { myOrders { id } }", "C", "Unknown operation named 'C'."),
        ("query A { myOrders { id } }", "", "Unknown operation named ''."),
        ("{ myOrders { id } }", "", "Unknown operation named ''."),
        ("{ myOrders { id } }", "A", "Unknown operation named 'A'."),
    ],
)
async def test_an_operation_that_is_not_there_is_refused(query: str, name: str | None, message: str) -> None:
    for result in await answers(ENGINE, Shop(), query, name=name):
        assert codes(result) == ["OPERATION_RESOLUTION_FAILURE"]
        assert result.errors[0].message.startswith(message)


async def test_the_operation_that_is_named_is_executed() -> None:
    query = "query A { myOrders { id } } query B { myOrders { status } }"
    for result in await answers(ENGINE, Shop(), query, name="B"):
        assert result.data == {"myOrders": [{"status": "PAID"}, {"status": "PAID"}]}


async def test_a_subscription_is_not_executed_like_a_query() -> None:
    shop = Shop()
    assert codes(await ask(ENGINE, 'subscription { changed(id: "o1") { id } }', shop=shop)) == [
        "OPERATION_RESOLUTION_FAILURE"
    ]
    assert shop.calls == []


@pytest.mark.parametrize(
    "variables,messages",
    [
        ({}, ["Variable '$id' has invalid value: Expected a value of non-null type 'ID!' to be provided."]),
        (
            {"id": None},
            ["Variable '$id' has invalid value: Expected value of non-null type 'ID!' not to be None."],
        ),
        ({"id": ["o1"], "n": "1"}, ["ID cannot represent", "Int cannot represent non-integer value: '1'"]),
        ({"id": 1, "n": 2**31}, ["Int cannot represent non 32-bit signed integer value"]),
        ({"id": True, "n": True}, ["ID cannot represent", "Int cannot represent non-integer value: True"]),
    ],
)
async def test_variables_that_are_wrong_are_each_told(variables: dict[str, Any], messages: list[str]) -> None:
    query = "query($id: ID!, $n: Int) { order(id: $id) { id } orders(limit: $n) { total } }"
    for result in await answers(ENGINE, Shop(), query, variables):
        assert codes(result) == ["BAD_USER_INPUT"] * len(messages)
        for problem, message in zip(result.errors, messages, strict=True):
            assert message in problem.message
            assert problem.locations


async def test_null_for_an_argument_that_needs_a_value_is_the_clients_error() -> None:
    query = "query($id: ID = 1) { order(id: $id) { id } myOrders { id } }"
    for result in await answers(ENGINE, Shop(), query, {"id": None}):
        assert result.data == {"order": None, "myOrders": [{"id": "o3"}, {"id": "o4"}]}
        (problem,) = result.errors
        assert (problem.extensions.code, problem.path) == ("BAD_USER_INPUT", ("order",))


async def test_null_for_a_condition_is_an_error_of_what_it_is_in() -> None:
    query = "query($if: Boolean = true) { myOrders { id lines { sku @include(if: $if) } } }"
    for result in await answers(ENGINE, Shop(), query, {"if": None}):
        assert result.data == {"myOrders": None}
        assert codes(result) == ["BAD_USER_INPUT"]
        assert result.errors[0].path == ("myOrders", 0, "lines", 0)
    for result in await answers(
        ENGINE, Shop(), "query($if: Boolean = true) { a: __typename @skip(if: $if) }", {"if": None}
    ):
        assert result.data is None
        assert codes(result) == ["BAD_USER_INPUT"]
    shop = Shop()
    query = 'mutation($if: Boolean = true) { login(email: "a") __typename @skip(if: $if) }'
    assert (await ask(ENGINE, query, {"if": None}, shop=shop)).data is None
    assert shop.calls == []


@pytest.mark.parametrize(
    "error", [NotFound("There is no such order."), Forbidden("Not for you."), Unavailable("Orders is away.")]
)
async def test_a_refusal_of_the_platform_keeps_its_code_and_words(error: MercatoError) -> None:
    for result in await answers(ENGINE, Shop(broken={"my_orders": error}), "{ myOrders { id } }"):
        assert result.data == {"myOrders": None}
        assert msgspec.json.decode(encode(result))["errors"] == [
            {
                "message": error.message,
                "locations": [{"line": 1, "column": 3}],
                "path": ["myOrders"],
                "extensions": {"code": error.code},
            }
        ]


async def test_a_refusal_names_the_fields_that_it_is_about() -> None:
    result = await ask(ENGINE, 'mutation { cancel(id: "o9") { id } }')
    (told,) = msgspec.json.decode(encode(result))["errors"]
    assert told["extensions"] == {
        "code": "VALIDATION_ERROR",
        "details": [{"field": "id", "message": "must be another"}],
    }


async def test_a_defect_is_told_as_one_and_logged_with_the_request(caplog: pytest.LogCaptureFixture) -> None:
    for result in await answers(
        ENGINE, Shop("request-7", broken={"users": RuntimeError(SECRET)}), "{ myOrders { user { id } } }"
    ):
        assert codes(result) == ["INTERNAL_ERROR"] * 2
        assert SECRET.encode() not in encode(result)
    assert [record.levelno for record in caplog.records] == [logging.ERROR] * 2, "one line for each request"
    record = caplog.records[0]
    assert record.__dict__["request_id"] == "request-7"
    assert record.__dict__["field"] == "Order.user"
    assert record.exc_info is not None
    assert str(record.exc_info[1]) == SECRET


def _raise(_: Any) -> Any:
    raise KeyError(SECRET)


@pytest.mark.parametrize(
    "get",
    [
        _raise,
        "nowhere",
        lambda _: None,
        lambda _: SECRET,
        lambda _: float("nan"),
        lambda _: [1.0],
        lambda _: ValueError(SECRET),
    ],
)
async def test_an_attribute_that_is_not_as_promised_is_a_defect(get: Any) -> None:
    fields = FIELDS | {"Payment": {"amount": Attribute(get)}}
    for result in await answers(
        Engine(bound(fields)), Shop(), "{ orders(limit: 1) { data { id payment { id amount } } } }"
    ):
        assert result.data == {"orders": {"data": [{"id": "o0", "payment": None}]}}
        assert codes(result) == ["INTERNAL_ERROR"]
        assert result.errors[0].path == ("orders", "data", 0, "payment", "amount")
        assert SECRET.encode() not in encode(result)


async def test_an_error_takes_along_what_the_schema_promises_and_no_more() -> None:
    async def load(_: Shop, orders: Sequence[Order], __: Args) -> list[Any]:
        return [None if order.id == "o4" else [order] for order in orders]

    fields = FIELDS | {
        "User": {"orders": Load(load), "email": Attribute(lambda user: None if user.id == "u1" else "e")}
    }
    query = "{ myOrders { id user { id email } } }"
    for result in await answers(Engine(bound(fields)), Shop(), query):
        assert result.data == {
            "myOrders": [{"id": "o3", "user": {"id": "u0", "email": "e"}}, {"id": "o4", "user": None}]
        }
        assert [problem.path for problem in result.errors] == [("myOrders", 1, "user", "email")]


async def test_a_request_that_is_answered_without_errors_says_nothing_of_them() -> None:
    result = await ask(ENGINE, "{ myOrders { id } }")
    assert encode(result) == b'{"data":{"myOrders":[{"id":"o3"},{"id":"o4"}]},"extensions":{"cost":1}}'


async def test_what_a_source_of_events_refuses_ends_the_subscription() -> None:
    shop = Shop(broken={"changed": NotFound("There is no such order.")})
    prepared = ENGINE.prepare(Operation('subscription { x: changed(id: "o1") { id } }'))
    with pytest.raises(Exception, match=r"There is no such order\.") as refused:
        await anext(prepared.subscribe(shop))
    result: Any = refused.value
    (problem,) = result.result.errors
    assert (problem.extensions.code, problem.path) == ("NOT_FOUND", ("x",))
