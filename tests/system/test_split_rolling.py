"""Two processes of each service, replaced one after the other under load: no request notices."""

import asyncio
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from http.client import HTTPConnection
from pathlib import Path

import psutil
import pytest

from mercato.clients.neighbour import TIMEOUT_S
from mercato.kernel.ids import uuid7
from tests.commands import environment, wait_until
from tests.engines import need
from tests.modes import OWN_PROCESSES
from tests.running import (
    STOP_DEADLINE_S,
    Answer,
    Down,
    Shopper,
    Store,
    add_product,
    free_port,
    open_store,
    order_of,
)
from tests.split_engines import engines
from tests.system.test_split import Split, split
from tests.waiting import repeated, until

pytestmark = OWN_PROCESSES

SERVICES = ("products", "orders", "payments", "users", "notifications", "gateway")
BUYERS, READERS = 4, 2
_BETWEEN = 40
"""How many requests are answered between two replacements."""
_STOCK_COMES_S = 20.0
"""How long an order may wait for stock that products was too slow to reserve."""


def test_a_process_that_ends_answers_once_more_on_each_connection_and_takes_no_other(tmp_path: Path) -> None:
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, "-m", "mercato", "serve", "gateway", "--port", str(port)],
        stderr=subprocess.DEVNULL,
        cwd=tmp_path,
        env=environment({}),
    )
    try:
        wait_until(lambda: not is_refused(port))
        with closing(HTTPConnection("127.0.0.1", port, timeout=10)) as kept:
            told = []
            for _ in range(3):
                kept.request("GET", "/health/live")
                answer = kept.getresponse()
                told.append((answer.status, answer.getheader("connection"), answer.read()))
                kept.auto_open = 0
                if len(told) == 2:
                    process.terminate()
                    wait_until(lambda: is_refused(port))
        assert told == [
            (200, None, b'{"status":"ok"}'),
            (200, None, b'{"status":"ok"}'),
            (200, "close", b'{"status":"ok"}'),
        ]
        assert process.wait(STOP_DEADLINE_S) == 0
    finally:
        process.kill()
        process.wait()


def is_refused(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Split]:
    need("postgres", "rabbitmq", "redis")
    folder = tmp_path_factory.mktemp("rolling")
    with split(folder, MERCATO_WORKERS="2", **engines()) as started:
        for service in SERVICES:
            wait_until(lambda: len(workers(started, service)) == 2)  # noqa: B023  it is waited for here
        yield started
    assert started.process.returncode == 0, started.err[-2000:]


def port_of(running: Split, service: str) -> int:
    return running.port if service == "gateway" else int(running.url_of(service).rpartition(":")[2])


def workers(running: Split, service: str) -> set[int]:
    """Return the processes of a service that take connections."""
    port, found = port_of(running, service), set()
    for child in running.service(service).children():
        try:
            connections = child.net_connections("tcp")
        except psutil.NoSuchProcess:
            continue
        if any(each.status == psutil.CONN_LISTEN and each.laddr[1] == port for each in connections):
            found.add(child.pid)
    return found


def is_pending(answer: Answer) -> bool:
    """Say whether an order cannot be paid yet, since its stock is not reserved."""
    return answer.status == 409 and answer.code == "RESERVATION_PENDING"


@dataclass
class Load:
    """Shoppers who read, order and pay without a pause, and what went wrong for them."""

    running: Split
    store: Store
    product: str
    answered: Counter[str] = field(default_factory=Counter)
    failed: list[str] = field(default_factory=list)
    paid: set[str] = field(default_factory=set)
    ending: bool = False

    async def read(self) -> None:
        async with self.running.client(self.store.admin) as shop:
            while not self.ending:
                for path in ("products", f"products/{self.product}", "users/me", "notifications", "orders"):
                    await self._note(shop, "GET", f"/api/v1/{path}", 200)

    async def buy(self) -> None:
        async with self.running.client(self.store.customer) as shop:
            while not self.ending:
                began = time.monotonic()
                placed = await self._note(shop, "POST", "/api/v1/orders", 201, order_of(self.product))
                # Without its stock it may be placed where products is slow, and not where a process is gone.
                late = time.monotonic() - began >= TIMEOUT_S
                if placed is None or placed.data["status"] != "pending":
                    continue
                order = placed.data["id"]
                wanted = {"order_id": order, "method": "card"}
                opened = await self._note(shop, "POST", "/api/v1/payments", 201, wanted, late=late)
                if opened is None:
                    continue
                paying = f"/api/v1/payments/{opened.data['id']}/process"
                paid = await self._note(shop, "POST", paying, 200)
                if paid is not None and paid.data["status"] == "success":
                    self.paid.add(order)

    async def _note(
        self, shop: Shopper, method: str, path: str, wanted: int, body: object = None, *, late: bool = False
    ) -> Answer | None:
        """Call; where stock was `late`, again while one is told that it is to come. Note what came of it."""

        async def call() -> Answer:
            return await shop.call(method, path, body, key=uuid7() if method == "POST" else None)

        try:
            answer = await (repeated(call, is_pending, _STOCK_COMES_S) if late else call())
        except (Down, TimeoutError) as error:
            self.failed.append(f"{method} {path}: {error!r}")
            return None
        self.answered[path.split("/")[3]] += 1
        if answer.status == wanted:
            return answer
        self.failed.append(f"{method} {path}: {answer.status} {answer.body!r}")
        return None

    async def more(self, count: int) -> None:
        """Wait until so many more have been answered."""
        wanted = self.answered.total() + count
        await until(lambda: self.answered.total() >= wanted, within_s=60)


async def test_two_processes_of_each_service_are_replaced_one_by_one_and_no_request_fails(
    running: Split,
) -> None:
    store = await open_store(running, "rolling")
    async with running.client(store.admin) as admin:
        product = await add_product(admin, store, "ANVIL", stock=1_000_000)
    load = Load(running, store, product)
    tasks = [asyncio.create_task(load.buy()) for _ in range(BUYERS)]
    tasks += [asyncio.create_task(load.read()) for _ in range(READERS)]
    before = {service: sorted(workers(running, service)) for service in SERVICES}
    for turn in range(2):
        for service in SERVICES:
            await load.more(_BETWEEN)
            await asyncio.to_thread(replace, running, service, before[service][turn])
            assert load.failed == [], service
    await load.more(_BETWEEN)
    load.ending = True
    await asyncio.gather(*tasks)

    assert load.failed == []
    after = {service: workers(running, service) for service in SERVICES}
    assert not [service for service in SERVICES if after[service] & set(before[service])]
    async with running.client(store.customer) as shop:
        for order in load.paid:
            await shop.until(f"/api/v1/orders/{order}", "status", "confirmed")
    assert load.paid
    await asyncio.to_thread(running.assert_balanced)


def replace(running: Split, service: str, pid: int) -> None:
    """Have a process end, and wait until it is gone; the other one is there meanwhile."""
    wait_until(lambda: len(workers(running, service)) == 2)
    psutil.Process(pid).terminate()
    wait_until(lambda: not psutil.pid_exists(pid))
