"""Documents that ask for too much are refused before anything is made of them, each for its own reason."""

import hashlib
from typing import Any

import pytest
from graphql import get_introspection_query

from mercato.gateway.graphql.answer import Refused
from mercato.gateway.graphql.engine import Engine, Operation
from mercato.gateway.graphql.limits import Limits
from tests.graphql_shop import Shop, ask, codes, open_engine

ENGINE = open_engine()


def refusal(query: str, variables: dict[str, Any] | None = None, engine: Engine = ENGINE) -> str:
    """Return the code that a document is refused with."""
    with pytest.raises(Refused) as refused:
        engine.prepare(Operation(query, variables or {}))
    (problem,) = refused.value.result.errors
    return problem.extensions.code


def within(text: str, inner: str, times: int, close: str = "}") -> str:
    return text * times + inner + close * times


ORDER = "{ order(id: 1) { %s } }"


def chain(count: int, body: str) -> str:
    """Return fragments of which each spreads the next, as `body` says."""
    links = " ".join(
        f"fragment F{n} on Order {{ {body.replace('@', f'...F{n + 1}')} }}" for n in range(count)
    )
    return f"{ORDER % '...F0'} {links} fragment F{count} on Order {{ id }}"


@pytest.mark.parametrize(
    "query,code",
    [
        (ORDER % "id" + " " * 5_000_000, "DOCUMENT_TOO_LARGE"),
        (f"{{ order(id: {'é' * 60_000}) }}", "DOCUMENT_TOO_LARGE"),
        (f'{{ order(id: "{"x" * 20_000}") {{ id }} }}', "DOCUMENT_TOO_LARGE"),
        (f'{{ order(id: """{"x" * 20_000}""") {{ id }} }}', "DOCUMENT_TOO_LARGE"),
        ('{ order(id: "' + '\\"' * 40_000, "DOCUMENT_TOO_LARGE"),
        (f"{{ order(id: {'9' * 20_000}) {{ id }} }}", "DOCUMENT_TOO_LARGE"),
        (ORDER % " ".join(f"a{n}:id" for n in range(10_000)), "TOO_MANY_TOKENS"),
        (ORDER % "id" + "#\n" * 5_000, "TOO_MANY_TOKENS"),
        ('{ "\n' * 10_000, "TOO_MANY_TOKENS"),
        (f"{{ order(id: [{'1-' * 2_000}]) {{ id }} }}", "TOO_MANY_TOKENS"),
        (within("{ order(id: 1) ", "{ id }", 2_000), "TOO_MANY_TOKENS"),
        (ORDER % " ".join(f"a{n}: id" for n in range(31)), "TOO_MANY_ALIASES"),
        (
            ORDER % "...A ...A" + f"fragment A on Order {{ {' '.join(f'a{n}: id' for n in range(16))} }}",
            "TOO_MANY_ALIASES",
        ),
        (within("{ user { orders ", "{ id }", 25, "} }"), "TOO_DEEP"),
        (chain(20, "user { orders { @ } }"), "TOO_DEEP"),
        (chain(200, "@"), "TOO_MANY_TOKENS"),
        (chain(100, "@"), "TOO_MANY_SELECTIONS"),
        (chain(40, "@ ... { @ }"), "TOO_MANY_SELECTIONS"),
        (chain(2, "...F3") + " fragment F3 on Order { ...F1 }", "GRAPHQL_VALIDATION_FAILED"),
        (ORDER % "...A" + " fragment A on Order { ...A }", "GRAPHQL_VALIDATION_FAILED"),
        ("{ " + " ".join(f"a{n}: order(id: 1) {{ id }}" for n in range(11)) + " }", "TOO_MANY_ROOT_FIELDS"),
        ("{ ...A ...A } fragment A on Query {" + "myOrders { id } " * 6 + "}", "TOO_MANY_ROOT_FIELDS"),
        (
            "mutation { " + " ".join(f'a{n}: login(email: "{n}")' for n in range(1_000)) + " }",
            "TOO_MANY_TOKENS",
        ),
        ("{ orders(limit: 100000000) { data { user { id } } } }", "MAX_COST_EXCEEDED"),
        ("{ orders(like: " + within("{both: ", "{}", 100) + ") { total } }", "TOO_DEEP"),
        (
            "query($l: Like = " + within("{any: [", "{}", 50, "]}") + ") { orders(like: $l) { total } }",
            "TOO_DEEP",
        ),
        ("{ order(id: 1) { } }", "GRAPHQL_PARSE_FAILED"),
        ("{ order(id: 1) " + within("{ ... ", "{ id }", 250), "GRAPHQL_PARSE_FAILED"),
    ],
)
def test_hostile_documents_are_refused(query: str, code: str) -> None:
    assert refusal(query) == code
    assert refusal(query) == code, "and once more, when it is known"


