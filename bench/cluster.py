"""What is measured on the servers of a cluster: private PostgreSQL and RabbitMQ, every commit on disk."""

import os
import re
import statistics
import subprocess
import time
from collections.abc import Callable
from contextlib import closing
from http.client import HTTPConnection
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

from bench import events
from bench.client import Outcome, ask, drive, request
from bench.figures import Figure, Target
from bench.reads import Reads, read_in_turn
from bench.servers import Server, bare_read, cpu_s, mercato
from bench.shop import STORE, Shop, Shoppers, open_shop
from tests import postgres_server, rabbitmq_server
from tests.postgres_server import PostgresServer

CONNECTIONS = 16
"""Of the clients, of the platform to each of its databases, of the bare handler and of pgbench."""
PAGES = 60_000
"""Three times as many as the platform keeps, so that in turn none is ever found in its cache."""
_PATH = "/api/v1/products/01900000-0000-7000-8000-%012x"
_FILL = f"""
INSERT INTO products (tenant_id, id, shelf, sku, live_sku, price, currency, category, created_at, updated_at,
  version, name, name_key, description, words)
SELECT '{STORE}', '01900000-0000-7000-8000-' || lpad(to_hex(n), 12, '0'), 2, 'PAGE-' || n, 'PAGE-' || n, 1999,
  'USD', 'things', 1767225600000000, 1767225600000000, 1, 'Product ' || n, 'product ' || n,
  repeat('A sturdy thing of daily use, as shown, in many colours and sizes. ', 3), 'product'
FROM generate_series(0, {PAGES - 1}) AS n;
"""
_SETTLE_DEADLINE_S = 120.0

_Progress = Callable[[str], None]


class Amount(NamedTuple):
    """How much is measured."""

    rounds: int
    read_s: float
    write_s: float
    warm_up_s: float
    events: int


def missing() -> list[str]:
    """Return which servers this machine lacks."""
    found = {
        "PostgreSQL": postgres_server.binaries() is not None,
        "RabbitMQ": rabbitmq_server.binaries() is not None,
    }
    return [name for name, is_there in found.items() if not is_there]


def measure_cluster(amount: Amount, tell: _Progress) -> list[Figure]:
    """Measure on servers of our own, which are gone afterwards. What a missing one takes is left out."""
    lacking = missing()
    if lacking:
        tell(f"nothing that needs {' or '.join(lacking)}: make setup-engines installs it")
    figures: list[Figure] = []
    if "PostgreSQL" not in lacking:
        figures += _on_postgres(amount, tell)
    if not lacking:
        tell("events through RabbitMQ")
        figures += events.measure_events(amount.events)
    return figures


def _on_postgres(amount: Amount, tell: _Progress) -> list[Figure]:
    postgres = PostgresServer(durable=True)
    with TemporaryDirectory(prefix="mercato-bench-pg-") as name:
        folder = Path(name)
        try:
            postgres.start()
            environ = postgres.environ_of_platform() | {"MERCATO_DATABASE_POOL": str(CONNECTIONS)}
            products = environ["MERCATO_DATABASE_URL"].rpartition("/")[2].replace("{service}", "products")
            _pgbench(postgres, "-i", "-q", "-s", "10")
            with mercato(folder, "up", environ=environ) as platform:
                shop = open_shop(platform.port)
                _psql(postgres, products, _FILL)
                tell("uncached product read, PostgreSQL")
                figures = [_uncached_read(amount, platform, postgres.url(products), folder)]
                tell("orders placed, PostgreSQL")
                figures.append(_orders_placed(amount, platform, shop, postgres))
                tell("orders placed and paid, PostgreSQL")
                return [*figures, _orders_paid(amount, platform, shop, postgres)]
        finally:
            postgres.stop()


