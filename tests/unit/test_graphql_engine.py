"""The GraphQL engine: answers, what it tells of operations, subscriptions, and what schemas it takes."""

import subprocess
import sys
from decimal import Decimal
from functools import partial
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
from graphql import build_schema, get_introspection_query, graphql_sync

from mercato.gateway.graphql.answer import Refused, encode
from mercato.gateway.graphql.bindings import Args, Attribute, Bound, Load, Resolve, Scalar, snake
from mercato.gateway.graphql.engine import Engine, Operation
from mercato.gateway.graphql.limits import Limits
from tests.graphql_shop import FIELDS, SDL, Order, Shop, answers, ask, bound, codes, open_engine

ENGINE = open_engine()


async def told(engine: Engine, query: str, **variables: Any) -> bytes:
    """Return the answer's data as it is sent, the same at first and when the document is compiled."""
    first, second = [encode(result) for result in await answers(engine, Shop(), query, variables)]
    assert first == second
    return msgspec.json.encode(msgspec.json.decode(first)["data"])


async def test_fields_come_in_the_order_in_which_they_are_asked_for() -> None:
    query = """{ myOrders { ...A status id user { id } ... { notes } x: __typename } }
               fragment A on Order { payment { id } status lines { sku } }"""
    order = '{"payment":{"id":"po%s"},"status":"PAID","lines":[{"sku":"A"},{"sku":"B"}],"id":"o%s",'
    rest = '"user":{"id":"u%s"},"notes":null,"x":"Order"}'
    orders = ",".join((order + rest) % each for each in ((3, 3, 0), (4, 4, 1)))
    assert await told(ENGINE, query) == f'{{"myOrders":[{orders}]}}'.encode()


def _amount(amount: Decimal, _: Order) -> Decimal:
    return amount


async def test_amounts_and_times_are_written_exactly() -> None:
    amounts = {
        "0.1": "0.1",
        "19.99": "19.99",
        "999999999999.99": "999999999999.99",
        "5": "5.0",
        "0.00": "0.0",
    }
    for amount, expected in amounts.items():
        fields = FIELDS | {"Order": {"totalAmount": Attribute(partial(_amount, Decimal(amount)))}}
        engine = Engine(bound(fields))
        data = await told(engine, "{ order(id: 1) { totalAmount } }")
        assert data == f'{{"order":{{"totalAmount":{expected}}}}}'.encode()
    data = await told(ENGINE, "{ order(id: 1) { createdAt } }")
    assert data == b'{"order":{"createdAt":"2026-11-01T12:30:00Z"}}'


async def test_arguments_come_in_snake_case_with_their_defaults() -> None:
    shop = Shop()
    query = 'mutation($i: PayInput!) { a: pay(input: {orderId: "o1"}) { id } b: pay(input: $i) { id } }'
    await ask(ENGINE, query, {"i": {"orderId": 7, "method": None}}, shop=shop)
    await ask(ENGINE, "{ orders(like: {both: {}}) { total } }", shop=shop)
    assert shop.args == [
        {"input": {"order_id": "o1", "method": "card"}},
        {"input": {"order_id": "7", "method": None}},
        {"limit": 20, "like": {"both": {"status": "paid"}, "status": "paid"}},
    ]


async def test_an_argument_that_is_not_given_is_not_there() -> None:
    shop = Shop()
    query = "mutation($why: String) { cancel(id: 1, why: $why) { id } }"
    for variables in ({}, {"why": None}, {"why": "so"}):
        await ask(ENGINE, query, variables, shop=shop)
    assert shop.args == [{"id": "1"}, {"id": "1", "why": None}, {"id": "1", "why": "so"}]


async def test_a_document_that_looks_like_code_is_only_text() -> None:
    for name in ("__import__", "exec", "None", "v", "row", "rows", "Abnormal", "objects", "k1", "p0"):
        data = await told(ENGINE, f"{{ {name}: myOrders {{ {name}: id __class__: user {{ {name}: id }} }} }}")
        assert msgspec.json.decode(data)[name][0] == {name: "o3", "__class__": {name: "u0"}}


