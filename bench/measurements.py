"""The measurements. Each alternates with its ceiling, warms up first, and takes the median."""

import asyncio
import shutil
import statistics
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec

from bench import cluster, graphql_shop, noisy_tenant, overhead, overload
from bench.client import Outcome, ask, drive, request
from bench.figures import Figure, Target
from bench.inserts import grouped_inserts
from bench.lists import measure_lists
from bench.reads import read
from bench.servers import Server, bare, mercato
from bench.shop import Shop, Shoppers, open_shop

_Progress = Callable[[str], None]


class Plan(msgspec.Struct, frozen=True):
    """How much is measured. The defaults take about eight minutes, a third of them to make the catalogue."""

    rounds: int = 3
    """How often each measurement alternates with its ceiling."""
    starts: int = 7
    read_s: float = 3.0
    write_s: float = 5.0
    warm_up_s: float = 2.0
    connections: int = 32
    catalogue: int = 1_000_000
    """Products of the large catalogue."""
    lists_s: float = 4.0
    events: int = 20_000
    """Events that wait for a relay."""
    overload_s: float = 60.0
    noisy_s: float = 4.0
    """How long a store's orders arrive alone, and beside a noisy store, in each round."""


def measure(plan: Plan, tell: _Progress) -> list[Figure]:
    """Measure everything on this machine, in a folder that is deleted afterwards."""
    with TemporaryDirectory(prefix="mercato-bench-") as name:
        folder = Path(name)
        tell("start")
        figures = [_start(plan, folder)]
        running = folder / "running"
        running.mkdir()
        with mercato(running, "up") as platform:
            tell("memory")
            shop = open_shop(platform.port)
            figures.append(_memory_of_all(platform, shop))
            tell("cached product read")
            figures.append(_cached_read(plan, platform, shop, running))
            tell("orders placed")
            figures.append(_orders_placed(plan, platform, shop, folder))
            tell("orders placed and paid")
            figures.append(_orders_paid(plan, platform, shop))
        with mercato(running, "serve", "orders") as orders:
            figures.insert(2, _memory_of_one(orders, shop))
        figures += measure_lists(folder / "lists", plan.catalogue, plan.lists_s, tell)
    figures += cluster.measure_cluster(
        cluster.Amount(plan.rounds, plan.read_s, plan.write_s, plan.warm_up_s, plan.events), tell
    )
    tell("GraphQL")
    figures += graphql_shop.measure(plan.rounds, plan.read_s / 4)
    tell("logs, metrics and traces")
    figures += overhead.measure(2 * plan.rounds + 1, plan.read_s / 6)
    tell("overload")
    figures += overload.measure(plan.overload_s, plan.write_s)
    tell("noisy stores")
    figures += noisy_tenant.measure(plan.rounds, plan.noisy_s, ["advanced"])
    return figures


def _start(plan: Plan, folder: Path) -> Figure:
    taken: list[float] = []
    ceilings: list[float] = []
    for turn in range(plan.starts):
        data = folder / f"start-{turn}"
        data.mkdir()
        with mercato(data, "up") as server:
            taken.append(server.start_s)
        with bare(data) as server:
            ceilings.append(server.start_s)
        shutil.rmtree(data)
    # The first of each warms up the disk's cache.
    return Figure(
        "start of `up`, empty folder to first 200",
        statistics.median(taken[1:] or taken),
        "s",
        Target(5, at_least=False, ratio=True),
        statistics.median(ceilings[1:] or ceilings),
        "ceiling: start of a bare granian handler",
    )


def _memory_of_all(platform: Server, shop: Shop) -> Figure:
    shoppers = Shoppers(shop, connections=1, pay=True)
    drive(shop.port, shoppers.operations, 0)
    shoppers.seconds_until_confirmed()
    return Figure("memory of `up` after a purchase", platform.pss_mb(), "MB", Target(120, at_least=False))


def _memory_of_one(orders: Server, shop: Shop) -> Figure:
    headers = {"authorization": f"Bearer {shop.tokens[0]}"}
    found = ask(orders.port, request("GET", "/api/v1/orders", headers)).data
    return Figure(
        "memory of `serve orders` after a list",
        orders.pss_mb(),
        "MB",
        Target(75, at_least=False),
        note=f"a list of {len(found)} orders",
    )