def _uncached_read(amount: Amount, platform: Server, database: str, folder: Path) -> Figure:
    page = request("GET", _PATH % 0, {"x-tenant-id": STORE})
    found = ask(platform.port, page)
    if b"x-cache: MISS" not in found.raw:
        raise RuntimeError("the product was answered from the cache")
    answer = folder / "answer.http"
    answer.write_bytes(found.raw)
    with bare_read(folder, answer, database, CONNECTIONS) as ceiling:
        if len(ask(ceiling.port, page).raw) != len(found.raw):
            raise RuntimeError("the bare handler answers something else")
        turns = [_Turns(platform), _Turns(ceiling)]
        for each in turns:
            each.read(amount.warm_up_s)
        runs = [[each.read(amount.read_s) for each in turns] for _ in range(amount.rounds)]
    rates = [statistics.median(run[side][0].rate for run in runs) for side in (0, 1)]
    cpu = [statistics.median(run[side][1] for run in runs) for side in (0, 1)]
    ratios = sorted(run[0][0].rate / run[1][0].rate for run in runs)
    return Figure(
        "uncached product read, PostgreSQL",
        rates[0],
        "/s",
        Target(0.6, at_least=True, ratio=True),
        rates[1],
        f"ceiling: asyncpg in a bare handler, same answer; ratios of {len(runs)} rounds {_span(ratios)};"
        f" {cpu[0]:.0f} µs of CPU each beside PostgreSQL's, ceiling {cpu[1]:.0f}",
    )


class _Turns:
    """Reads all pages of a server in turn, going on where it stopped."""

    def __init__(self, server: Server) -> None:
        self._server = server
        # The first is in the cache: it was asked for above.
        self._next = 1

    def read(self, seconds: float) -> tuple[Reads, float]:
        """Return what a run came to, and the CPU of the server in µs for each."""
        before = self._server.cpu_s()
        reads = read_in_turn(
            self._server.port, _PATH, range(PAGES), self._next, connections=CONNECTIONS, seconds=seconds
        )
        self._next = (self._next + reads.done + CONNECTIONS) % PAGES
        return reads, 1e6 * (self._server.cpu_s() - before) / reads.done


def _orders_placed(amount: Amount, platform: Server, shop: Shop, postgres: PostgresServer) -> Figure:
    shoppers = Shoppers(shop, connections=CONNECTIONS, pay=False)
    drive(shop.port, shoppers.operations, amount.warm_up_s)
    _settle(platform)
    _analyze(postgres)
    runs: list[_Run] = []
    ceilings: list[float] = []
    costs: list[float] = []
    for _ in range(amount.rounds):
        runs.append(_shop(platform, postgres, shoppers, amount.write_s))
        tps, cost = _simple_update(postgres, max(1, round(amount.write_s / 2)))
        ceilings.append(tps)
        costs.append(cost)
    ratios = sorted(run.outcome.rate / ceiling for run, ceiling in zip(runs, ceilings, strict=True))
    return Figure(
        "orders placed, PostgreSQL",
        statistics.median(run.outcome.rate for run in runs),
        "/s",
        Target(0.2, at_least=True, ratio=True),
        statistics.median(ceilings),
        f"ceiling: pgbench -N, same connections; ratios of {len(runs)} rounds {_span(ratios)}; {_told(runs)};"
        f" ceiling's CPU {statistics.median(costs):.2f} ms",
    )


def _orders_paid(amount: Amount, platform: Server, shop: Shop, postgres: PostgresServer) -> Figure:
    shoppers = Shoppers(shop, connections=CONNECTIONS, pay=True)
    drive(shop.port, shoppers.operations, amount.warm_up_s)
    _analyze(postgres)
    runs = [_shop(platform, postgres, shoppers, amount.write_s) for _ in range(amount.rounds)]
    rate = statistics.median(
        len(run.outcome.durations) / (run.outcome.seconds + run.settled_s) for run in runs
    )
    return Figure(
        "orders placed and paid, PostgreSQL", rate, "/s", note=f"counted until confirmed; {_told(runs)}"
    )


class _Run(NamedTuple):
    """One run of shoppers."""

    outcome: Outcome
    settled_s: float
    """How long it took afterwards until every event had been handed over."""
    own_ms: float
    """CPU of the platform for each."""
    postgres_ms: float


