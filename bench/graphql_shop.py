"""`python -m bench.graphql_shop`: the orders query on the services of the embedded platform, on SQLite.

The latest ten orders of a store, with user and payment, read by the same calls of the services and written as
the same bytes: by a handler written by hand for just this query, by the GraphQL engine, and by graphql-core's
executor, whose document is parsed before and whose loads are batched. Without the server, which costs each
the same. A round takes them in turn; of each the median round counts.
"""

import argparse
import asyncio
import dataclasses
import functools
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from operator import attrgetter
from typing import Any

import msgspec
from graphql import execute, parse
from prometheus_client import CollectorRegistry

from bench.figures import Figure, Target, machine, table
from bench.graphql_engine import QUERY, Loader
from mercato.contracts.order_reading import OrdersWanted
from mercato.gateway.commerce.asking import Asking, RestCall, Services
from mercato.gateway.commerce.bound import bound
from mercato.gateway.commerce.joins import money
from mercato.gateway.commerce.rest import ShellRest
from mercato.gateway.graphql.answer import encode
from mercato.gateway.graphql.bindings import Attribute, Load, Resolve
from mercato.gateway.graphql.engine import Engine, Operation
from mercato.gateway.graphql.schema import Schema
from mercato.gateway.live.counts import Counts
from mercato.gateway.live.feed import Feed
from mercato.kernel.paging import Window
from mercato.kernel.tenancy import TenantId
from mercato.runtime.app import application
from mercato.runtime.embedded import Embedded
from mercato.runtime.settings import load

STORE = TenantId("bench")
CUSTOMERS = 5
ORDERS = 60
"""Of which every second is paid."""
Way = Callable[[], Awaitable[bytes]]


def _person(name: str) -> dict[str, object]:
    return {
        "email": f"{name}@example.com",
        "password": "bench-password",
        "first_name": name,
        "last_name": "Bench",
    }


async def _furnish(rest: ShellRest, stranger: Asking) -> str:
    """Open a store with orders and payments; return its admin's token."""

    async def post(path: str, body: Mapping[str, object], token: str = "") -> Any:  # noqa: ANN401  JSON
        by = dataclasses.replace(stranger, headers={"authorization": f"Bearer {token}"} if token else {})
        if not token and path != "/tenants":
            by = dataclasses.replace(stranger, headers={"x-tenant-id": STORE})
        answered = await rest.call(by, RestCall(method="POST", path=f"/api/v1{path}", body=body))
        return msgspec.json.decode(answered)

    opened = await post("/tenants", {"id": STORE, "name": "Bench", "admin": _person("admin")})
    admin = str(opened["token"])
    await post("/products", {"sku": "MUG", "name": "Mug", "price": 19.99, "stock": 1_000_000}, admin)
    people = [(await post("/users/register", _person(f"shopper{n}")))["token"] for n in range(CUSTOMERS)]
    for n in range(ORDERS):
        items = {"items": [{"product_id": "MUG", "quantity": 1 + n % 3}], "shipping_address": "1 Main St"}
        order = await post("/orders", items, people[n % CUSTOMERS])
        if n % 2:
            await post("/payments", {"order_id": order["id"], "method": "card"}, people[n % CUSTOMERS])
    return admin


async def _by_hand(asking: Asking) -> bytes:
    """Do what somebody would write who has just this query to answer."""
    services, caller = asking.services, asking.caller
    page = await services.orders.page(caller, OrdersWanted(), Window(10, 0, None, counted=True))
    users, payments = await asyncio.gather(
        services.users.many(caller, list(dict.fromkeys(order.user_id for order in page.items))),
        services.payments.latest_of_orders(caller, [order.id for order in page.items]),
    )
    data = []
    for order in page.items:
        user, payment = users.get(order.user_id), payments.get(order.id)
        shown = {
            "id": order.id,
            "status": order.status,
            "totalAmount": money(order.total_amount, order.currency),
            "user": None,
            "payment": None,
        }
        if user is not None:
            shown["user"] = {"id": user.id, "email": user.email, "fullName": user.full_name}
        if payment is not None:
            amount = money(payment.amount, payment.currency)
            shown["payment"] = {"id": payment.id, "status": payment.status, "amount": amount}
        data.append(shown)
    info = {"total": page.total, "hasMore": page.has_more}
    return encode({"data": {"orders": {"data": data, "pageInfo": info}}, "extensions": {"cost": 21}})


