"""The engine answers what graphql-core's executor answers, whatever is asked and whatever fails."""

import asyncio
import logging
import os
import random
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec
import pytest
from graphql import DocumentNode, GraphQLError, execute_sync, parse, subscribe, validate
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from mercato.gateway.graphql.answer import Problem, Refused, Result
from mercato.gateway.graphql.engine import Engine, Operation
from mercato.gateway.graphql.limits import Limits
from mercato.kernel.errors import MercatoError
from tests.graphql_documents import Documents, Drawn
from tests.graphql_world import World, bound, oracle

EXAMPLES = int(os.environ.get("GRAPHQL_EXAMPLES", "150"))
LIMITLESS = Limits(
    tokens=10**6,
    literal_chars=10**6,
    depth=100,
    aliases=10**6,
    root_fields=10**6,
    selections=10**6,
    cost=10**12,
    validation_errors=1000,
)
ORACLE = oracle().graphql
RUNNER = asyncio.Runner()
ENGINE = Engine(bound(), LIMITLESS)
RATES = [(0.0, 0.0, 0.0), (0.0, 0.15, 0.0), (0.03, 0.03, 0.02), (0.2, 0.1, 0.05)]

Told = tuple[list[str | int], list[tuple[int, int]], str, str]


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    logging.getLogger("mercato.gateway.graphql.errors").disabled = True
    yield
    logging.getLogger("mercato.gateway.graphql.errors").disabled = False


def worlds(seed: int) -> Iterator[World]:
    for number, rates in enumerate(RATES):
        yield World(seed + number, *rates)


def by_oracle(document: DocumentNode, drawn: Drawn, variables: dict[str, Any], world: World) -> tuple[bytes, list[Told]]:
    result = execute_sync(
        ORACLE,
        document,
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


def check(drawn: Drawn, seed: int) -> None:
    document = parse(drawn.text)
    assert validate(ORACLE, document) == []
    for variables in drawn.variables:
        operation = Operation(drawn.text, variables, drawn.operation_name)
        for expected, world in zip(worlds(seed), worlds(seed), strict=True):
            data, errors = by_oracle(document, drawn, variables, expected)
            found, problems = by_engine(RUNNER.run(ENGINE.execute(operation, world)))
            assert found == data, (found[-300:], data[-300:], problems[:3], errors[:3])
            assert problems == errors, (problems, errors)
            assert world.did == expected.did
            event("some errors" if errors else "no errors")
            if b"null" in data and errors:
                event("null by errors")


@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.randoms(use_true_random=False), st.integers(0, 10**6), st.sampled_from(["query", "query", "mutation"]))
def test_any_operation_is_answered_as_by_graphql_core(chance: random.Random, seed: int, kind: str) -> None:
    check(Documents(ORACLE, chance).document(kind), seed)
