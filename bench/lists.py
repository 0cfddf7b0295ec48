"""Lists of a large catalogue: how long a page takes, and whether it costs more than in a small one.

Visitors follow the cursors of lists and searches from page to page, at random moments. Before a
list is begun again something is written, so that no page comes from the cache.
"""

import asyncio
import random
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

import msgspec

from bench.catalogue import fill
from bench.client import Answer, Outcome, ask, request
from bench.figures import Figure, Target
from bench.servers import Server, mercato
from mercato.adapters.sql.schema import Schema, prepare
from mercato.kernel.tenancy import TenantId

STORE = "catalogue"
SMALL = 1_000
WALKS = {
    "list": ("", "&sort=price", "&sort=-name", "&sort=created_at"),
    "filter": (
        "&category=category-0",
        "&category=category-7&sort=price",
        "&in_stock=false&sort=name",
        "&min_price=100&max_price=900&sort=-price",
    ),
    "search": ("&search=mug", "&search=amber+use", "&search=daily&sort=price", "&search=mug&in_stock=true"),
}
_ADMIN = {
    "email": "admin@catalogue.example",
    "password": "a long password",
    "first_name": "Ann",
    "last_name": "Bench",
}
_VISITOR = {"x-tenant-id": STORE}


@dataclass
class Walks:
    """What walks through lists came to: the seconds of each page, by kind of list, and the CPU of all."""

    seconds: float
    cpu_s: float = 0.0
    writes: int = 0
    pages: dict[str, list[float]] = field(default_factory=lambda: {kind: [] for kind in WALKS})

    @property
    def count(self) -> int:
        """How many pages were read."""
        return sum(map(len, self.pages.values()))

    def percentile_ms(self, kind: str, percent: float) -> float:
        """Return how long a page took at most, of so many per cent of them."""
        return Outcome(self.seconds, self.pages[kind]).percentile_ms(percent)


class Wire:
    """One visitor's connection, which is kept alive."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def ask(self, raw: bytes) -> Answer:
        """Send a request and return the answer, which must be a success."""
        self._writer.write(raw)
        head = await self._reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r")[0])
        answer = Answer(int(head[9:12]), head, await self._reader.readexactly(length))
        assert answer.data is not None
        return answer


@asynccontextmanager
async def connection(port: int) -> AsyncIterator[Wire]:
    """Connect a visitor."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1 << 20)
    yield Wire(reader, writer)
    writer.close()


class Visitors:
    """Visitors of one store, each of whom follows one list to its end and begins it again."""

    def __init__(self, port: int) -> None:
        opening = {"id": STORE, "name": "Catalogue", "currency": "USD", "admin": _ADMIN}
        token = ask(port, request("POST", "/api/v1/tenants", {}, opening)).data["token"]
        product = ask(port, request("GET", "/api/v1/products?limit=1", _VISITOR)).data[0]["id"]
        self._port = port
        self._path = f"/api/v1/products/{product}"
        self._headers = {"authorization": f"Bearer {token}"}
        self._price = 0

    async def walk_all(self, server: Server, seconds: float, rate: float | None = None) -> Walks:
        """Follow all lists for so long: at `rate` pages per second in all, or as fast as it goes."""
        walks, cpu = Walks(seconds), server.cpu_s()
        queries = [(kind, query) for kind, some in WALKS.items() for query in some]
        each = None if rate is None else rate / len(queries)
        await asyncio.gather(*(self._walk(walks, kind, query, each) for kind, query in queries))
        walks.cpu_s = server.cpu_s() - cpu
        return walks

    async def _walk(self, walks: Walks, kind: str, query: str, rate: float | None) -> None:
        dice = random.Random(query)  # noqa: S311  moments guard nothing
        began = due = time.perf_counter()
        cursor: str | None = None
        async with connection(self._port) as wire:
            while time.perf_counter() - began < walks.seconds:
                if cursor is None:
                    await self._write(wire)
                    walks.writes += 1
                    due = time.perf_counter()
                if rate is not None:
                    due += dice.expovariate(rate)
                    await asyncio.sleep(due - time.perf_counter())
                else:
                    due = time.perf_counter()
                after = "" if cursor is None else f"&after={quote(cursor)}"
                page = f"/api/v1/products?limit=20&count=false{query}{after}"
                answer = await wire.ask(request("GET", page, _VISITOR))
                # From when it was due: whoever waits behind another page waits.
                walks.pages[kind].append(time.perf_counter() - due)
                if b"x-cache: MISS" not in answer.raw:
                    raise RuntimeError(f"a page of {query} came from the cache")
                cursor = msgspec.json.decode(answer.body)["meta"].get("next_cursor")

    async def _write(self, wire: Wire) -> None:
        self._price = self._price % 1_000 + 1
        await wire.ask(request("PATCH", self._path, self._headers, {"price": self._price}))


def measure_lists(folder: Path, size: int, seconds: float, tell: Callable[[str], None]) -> list[Figure]:
    """Measure lists of so many products, beside the same of a small catalogue."""
    small = _run(folder / "small", min(SMALL, size), seconds, tell)
    large = _run(folder / "large", size, seconds, tell)
    (fast, paced), (small_fast, small_paced) = large, small
    figures = [
        Figure(
            f"a page of a {kind}, {size:,} products",
            paced.percentile_ms(kind, 99),
            "ms",
            Target(20, at_least=False),
            small_paced.percentile_ms(kind, 99),
            f"p99 at half load; p50 {paced.percentile_ms(kind, 50):.1f} ms; ceiling: {SMALL:,} products",
        )
        for kind in WALKS
    ]
    cost, small_cost = (1e6 * walks.cpu_s / (walks.count + walks.writes) for walks in (fast, small_fast))
    pages = f"{fast.count / fast.seconds:.0f} pages/s, ceiling {small_fast.count / small_fast.seconds:.0f}"
    figures.append(
        Figure(
            f"CPU of a page, {size:,} products",
            cost,
            "µs",
            Target(1.3, at_least=False, ratio=True),
            small_cost,
            f"ceiling: {SMALL:,} products; with the writes between; {pages}",
        )
    )
    return figures


def _run(folder: Path, size: int, seconds: float, tell: Callable[[str], None]) -> tuple[Walks, Walks]:
    """Return what walks came to, as fast as it goes and at half of that."""
    data = folder / "data"
    data.mkdir(parents=True)
    path = data / "products.db"
    tell(f"making {size:,} products")
    prepare(path, Schema("products", "mercato.products.migrations"))
    fill(path, TenantId(STORE), size)
    tell(f"lists of {size:,} products")
    with mercato(folder, "up") as server:
        return asyncio.run(_walks(server, seconds))


async def _walks(server: Server, seconds: float) -> tuple[Walks, Walks]:
    visitors = Visitors(server.port)
    await visitors.walk_all(server, seconds / 2)
    fast = await visitors.walk_all(server, seconds)
    return fast, await visitors.walk_all(server, 2 * seconds, fast.count / fast.seconds / 2)