def _by_engine(asking: Asking) -> Way:
    engine, operation = Engine(bound()), Operation(QUERY)

    async def answer() -> bytes:
        return encode(await engine.execute(operation, asking))

    return answer


def _by_graphql_core(asking: Asking) -> Way:
    schema, document, loads = Schema(bound()), parse(QUERY), list[Load]()
    for field, binding in schema.bindings():
        if isinstance(binding, Load):
            field.resolve = _loaded(len(loads))
            loads.append(binding)
        elif isinstance(binding, Resolve):
            field.resolve = _resolved(binding)
        elif isinstance(binding, Attribute) and binding.get is not None:
            field.resolve = _got(binding.get if callable(binding.get) else attrgetter(binding.get))

    class Batched:
        """The context of the bindings, and what gathers their loads."""

        def __init__(self) -> None:
            self.loaders = {
                number: Loader(functools.partial(self._read, binding)) for number, binding in enumerate(loads)
            }

        async def _read(self, binding: Load, parents: Sequence[Any]) -> list[Any]:
            return list(await binding.load(asking, parents, {}))

        def __getattr__(self, name: str) -> Any:  # noqa: ANN401  whatever the bindings ask of it
            return getattr(asking, name)

    async def answer() -> bytes:
        result = execute(schema.graphql, document, context_value=Batched())
        assert isinstance(result, Awaitable)
        return encode({"data": (await result).data, "extensions": {"cost": 21}})

    return answer


def _got(get: Callable[[Any], Any]) -> Callable[..., Any]:
    return lambda parent, _: get(parent)


def _loaded(number: int) -> Callable[..., Awaitable[Any]]:
    return lambda parent, info, **_: info.context.loaders[number].load(parent)


def _resolved(binding: Resolve) -> Callable[..., Awaitable[Any]]:
    return lambda _, info, **args: binding.resolve(info.context, args)


async def _measure(rounds: int, seconds: float) -> dict[str, float]:
    """Return microseconds of each way, the median of its rounds."""
    with tempfile.TemporaryDirectory(prefix="mercato-bench-") as folder:
        settings = load({}, data=folder)
        platform, registry = Embedded(settings), CollectorRegistry()
        await platform.process.start()
        try:
            rest, shell = ShellRest(), application(platform.process, settings, lambda _: None, registry).shell
            rest.bind(shell.handle)
            services = Services(
                platform.users.reader,
                platform.products.reader,
                platform.orders.reader,
                platform.payments.reader,
                rest,
                Feed(Counts(CollectorRegistry()), lambda: False),
            )
            stranger = Asking(
                request_id="bench", tenant=STORE, principal=None, services=services, client="-", headers={}
            )
            admin = await platform.users.verifier.authenticate(await _furnish(rest, stranger))
            asking = dataclasses.replace(stranger, principal=admin)
            ways: dict[str, Way] = {
                "hand": functools.partial(_by_hand, asking),
                "engine": _by_engine(asking),
                "core": _by_graphql_core(asking),
            }
            return await _timed(ways, rounds, seconds)
        finally:
            await platform.process.stop()


async def _timed(ways: dict[str, Way], rounds: int, seconds: float) -> dict[str, float]:
    wanted = await ways["hand"]()
    for way in ways.values():
        await way()  # The engine compiles what comes a second time.
        assert await way() == wanted, (await way(), wanted)
    taken: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, way in ways.items():
            done, started = 0, time.process_time()
            while (passed := time.process_time() - started) < seconds:
                for _ in range(20):
                    await way()
                done += 20
            taken[name].append(1e6 * passed / done)
    return {name: statistics.median(times) for name, times in taken.items()}


def measure(rounds: int, seconds: float) -> list[Figure]:
    """Measure the ways against each other."""
    took = asyncio.run(_measure(rounds, seconds))
    note = f"{took['engine']:.0f} µs of CPU each; ceiling: "
    return [
        Figure(
            "orders query, embedded",
            1e6 / took["engine"],
            "/s",
            Target(target, at_least=True, ratio=True),
            1e6 / took[way],
            note + told,
        )
        for way, target, told in (("hand", 0.5, "by hand"), ("core", 4, "graphql-core"))
    ]


def main() -> None:
    """Measure, and print what was found."""
    parser = argparse.ArgumentParser(prog="python -m bench.graphql_shop", description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=0.5, help="CPU time of each way and round")
    chosen = parser.parse_args()
    print(machine())
    print()
    print(table(measure(chosen.rounds, chosen.seconds)))


if __name__ == "__main__":
    main()
