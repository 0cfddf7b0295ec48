"""The engine answers what graphql-core's executor answers, whatever is asked and whatever fails."""

import asyncio
import logging
import os
import random
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from graphql import (
    DocumentNode,
    FragmentDefinitionNode,
    GraphQLError,
    OperationDefinitionNode,
    OverlappingFieldsCanBeMergedRule,
    execute_sync,
    parse,
    validate,
)
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from mercato.gateway.graphql.answer import Problem, Refused, Result
from mercato.gateway.graphql.engine import Engine, Operation
from mercato.gateway.graphql.lexical import check_text
from mercato.gateway.graphql.limits import Limits
from mercato.gateway.graphql.merging import conflicts
from mercato.kernel.errors import MercatoError
from tests.graphql_documents import Documents, Drawn
from tests.graphql_world import World, bound, oracle

EXAMPLES = int(os.environ.get("GRAPHQL_EXAMPLES", "250"))
"""Documents. Each is executed with three sets of variables in four worlds."""
UNBOUND = 10**9
LIMITLESS = Limits(
    tokens=UNBOUND,
    literal_chars=UNBOUND,
    depth=100,
    aliases=UNBOUND,
    root_fields=UNBOUND,
    selections=UNBOUND,
    cost=10**15,
    validation_errors=1000,
)
ORACLE = oracle().graphql
RUNNER = asyncio.Runner()
ENGINE = Engine(bound(), LIMITLESS)
RATES = [(0.0, 0.0, 0.0), (0.0, 0.15, 0.0), (0.03, 0.03, 0.02), (0.2, 0.1, 0.05)]
"""How often fields fail, are null, and are of a wrong type, in each world."""
drawn_by_chance = st.randoms(use_true_random=False)
like_core = settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))

Told = tuple[list[str | int], list[tuple[int, int]], str, str]


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    logging.getLogger("mercato.gateway.graphql.errors").disabled = True
    yield
    logging.getLogger("mercato.gateway.graphql.errors").disabled = False


def worlds(seed: int) -> Iterator[World]:
    for number, rates in enumerate(RATES):
        yield World(seed + number, *rates)


def by_oracle(
    document: DocumentNode, drawn: Drawn, variables: dict[str, Any], world: World, root: Any = None
) -> tuple[bytes, list[Told]]:
    result = execute_sync(
        ORACLE,
        document,
        root_value=root,
        context_value=world,
        variable_values=variables,
        operation_name=drawn.operation_name,
        max_coercion_errors=1000,
        hide_suggestions=True,
    )
    return msgspec.json.encode(result.data), sorted(map(told_by_core, result.errors or ()), key=place)


def told_by_core(error: GraphQLError) -> Told:
    locations = [(each.line, each.column) for each in error.locations or ()]
    original = error.original_error
    if isinstance(original, MercatoError):
        return list(error.path or ()), locations, original.code, original.message
    if original is None or (isinstance(original, GraphQLError) and original.nodes) or error.path is None:
        return list(error.path or ()), locations, "BAD_USER_INPUT", error.message
    return list(error.path or ()), locations, "INTERNAL_ERROR", "Something went wrong on our side."


def told(problem: Problem) -> Told:
    locations = [(each.line, each.column) for each in problem.locations]
    return list(problem.path), locations, problem.extensions.code, problem.message


def place(error: Told) -> list[str]:
    return [f"{step:05}" if isinstance(step, int) else step for step in error[0]]


def by_engine(result: Result) -> tuple[bytes, list[Told]]:
    data = None if result.data is msgspec.UNSET else result.data
    return msgspec.json.encode(data), sorted(map(told, result.errors), key=place)


def same(found: object, expected: object) -> bool:
    """Compare without the line by line differences of long texts, which take minutes."""
    return found == expected


def check(drawn: Drawn, seed: int) -> None:
    document = parse(drawn.text)
    assert validate(ORACLE, document) == []
    for variables in drawn.variables:
        operation = Operation(drawn.text, variables, drawn.operation_name)
        for expected, world in zip(worlds(seed), worlds(seed), strict=True):
            data, errors = by_oracle(document, drawn, variables, expected)
            found, problems = by_engine(RUNNER.run(ENGINE.execute(operation, world)))
            assert same(found, data)
            assert same(problems, errors)
            assert same(world.did, expected.did)
            event("errors" if errors else "no errors")


async def events(operation: Operation, world: World) -> list[tuple[bytes, list[Told]]]:
    """Return the answers to a subscription, until it ends or fails."""
    answers: list[tuple[bytes, list[Told]]] = []
    try:
        async for result in ENGINE.prepare(operation).subscribe(world):
            answers.append(by_engine(result))  # noqa: PERF401  those before a refusal count, too
    except Refused as refusal:
        answers.append(by_engine(refusal.result))
    return answers


def events_by_oracle(
    document: DocumentNode, drawn: Drawn, variables: dict[str, Any], world: World
) -> Iterator[tuple[bytes, list[Told]]]:
    """Give what graphql-core makes of the events that the engine found."""
    for value in world.events:
        if isinstance(value, Exception):
            return
        yield by_oracle(document, drawn, variables, world, root=value)


@like_core
@given(drawn_by_chance, st.integers(0, 10**6), st.sampled_from(["query", "query", "mutation"]))
def test_any_operation_is_answered_as_by_graphql_core(chance: random.Random, seed: int, kind: str) -> None:
    check(Documents(ORACLE, chance).document(kind), seed)


@settings(like_core, max_examples=EXAMPLES // 5)
@given(drawn_by_chance, st.integers(0, 10**6))
def test_any_event_is_answered_as_by_graphql_core(chance: random.Random, seed: int) -> None:
    drawn = Documents(ORACLE, chance).document("subscription")
    document = parse(drawn.text)
    assert validate(ORACLE, document) == []
    for variables in drawn.variables:
        operation = Operation(drawn.text, variables, drawn.operation_name)
        for world in worlds(seed):
            answers = RUNNER.run(events(operation, world))
            expected = list(events_by_oracle(document, drawn, variables, world))
            assert same(answers[: len(expected)], expected)
            # What comes after them is why there are no more.
            assert all(data == b"null" and errors for data, errors in answers[len(expected) :])
            event(f"{len(expected)} events, {len(answers) - len(expected)} refusals")


@settings(like_core, max_examples=EXAMPLES // 2)
@given(drawn_by_chance)
def test_fields_conflict_where_graphql_core_says_so(chance: random.Random) -> None:
    drawn = Documents(ORACLE, chance, may_conflict=True).document("query")
    document = parse(drawn.text)
    errors = validate(ORACLE, document, [OverlappingFieldsCanBeMergedRule])
    fragments = {
        each.name.value: each for each in document.definitions if isinstance(each, FragmentDefinitionNode)
    }
    found = [
        error
        for each in document.definitions
        if isinstance(each, OperationDefinitionNode)
        for error in conflicts(each, fragments)
    ]
    assert bool(found) == bool(errors)
    event("conflict" if found else "no conflict")


@settings(like_core, max_examples=EXAMPLES // 5)
@given(drawn_by_chance)
def test_tokens_are_counted_as_by_graphql_core(chance: random.Random) -> None:
    text = Documents(ORACLE, chance).document("query").text
    count = parse(text).token_count
    check_text(text, Limits(tokens=count))
    with pytest.raises(Refused, match="tokens"):
        check_text(text, Limits(tokens=count - 1))