def _shop(platform: Server, postgres: PostgresServer, shoppers: Shoppers, seconds: float) -> _Run:
    own, theirs = platform.cpu_s(), _cpu_of(postgres)
    outcome = drive(platform.port, shoppers.operations, seconds)
    settled_s = shoppers.seconds_until_confirmed() + _settle(platform)
    each = 1000 / len(outcome.durations)
    return _Run(outcome, settled_s, (platform.cpu_s() - own) * each, (_cpu_of(postgres) - theirs) * each)


def _simple_update(postgres: PostgresServer, seconds: int) -> tuple[float, float]:
    """Return the transactions per second, and the CPU in ms for each, pgbench's own included."""
    before, own = _cpu_of(postgres), os.times()
    told = _pgbench(postgres, "-N", "-n", "-c", str(CONNECTIONS), "-T", str(seconds))
    after = os.times()
    tps = re.search(r"tps = ([\d.]+)", told)
    count = re.search(r"actually processed: (\d+)", told)
    if tps is None or count is None:
        raise RuntimeError(f"pgbench told no rate: {told}")
    used = after.children_user + after.children_system - own.children_user - own.children_system
    return float(tps[1]), 1000 * (_cpu_of(postgres) - before + used) / int(count[1])


def _cpu_of(postgres: PostgresServer) -> float:
    assert postgres.process is not None
    return cpu_s(postgres.process.pid)


def _settle(platform: Server) -> float:
    """Wait until no event waits in an outbox; say how long it took."""
    began = time.perf_counter()
    while any(_unsent(platform)):
        if time.perf_counter() - began > _SETTLE_DEADLINE_S:
            raise RuntimeError("the platform does not come to an end with its events")
        time.sleep(0.01)
    return time.perf_counter() - began


def _unsent(platform: Server) -> list[float]:
    with closing(HTTPConnection("127.0.0.1", platform.port, timeout=30)) as connection:
        connection.request("GET", "/metrics")
        text = connection.getresponse().read().decode()
    return [float(each) for each in re.findall(r"^mercato_outbox_unsent\{.*\} (\S+)$", text, re.MULTILINE)]


def _told(runs: list[_Run]) -> str:
    p50 = statistics.median(run.outcome.percentile_ms(50) for run in runs)
    p99 = statistics.median(run.outcome.percentile_ms(99) for run in runs)
    own = statistics.median(run.own_ms for run in runs)
    theirs = statistics.median(run.postgres_ms for run in runs)
    settled = statistics.median(run.settled_s for run in runs)
    return (
        f"{CONNECTIONS} connections, p50 {p50:.0f} ms, p99 {p99:.0f} ms; {own:.2f} ms of CPU each and"
        f" {theirs:.2f} of PostgreSQL's; events done {settled:.1f} s after the last"
    )


def _span(ratios: list[float]) -> str:
    return f"{ratios[0]:.2f} to {ratios[-1]:.2f}"


def _pgbench(postgres: PostgresServer, *words: str) -> str:
    return _program(postgres, "pgbench", *words, postgres.url("postgres"))


def _analyze(postgres: PostgresServer) -> None:
    """Let the server know how tables are filled that were empty just now, as it finds out within a minute.

    What `pgbench -i` makes is known so, too. Without it, statements would go on by plans for empty tables.
    """
    everywhere = ("--all", "--maintenance-db", postgres.url("postgres"))
    _program(postgres, "vacuumdb", "-q", "--analyze-only", *everywhere)


def _psql(postgres: PostgresServer, database: str, statement: str) -> None:
    _program(postgres, "psql", "-q", "-v", "ON_ERROR_STOP=1", "-c", statement, postgres.url(database))


def _program(postgres: PostgresServer, name: str, *words: str) -> str:
    found = postgres_server.binaries()
    assert found is not None
    command = [str(found / name), *words]
    ended = subprocess.run(command, check=True, capture_output=True, text=True, cwd=postgres.folder)
    return ended.stdout