@pytest.mark.parametrize(
    "limit,most,query",
    [
        ("document_bytes", 43, "{ order(id: 1) { id status totalAmount } }#"),
        ("tokens", 14, "{ order(id: 1) { id status notes } } # x"),
        ("literal_chars", 5, '{ order(id: "one") { id } }'),
        ("depth", 4, "{ orders { data { user { id } } } }"),
        ("aliases", 2, "{ a: myOrders { b: id } }"),
        ("root_fields", 2, "{ order(id: 1) { id } myOrders { id } }"),
        ("selections", 4, "{ order(id: 1) { ... { id notes } } }"),
        ("input_depth", 3, "{ orders(like: {any: [{status: PAID}]}) { total } }"),
        ("cost", 1 + 10 + 10, "{ orders(limit: 10) { data { user { id } payment { id } } } }"),
    ],
)
def test_each_limit_can_be_set_and_is_reached_before_it_is_over(limit: str, most: int, query: str) -> None:
    open_engine(Limits(**{limit: most})).prepare(Operation(query))
    assert refusal(query, engine=open_engine(Limits(**{limit: most - 1})))


def test_a_cost_is_the_sum_of_all_that_may_be_loaded() -> None:
    def cost(query: str, **variables: Any) -> int:
        return ENGINE.prepare(Operation(query, variables)).cost

    assert cost("{ orders(limit: 7) { data { id lines { sku } } total } }") == 1
    assert cost("{ orders(limit: 7) { data { user { id } payment { order { id } } } } }") == 1 + 7 * (
        1 + 1 + 1
    )
    assert cost("{ orders { data { user { id } } } }") == 1 + 20
    assert cost("{ order(id: 1) { user { orders { payment { id } } } } }") == 1 + 1 + 1 + 50
    assert cost("{ order(id: 1) { lines { product { id } } } }") == 1 + 20
    assert cost("{ myOrders { payment { id } } }") == 1 + 50
    assert cost("{ myOrders { payment @skip(if: true) { id } } }") == 1
    assert cost("{ orders(limit: 0) { data { user { id } } } }") == 1
    assert cost("{ orders(limit: -5) { data { user { id } } } }") == 1
    limited = "query($n: Int = 3) { orders(limit: $n) { data { user { id } } } }"
    assert [cost(limited), cost(limited, n=9), cost(limited, n=None)] == [1 + 3, 1 + 9, 1 + 20]
    many = "query($ids: [ID!]) { products(ids: $ids) { name } order(id: 1) { user { id } } }"
    assert cost(many, ids=["a"] * 9) == 1 + 1 + 1
    conditional = (
        "query($p: Boolean!) { orders(limit: 5) { data { user { id } payment @include(if: $p) { id } } } }"
    )
    assert [cost(conditional, p=True), cost(conditional, p=False)] == [11, 6]
    assert cost("{ __typename __schema { queryType { name } } }") == 100


async def test_the_cost_is_told_with_every_answer_and_when_it_is_too_high() -> None:
    limited = "query($n: Int!) { orders(limit: $n) { data { user { id } } } }"
    for n in (10, 10, 20_000):
        result = await ask(ENGINE, limited, {"n": n})
        assert result.extensions.cost == 1 + n  # type: ignore[union-attr]  # it is there
    assert codes(result) == ["MAX_COST_EXCEEDED"]


def test_variables_that_are_too_deep_are_refused() -> None:
    query = "query($l: Like) { orders(like: $l) { total } }"
    deep: dict[str, Any] = {}
    for _ in range(500):
        deep = {"any": [deep]}
    assert refusal(query, {"l": deep}) == "TOO_DEEP"
    wide = {"any": [{"status": "PAID"}] * 5_000}
    ENGINE.prepare(Operation(query, {"l": wide}))


def test_of_very_many_mistakes_only_some_are_told() -> None:
    for query in (
        "{ " + " ".join(f"x{n}" for n in range(9)) + " }",
        ORDER % "id " + "fragment A on Order { id } " * 60,
    ):
        with pytest.raises(Refused) as refused:
            open_engine(Limits(validation_errors=3)).prepare(Operation(query))
        assert len(refused.value.result.errors) == 3 + 1
    query = "query($l: Like) { orders(like: $l) { total } }"
    with pytest.raises(Refused) as refused:
        ENGINE.prepare(Operation(query, {"l": {"any": [{"x": 1}] * 1_000}}))
    assert len(refused.value.result.errors) == Limits().validation_errors + 1