async def test_the_schema_tells_of_itself_what_graphql_core_tells() -> None:
    expected = graphql_sync(build_schema(SDL), get_introspection_query()).data
    assert msgspec.json.decode(await told(ENGINE, get_introspection_query())) == expected
    query = """query($name: String!) { myOrders { id } __type(name: $name) { name ...F } __typename }
               fragment F on __Type { fields { name } }"""
    assert await told(ENGINE, query, name="Line") == (
        b'{"myOrders":[{"id":"o3"},{"id":"o4"}],"__type":{"name":"Line","fields":'
        b'[{"name":"sku"},{"name":"quantity"},{"name":"product"}]},"__typename":"Query"}'
    )


async def test_a_question_about_the_schema_that_is_wrong_is_the_clients_error() -> None:
    query = """query($old: Boolean = true) {
        myOrders { id } __schema { directives(includeDeprecated: $old) { name } } }"""
    for result in await answers(ENGINE, Shop(), query, {"old": None}):
        assert result.data is None
        assert codes(result) == ["BAD_USER_INPUT"]


@pytest.mark.parametrize(
    "query,public",
    [
        ('{ product(id: "p") { id name __typename } __typename }', True),
        ('{ products(ids: ["p"]) { ...P } } fragment P on Product { name }', True),
        ("{ __schema { types { name } } }", True),
        ('{ product(id: "p") { stock } }', False),
        ('{ product(id: "p") { id } myOrders { id } }', False),
        ("{ order(id: 1) { id } }", False),
        ('mutation { login(email: "a") }', False),
        ('subscription { changed(id: "o1") { id } }', False),
    ],
)
def test_it_is_known_beforehand_whether_all_may_be_shown_to_anybody(query: str, *, public: bool) -> None:
    assert ENGINE.prepare(Operation(query)).is_public is public


def test_what_is_skipped_is_not_seen() -> None:
    query = 'query($s: Boolean!) { product(id: "p") { id } myOrders @include(if: $s) { id } }'
    prepared = [ENGINE.prepare(Operation(query, {"s": s})) for s in (False, True)]
    assert [each.is_public for each in prepared] == [True, False]
    assert [each.root_fields for each in prepared] == [("product",), ("product", "myOrders")]


def test_the_kind_and_the_fields_at_the_root_are_told() -> None:
    for query, kind, fields in (
        (
            "{ a: myOrders { id } ...Q } fragment Q on Query { order(id: 1) { id } }",
            "query",
            ("myOrders", "order"),
        ),
        ('mutation { login(email: "a") }', "mutation", ("login",)),
        ('subscription { changed(id: "o1") { id } }', "subscription", ("changed",)),
    ):
        prepared = ENGINE.prepare(Operation(query))
        assert (prepared.kind, prepared.root_fields) == (kind, fields)


async def test_a_subscription_answers_each_event_and_loads_for_it() -> None:
    shop = Shop()
    query = "subscription($id: ID!) { x: changed(id: $id) { id user { email } payment { id } } }"
    answering = ENGINE.prepare(Operation(query, {"id": "o1"})).subscribe(shop)
    for number in (3, 4, 5):
        shop.events.put_nowait(Order(f"o{number}", f"u{number}"))
        result = await anext(answering)
        assert (
            encode(result)
            == (
                f'{{"data":{{"x":{{"id":"o{number}","user":{{"email":"u{number}@example.com"}},'
                f'"payment":{{"id":"po{number}"}}}}}},"extensions":{{"cost":3}}}}'
            ).encode()
        )
    assert shop.calls == [("changed", 1), *[("users", 1), ("payments", 1)] * 3]
    shop.events.put_nowait(None)
    assert [result async for result in answering] == []
    assert shop.closed == 1


async def test_a_subscription_that_the_client_leaves_is_closed() -> None:
    shop = Shop()
    answering = ENGINE.prepare(Operation('subscription { changed(id: "o1") { id } }')).subscribe(shop)
    shop.events.put_nowait(Order("o1", "u1"))
    await anext(answering)
    assert shop.closed == 0
    await answering.aclose()
    assert shop.closed == 1


async def test_a_source_that_fails_ends_the_subscription_and_is_closed() -> None:
    shop = Shop()
    answering = ENGINE.prepare(Operation('subscription { changed(id: "o1") { id } }')).subscribe(shop)
    shop.events.put_nowait(Order("o1", "u1"))
    shop.events.put_nowait(RuntimeError("secret"))
    await anext(answering)
    with pytest.raises(Refused) as refused:
        await anext(answering)
    assert codes(refused.value.result) == ["INTERNAL_ERROR"]
    assert shop.closed == 1