def _cached_read(plan: Plan, platform: Server, shop: Shop, folder: Path) -> Figure:
    ask(shop.port, shop.read())
    hit = ask(shop.port, shop.read())
    if b"x-cache: HIT" not in hit.raw:
        raise RuntimeError("the product was not answered from the cache")
    answer = folder / "answer.http"
    answer.write_bytes(hit.raw)
    with bare(folder, answer) as ceiling:
        if len(ask(ceiling.port, shop.read()).raw) != len(hit.raw):
            raise RuntimeError("the bare handler answers something else")
        servers = (platform, ceiling)
        for server in servers:
            _read(plan, shop, server, plan.warm_up_s)
        runs = [[_read(plan, shop, server, plan.read_s) for server in servers] for _ in range(plan.rounds)]
    rates = [statistics.median(run[side].rate for run in runs) for side in (0, 1)]
    cpu = [statistics.median(run[side].cpu_us for run in runs) for side in (0, 1)]
    return Figure(
        "cached product read",
        rates[0],
        "/s",
        Target(0.5, at_least=True, ratio=True),
        rates[1],
        f"ceiling: a bare handler, same answer; {cpu[0]:.0f} µs of CPU each, ceiling {cpu[1]:.0f}",
    )


class _Run(msgspec.Struct, frozen=True):
    """One run of a load: operations per second, and what each cost the server."""

    rate: float
    cpu_us: float
    outcome: Outcome | None = None


def _read(plan: Plan, shop: Shop, server: Server, seconds: float) -> _Run:
    """Read a product over and over."""
    before = server.cpu_s()
    reads = read(server.port, shop.page(), connections=plan.connections, seconds=seconds)
    return _Run(reads.rate, 1e6 * (server.cpu_s() - before) / reads.done)


def _orders_placed(plan: Plan, platform: Server, shop: Shop, folder: Path) -> Figure:
    placing = Shoppers(shop, connections=plan.connections, pay=False)
    drive(shop.port, placing.operations, plan.warm_up_s)
    runs: list[_Run] = []
    ceilings: list[float] = []
    for turn in range(plan.rounds):
        runs.append(_shop(plan, platform, placing))
        path = folder / f"inserts-{turn}.db"
        inserting = grouped_inserts(path, writers=plan.connections, seconds=plan.write_s / 2)
        ceilings.append(asyncio.run(inserting))
    return Figure(
        "orders placed, durable",
        statistics.median(run.rate for run in runs),
        "/s",
        ceiling=statistics.median(ceilings),
        note=f"ceiling: grouped durable inserts of one row; {_told(plan, runs)}",
    )


def _orders_paid(plan: Plan, platform: Server, shop: Shop) -> Figure:
    buying = Shoppers(shop, connections=plan.connections, pay=True)
    drive(shop.port, buying.operations, plan.warm_up_s)
    runs = [_shop(plan, platform, buying) for _ in range(plan.rounds)]
    return Figure(
        "orders placed and paid, durable",
        statistics.median(run.rate for run in runs),
        "/s",
        Target(300, at_least=True),
        note=f"counted until confirmed; {_told(plan, runs)}; then {platform.pss_mb():.0f} MB",
    )


def _shop(plan: Plan, platform: Server, shoppers: Shoppers) -> _Run:
    """Have shoppers shop; the time until the last paid order is confirmed counts too."""
    before = platform.cpu_s()
    outcome = drive(platform.port, shoppers.operations, plan.write_s)
    outcome.seconds += shoppers.seconds_until_confirmed()
    used = platform.cpu_s() - before
    return _Run(outcome.rate, 1e6 * used / len(outcome.durations), outcome)


def _told(plan: Plan, runs: Sequence[_Run]) -> str:
    outcomes = [run.outcome for run in runs if run.outcome is not None]
    p50 = statistics.median(outcome.percentile_ms(50) for outcome in outcomes)
    p99 = statistics.median(outcome.percentile_ms(99) for outcome in outcomes)
    cpu = statistics.median(run.cpu_us for run in runs) / 1000
    return f"{plan.connections} connections, p50 {p50:.0f} ms, p99 {p99:.0f} ms, {cpu:.1f} ms of CPU each"