def test_fields_that_are_repeated_without_end_cost_no_more_than_their_number() -> None:
    # Two by two these are half a million pairs.
    ENGINE.prepare(Operation(ORDER % ("id " * 980)))
    spread = ORDER % " ".join(f"...F{n}" for n in range(90))
    ENGINE.prepare(Operation(spread + " ".join(f"fragment F{n} on Order {{ id }}" for n in range(90))))


async def test_what_tools_ask_about_the_schema_is_answered() -> None:
    result = await ask(ENGINE, get_introspection_query())
    assert result.errors == ()
    assert isinstance(result.data, dict)
    types = {each["name"] for each in result.data["__schema"]["types"]}
    assert {"Query", "Order", "DateTime", "__Type"} <= types


@pytest.mark.parametrize(
    "query,code",
    [
        ("{ a: __schema { types { name } } }", "TOO_MANY_ALIASES"),
        ("{ __schema { types { a: fields { name } b: fields { name } } } }", "TOO_MANY_ALIASES"),
        ("{ __schema { types { ...T } } } fragment T on __Type { a: name }", "TOO_MANY_ALIASES"),
        ("{ __schema { types { fields { type { fields { name } } } } } }", "TOO_DEEP"),
        (
            """{ __type(name: "Order") { ...T } } fragment T on __Type { fields { type { ...U } } }
               fragment U on __Type { interfaces { name } }""",
            "TOO_DEEP",
        ),
        (within("{ __schema { queryType ", within("{ ofType ", "{ name }", 30), 1, "} }"), "TOO_DEEP"),
    ],
)
def test_what_would_multiply_the_schema_is_refused(query: str, code: str) -> None:
    assert refusal(query) == code


async def test_questions_about_the_schema_can_be_switched_off() -> None:
    engine = open_engine(introspection=False)
    for query in (
        "{ __schema { types { name } } }",
        '{ myOrders { id } __type(name: "Order") { name } }',
        '{ ...A } fragment A on Query { __type(name: "Order") { name } }',
    ):
        assert codes(await ask(engine, query)) == ["INTROSPECTION_DISABLED"]
    assert codes(await ask(engine, "{ __typename myOrders { __typename } }")) == []


async def test_no_answer_suggests_names() -> None:
    for query in (
        "{ myOrder { id } }",
        "{ myOrders { identity statu } }",
        "{ order(ids: 1) { id } }",
        "query($l: Lik) { orders(like: $l) { total } }",
        "{ orders(like: {statu: PAID}) { total } }",
        "{ orders(like: {status: PAI}) { total } }",
        "{ ...A } fragment A on Quer { myOrders { id } }",
        "{ myOrders { id @skp(if: true) } }",
    ):
        result = await ask(ENGINE, query)
        assert codes(result)[0] == "GRAPHQL_VALIDATION_FAILED"
        assert not any("ean" in problem.message for problem in result.errors), result.errors
    query = "query($l: Like) { orders(like: $l) { total } }"
    for like in ({"statu": "PAID"}, {"status": "PAI"}):
        result = await ask(ENGINE, query, {"l": like})
        assert codes(result) == ["BAD_USER_INPUT"]
        assert "ean" not in result.errors[0].message


async def test_only_trusted_documents_are_executed_where_there_are_such() -> None:
    query = "{ myOrders { id } }"
    engine = open_engine(trusted=frozenset({hashlib.sha256(query.encode()).hexdigest()}))
    assert codes(await ask(engine, query)) == []
    for other in (query + " ", "{ myOrders { notes } }", "{ __typename }", "\ud800"):
        shop = Shop()
        assert codes(await ask(engine, other, shop=shop)) == ["QUERY_NOT_IN_SAFELIST"]
        assert shop.calls == []


def test_what_is_remembered_of_documents_is_bounded() -> None:
    engine = open_engine(Limits(cached_chars=5_000))
    for number in range(100):
        engine.prepare(Operation(f"{{ myOrders {{ id }} }} # {number}"))
        with pytest.raises(Refused):
            engine.prepare(Operation(f"{{ unknown{number} }}"))
    assert 0 < engine.documents.remembered <= 5_000 // 200
    engine.prepare(Operation(ORDER % ("id " * 900) + " " * 20_000))
    assert engine.documents.remembered == 0, "it is longer than all that may be remembered"
    engine.prepare(Operation("{ myOrders { id } }"))
    assert engine.documents.remembered == 1


def test_a_document_in_use_stays_remembered() -> None:
    engine = open_engine(Limits(cached_chars=2_000))
    query = "{ myOrders { id } }"
    known = engine.documents.get(query)
    for number in range(50):
        engine.documents.get(f"{{ myOrders {{ id }} }} # {number}")
        assert engine.documents.get(query) is known