async def _nothing(*_: Any) -> Any:
    return None


@pytest.mark.parametrize(
    "fields,reason",
    [
        ({"Order": {"nothing": Attribute()}}, "The schema has no Order.nothing"),
        ({"Nothing": {"id": Attribute()}}, "The schema has no Nothing.id"),
        ({"Order": {"user": Resolve(_nothing)}}, "Order.user cannot be had by Resolve"),
        ({"Query": FIELDS["Query"] | {"myOrders": Load(_nothing)}}, "Query.myOrders cannot be had by Load"),
        ({"Query": {}}, "Query.orders cannot be had by Attribute"),
        ({"Subscription": {"changed": Resolve(_nothing)}}, "Subscription.changed cannot be had by Resolve"),
        ({"User": {"orders": Load(_nothing, many="first")}}, "User.orders has no argument first"),
    ],
)
def test_bindings_that_do_not_fit_the_schema_are_refused_at_the_start(fields: Any, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        Engine(bound(FIELDS | fields))


def test_scalars_and_enums_that_do_not_fit_the_schema_are_refused_at_the_start() -> None:
    for given in (
        Bound(SDL, FIELDS, {"Order": Scalar()}),
        Bound(SDL, FIELDS, {"Nothing": Scalar()}),
        Bound(SDL, FIELDS, enums={"Status": {"PAID": 1}}),
        Bound(SDL, FIELDS, enums={"Order": {}}),
        Bound("type Query { a: Named } interface Named { a: Int }", {"Query": {"a": Resolve(_nothing)}}),
        Bound("type Query { a: [U!] } union U = Query", {"Query": {"a": Resolve(_nothing)}}),
    ):
        with pytest.raises(ValueError, match=r"schema|several types"):
            Engine(given)
    with pytest.raises(TypeError):
        Engine(Bound("type Order { id: ID }", {}))


def test_types_may_have_interfaces_that_no_field_is_of() -> None:
    sdl = "interface Named { name: String } type Query implements Named { name: String }"
    engine = Engine(Bound(sdl, {"Query": {"name": Resolve(_nothing)}}))
    engine.prepare(Operation("{ ... on Named { name } ...A } fragment A on Named { n: name }"))


async def test_a_field_may_be_named_like_a_word_of_python_and_have_a_directive_of_the_schemas_own() -> None:
    sdl = """directive @tagged(as: [String]) on FIELD
             type Query { here: Place } type Place { from: String class: Int! in: Place }"""

    async def here(_: Shop, __: Args) -> SimpleNamespace:
        return SimpleNamespace(**{"from": "there", "class": 1, "in": None})

    engine = Engine(Bound(sdl, {"Query": {"here": Resolve(here)}}))
    query = "query($as: [String]) { here { from class @tagged(as: $as) in { from } } }"
    for result in await answers(engine, Shop(), query, {"as": ["a"]}):
        assert result.data == {"here": {"from": "there", "class": 1, "in": None}}


async def test_an_answer_may_be_deeper_than_python_can_nest_loops() -> None:
    sdl = "type Query { top: [[Node]] } type Node { id: ID! inner: [[Node]] }"
    node: Any = SimpleNamespace(id="0", inner=[[None]])
    for number in range(1, 40):
        node = SimpleNamespace(id=str(number), inner=[[node]])

    async def top(_: Shop, __: Args) -> Any:
        return [[node]]

    engine = Engine(Bound(sdl, {"Query": {"top": Resolve(top)}}), Limits(depth=100, cost=10**60))
    for depth in (1, 5, 8, 9, 10, 11, 20, 38):
        query = "{ top " + "{ id inner " * depth + "{ id }" + " }" * depth + " }"
        for result in await answers(engine, Shop(), query):
            assert result.errors == ()
            found: Any = result.data
            for number in range(39, 39 - depth, -1):
                ((found,),) = found["top" if number == 39 else "inner"]
                assert found["id"] == str(number)


def test_names_are_told_in_snake_case() -> None:
    names = {"id": "id", "totalAmount": "total_amount", "page2Info": "page2_info", "endCursor": "end_cursor"}
    assert {name: snake(name) for name in names} == names


def test_describing_a_schema_does_not_import_graphql_core() -> None:
    program = (
        "import sys; from mercato.gateway.graphql import bindings, limits; sys.exit('graphql' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
