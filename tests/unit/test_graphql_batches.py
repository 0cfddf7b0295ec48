"""What is loaded at a level is loaded at once, however many objects want it."""

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from mercato.gateway.graphql.bindings import Args, Load
from mercato.gateway.graphql.engine import Engine, Operation
from tests.graphql_shop import FIELDS, Order, Shop, answers, ask, bound, codes, open_engine


@pytest.fixture(scope="module")
def engine() -> Engine:
    return open_engine()


async def calls(engine: Engine, query: str) -> list[tuple[str, int]]:
    """Return the calls that a query makes, which are the same when it is compiled."""
    first, second = Shop(), Shop()
    await ask(engine, query, shop=first)
    await ask(engine, query, shop=second)
    assert first.calls == second.calls
    return first.calls


async def test_any_number_of_orders_with_user_and_payment_costs_a_call_each(engine: Engine) -> None:
    query = "{ orders(limit: 10) { data { id user { email } payment { amount } } total } }"
    assert await calls(engine, query) == [("orders", 1), ("users", 3), ("payments", 10)]


async def test_an_object_with_the_same_key_is_loaded_once_and_found_everywhere(engine: Engine) -> None:
    result = await ask(engine, "{ orders(limit: 7) { data { user { id } } } }")
    assert isinstance(result.data, dict)
    found = [each["user"]["id"] for each in result.data["orders"]["data"]]
    assert found == ["u0", "u1", "u2", "u0", "u1", "u2", "u0"]


async def test_lists_beside_each_other_and_aliases_are_loaded_together(engine: Engine) -> None:
    query = """{ orders(limit: 4) { data { user { id } again: user { email } } }
                 myOrders { user { email } } order(id: "o9") { user { id } } }"""
    made = await calls(engine, query)
    assert made == [("orders", 1), ("my_orders", 1), ("order", 1), ("users", 3)]


async def test_two_types_that_share_a_load_are_loaded_together(engine: Engine) -> None:
    query = '{ order(id: "o5") { payment { user { id } order { user { email } } } } }'
    assert await calls(engine, query) == [
        ("order", 1),
        ("payments", 1),
        ("users", 1),
        ("orders of payments", 1),
        ("users", 1),
    ]
    query = '{ order(id: "o5") { payment { user { id } } lines { product { name } } user { id } } }'
    assert await calls(engine, query) == [
        ("order", 1),
        ("line products", 2),
        ("payments", 1),
        ("users", 1),
        ("users", 1),
    ]


async def test_only_calls_with_the_same_arguments_are_one(engine: Engine) -> None:
    query = """query($n: Int!) { order(id: "o5") { user {
        orders(limit: 2) { id } a: orders(limit: $n) { id }
        b: orders { id } c: orders(limit: 50) { id } } } }"""
    shop = Shop()
    await ask(engine, query, {"n": 2}, shop=shop)
    assert shop.calls == [("order", 1), ("users", 1), ("orders of users", 2), ("orders of users", 2)]
    assert shop.args[2:] == [{"limit": 2}, {"limit": 50}]


async def test_a_field_of_the_query_with_the_same_arguments_is_had_once(engine: Engine) -> None:
    made = await calls(
        engine, '{ a: order(id: "o1") { id } b: order(id: "o1") { status } c: order(id: "o2") { id } }'
    )
    assert made == [("order", 2 - 1), ("order", 1)]


async def test_nothing_is_loaded_for_nobody(engine: Engine) -> None:
    assert await calls(engine, "{ orders(limit: 0) { data { user { id } } } }") == [("orders", 1)]
    assert await calls(engine, '{ order(id: "o1") { payment { user { id } } } }') == [
        ("order", 1),
        ("payments", 1),
    ]


async def test_what_is_had_at_a_level_runs_at_once() -> None:
    meeting = asyncio.Barrier(2)

    async def meet(_: Shop, orders: Sequence[Order], __: Args) -> list[None]:
        await meeting.wait()
        return [None] * len(orders)

    fields = FIELDS | {"Order": {"user": Load(meet), "payment": Load(meet)}}
    async with asyncio.timeout(10):
        result = await ask(Engine(bound(fields)), "{ myOrders { user { id } payment { id } } }")
    assert result.errors == ()


async def test_whoever_stops_waiting_stops_all_that_is_under_way() -> None:
    begun, stopped = asyncio.Semaphore(0), []

    async def wait(_: Shop, orders: Sequence[Order], __: Args) -> list[None]:
        begun.release()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            stopped.append(len(orders))
            raise
        return []

    fields = FIELDS | {"Order": {"user": Load(wait), "payment": Load(wait)}}
    task = asyncio.create_task(ask(Engine(bound(fields)), "{ myOrders { user { id } payment { id } } }"))
    await begun.acquire()
    await begun.acquire()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert stopped == [2, 2]


async def test_mutations_run_one_after_the_other_each_with_all_beneath_it(engine: Engine) -> None:
    query = """mutation { a: cancel(id: "o1") { user { id } } b: cancel(id: "o1") { user { id } }
                          login(email: "a@b") }"""
    assert await calls(engine, query) == [
        ("cancel", 1),
        ("users", 1),
        ("cancel", 1),
        ("users", 1),
        ("login", 1),
    ]


async def test_after_a_mutation_that_promised_something_and_failed_no_other_runs(engine: Engine) -> None:
    for _ in range(2):
        shop = Shop(broken={"pay": ValueError("no")})
        result = await ask(
            engine,
            'mutation { login(email: "a@b") pay(input: {orderId: "o1"}) { id } cancel(id: "o1") { id } }',
            shop=shop,
        )
        assert result.data is None
        assert codes(result) == ["INTERNAL_ERROR"]
        assert shop.calls == [("login", 1), ("pay", 1)]


@pytest.mark.parametrize("answer", [[], [None, None, None], None, 5])
async def test_a_load_that_gives_another_number_of_values_fails_for_all(answer: Any) -> None:
    async def load(_: Shop, __: Sequence[Order], ___: Args) -> Any:
        return answer

    fields = FIELDS | {"Order": {"user": Load(load)}}
    for result in await answers(Engine(bound(fields)), Shop(), "{ myOrders { id user { id } } }"):
        assert result.data == {"myOrders": [{"id": "o3", "user": None}, {"id": "o4", "user": None}]}
        assert codes(result) == ["INTERNAL_ERROR"] * 2


async def test_one_that_fails_does_not_fail_the_others(engine: Engine) -> None:
    for result in await answers(engine, Shop(), "{ orders(limit: 4) { data { payment { id } } } }"):
        assert result.data == {
            "orders": {
                "data": [
                    {"payment": {"id": "po0"}},
                    {"payment": None},
                    {"payment": None},
                    {"payment": {"id": "po3"}},
                ]
            }
        }
        (problem,) = result.errors
        assert problem.path == ("orders", "data", 2, "payment")
        assert (problem.extensions.code, problem.message) == ("NOT_FOUND", "There is no such payment.")


async def test_a_prepared_operation_may_be_executed_more_than_once(engine: Engine) -> None:
    prepared = engine.prepare(Operation("{ myOrders { user { id } } }"))
    assert await prepared.execute(Shop()) == await prepared.execute(Shop())
