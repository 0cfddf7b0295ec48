"""A process per service and the gateway before them, on one machine, as a user starts it."""

import asyncio
import http.client
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import psutil
import pytest

from mercato.runtime.edge import declared
from mercato.runtime.settings import Settings
from tests.buried import bury_in
from tests.commands import mercato, serving, wait_until
from tests.modes import OWN_PROCESSES
from tests.running import Answer, Shopper, free_port, open_store, order_of, places

pytestmark = OWN_PROCESSES

START_DEADLINE_S = 60.0
STOP_DEADLINE_S = 40.0


@dataclass
class Split:
    """`mercato up --split` on SQLite."""

    folder: Path
    port: int
    process: "subprocess.Popen[bytes]"
    variables: dict[str, str] = field(default_factory=dict)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def out(self) -> str:
        return (self.folder / "out").read_text()

    @property
    def err(self) -> str:
        return (self.folder / "err").read_text()

    def client(self, token: str | None = None, store: str | None = None) -> Shopper:
        return Shopper(self.url, token, store)

    def service(self, name: str) -> psutil.Process:
        """Return a service's process, which must be there."""
        (found,) = self.services(name)
        return found

    def services(self, name: str) -> list[psutil.Process]:
        """Return a service's processes; none while it is started anew."""
        return [child for child in psutil.Process(self.process.pid).children() if serves(child, name)]

    def assert_balanced(self) -> None:
        """Assert that the services' books balance."""
        ended = mercato("reconcile", "--services", "--data", "data", folder=self.folder, **self.variables)
        assert ended.code == 0, ended.out + ended.err

    def url_of(self, name: str) -> str:
        """Return where a service is, as it was told at the start."""
        found = re.search(rf"^  {name} +(http\S+)$", self.out, re.MULTILINE)
        assert found is not None, self.out
        return found[1]


def serves(process: psutil.Process, name: str) -> bool:
    """Say whether a process is a service's, and lives."""
    try:
        return process.cmdline()[3:5] == ["serve", name]
    except (psutil.NoSuchProcess, psutil.ZombieProcess):
        return False


@contextmanager
def split(folder: Path, **variables: str) -> Iterator[Split]:
    """Start everything and wait until it says that it is up; it is gone at the end."""
    port = free_port()
    variables = places() | variables
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("MERCATO_")}
    with (folder / "out").open("wb") as out, (folder / "err").open("wb") as err:
        process = subprocess.Popen(
            [sys.executable, "-m", "mercato", "up", "--split", "--port", str(port), "--data", "data"],
            stdout=out,
            stderr=err,
            cwd=folder,
            env=inherited | variables,
        )
    running = Split(folder, port, process, variables)
    try:
        wait_until(lambda: "stop       Ctrl-C" in running.out or process.poll() is not None, START_DEADLINE_S)
        assert process.poll() is None, running.err
        yield running
    finally:
        if process.poll() is None:
            process.terminate()
        process.wait(STOP_DEADLINE_S)


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Split]:
    with split(tmp_path_factory.mktemp("split"), MERCATO_TRUSTED_PROXIES="127.0.0.2") as started:
        yield started
    assert started.process.returncode == 0, started.err


def raw(port: int, request: bytes, *, source: str = "127.0.0.1") -> bytes:
    """Send bytes from an address of this machine and return all that comes back."""
    with socket.create_connection(("127.0.0.1", port), timeout=20, source_address=(source, 0)) as connection:
        connection.sendall(request)
        told = b""
        while piece := connection.recv(65536):
            told += piece
        return told


def asked(port: int, path: str, *, method: str = "GET") -> tuple[dict[str, str], bytes]:
    """Return the headers and the body of an answer."""
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=20)) as connection:
        connection.request(method, path)
        answer = connection.getresponse()
        return {name.lower(): value for name, value in answer.getheaders()}, answer.read()


async def test_a_shopper_orders_through_the_gateway_and_every_service_knows_them(running: Split) -> None:
    store = await open_store(running, "tea")
    async with running.client(store.customer, "tea") as shop:
        mug = {"sku": "MUG", "name": "Mug", "price": 5, "stock": 2}
        product = (await shop.post("/api/v1/products", mug, token=store.admin)).data["id"]
        placed = await shop.post("/api/v1/orders", order_of(product), key="once")
        again = await shop.post("/api/v1/orders", order_of(product), key="once")
        held = (await shop.get(f"/api/v1/products/{product}/inventory")).data
        short = await shop.post("/api/v1/orders", order_of(product, 2))
        order = placed.data["id"]
        paying = await shop.post("/api/v1/payments", {"order_id": order, "method": "card"})
        mine = await shop.get(f"/api/v1/users/{placed.data['user_id']}/orders")

    assert placed.data["status"] == "pending"
    assert again.data["id"] == order
    assert again.headers["idempotent-replayed"] == "true"
    assert (held["on_hand"], held["reserved"]) == (2, 1)
    assert (short.status, short.code) == (409, "OUT_OF_STOCK")
    assert short.json["error"]["details"]
    assert (paying.status, paying.data["amount"]) == (201, 5)
    assert [each["id"] for each in mine.data] == [order]


async def test_a_request_has_one_id_in_the_answer_and_in_every_service_that_it_reached(
    running: Split,
) -> None:
    store = await open_store(running, "ids")
    async with running.client(store.customer, "ids") as shop:
        mug = {"sku": "MUG", "name": "Mug", "price": 5, "stock": 2}
        product = (await shop.post("/api/v1/products", mug, token=store.admin)).data["id"]
        told = {"X-Request-Id": "follow-me"}
        placed = await shop.post("/api/v1/orders", order_of(product), headers=told)

    assert placed.headers["x-request-id"] == "follow-me"

    def routes() -> set[str]:
        lines = [msgspec.json.decode(line) for line in running.err.splitlines() if '"follow-me"' in line]
        return {line["route"] for line in lines if "route" in line}

    wait_until(lambda: routes() >= {"POST /api/v1/orders", "POST /internal/v1/stock/reserve"})


def test_every_endpoint_that_a_service_declares_is_reached_through_the_gateway(running: Split) -> None:
    """And is answered by a service: by the refusal of a call without a token, if by nothing else."""
    lost = []
    for endpoints in declared(Settings()).values():
        for endpoint in endpoints:
            path = re.sub(r"\{[a-z_]+\}", "0199e1a4-7c00-7000-8000-000000000002", endpoint.path)
            headers, _ = asked(running.port, path, method="OPTIONS")
            if endpoint.method not in headers.get("allow", ""):
                lost.append(endpoint.route)
    assert lost == []


def test_the_document_of_the_gateway_is_that_of_the_whole_api(running: Split) -> None:
    paths = msgspec.json.decode(asked(running.port, "/openapi.json")[1])["paths"]

    wanted = {each.path for group in declared(Settings()).values() for each in group if each.is_described}
    assert set(paths) == wanted
    assert not any(path.startswith("/internal") for path in paths)


@pytest.mark.parametrize(
    "path",
    [
        "/internal/v1/stock/reserve",
        "/internal/v1/books",
        "//internal/v1/books",
        "/%69nternal/v1/books",
        "/api/v1/products/../../../internal/v1/books",
        "/api/v1/products/%2e%2e/%2e%2e/%2e%2e/internal/v1/books",
        "/api/v1/products/..%2f..%2f..%2finternal/v1/books",
        "/api/v1/products/..\\..\\..\\internal\\v1\\books",
        "/api/v1/products/../inventory",
        "/api/v1/orders/./timeline",
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST", "OPTIONS"])
def test_internal_paths_cannot_be_reached_from_outside(running: Split, method: str, path: str) -> None:
    told = raw(
        running.port,
        f"{method} {path} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 2\r\n"
        "connection: close\r\n\r\n{}".encode(),
    )

    # What is left of such a path in one segment is a product's id that no product has.
    expected = {"GET": b"404", "POST": b"405", "OPTIONS": b"204"} if "\\" in path else {}
    assert told.split()[1] == expected.get(method, b"404"), told


def client_of(running: Split, request_id: str) -> str:
    """Return the client's address as a service has logged it."""

    def lines() -> list[Any]:
        found = [msgspec.json.decode(line) for line in running.err.splitlines() if f'"{request_id}"' in line]
        return [line for line in found if line.get("event") == "request"]

    wait_until(lambda: len(lines()) == 2)
    first, second = lines()
    assert first["client"] == second["client"]
    return str(first["client"])


def products_list(request_id: str, forwarded: str) -> bytes:
    return (
        f"GET /api/v1/products HTTP/1.1\r\nhost: x\r\nx-request-id: {request_id}\r\n"
        f"x-forwarded-for: {forwarded}\r\nx-mercato-forwarded: made.up\r\nconnection: close\r\n\r\n"
    ).encode()


def test_nobody_makes_up_where_they_come_from(running: Split) -> None:
    raw(running.port, products_list("made-up", "203.0.113.9"))

    assert client_of(running, "made-up") == "127.0.0.1"


def test_a_trusted_proxy_is_believed_and_services_are_told(running: Split) -> None:
    raw(running.port, products_list("proxied", "10.9.9.9, 203.0.113.9"), source="127.0.0.2")

    assert client_of(running, "proxied") == "203.0.113.9"


def test_a_service_asked_directly_believes_no_forwarding(running: Split) -> None:
    port = int(running.url_of("products").rpartition(":")[2])
    raw(port, products_list("direct", "203.0.113.9"), source="127.0.0.2")

    def logged() -> bool:
        return '"direct"' in running.err

    wait_until(logged)
    line = next(line for line in running.err.splitlines() if '"direct"' in line)
    assert msgspec.json.decode(line)["client"] == "127.0.0.2"


async def test_a_large_import_and_export_pass_in_little_memory(running: Split) -> None:
    store = await open_store(running, "bulk")
    gateway = running.service("gateway")
    before = gateway.memory_info().rss
    row = b'{"sku":"SAME","name":"' + b"x" * 180 + b'","price":1,"description":"' + b"y" * 1_700 + b'"}\n'
    rows = 60_000
    connection = http.client.HTTPConnection("127.0.0.1", running.port, timeout=120)
    connection.putrequest("POST", "/api/v1/products/import")
    for name, value in (
        ("authorization", f"Bearer {store.admin}"),
        ("content-type", "application/x-ndjson"),
        ("content-length", str(len(row) * rows)),
    ):
        connection.putheader(name, value)
    connection.endheaders()
    highest = before
    for _ in range(rows // 1_000):
        try:
            connection.send(row * 1_000)
        except OSError:
            break
        highest = max(highest, gateway.memory_info().rss)
    answer = connection.getresponse()
    told = answer.read()
    connection.close()

    assert answer.status in {200, 400, 202}, told
    assert len(row) * rows > 100 * 1024 * 1024
    assert highest - before < 40 * 1024 * 1024, "the gateway held the upload"


def test_a_body_that_is_too_large_is_refused_by_the_gateway(running: Split) -> None:
    told = raw(
        running.port,
        b"POST /api/v1/orders HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
        b"content-length: 99999999\r\nconnection: close\r\n\r\n",
    )

    assert told.split()[1] == b"413"


async def test_dead_letters_of_every_service_are_one_list(running: Split) -> None:
    account = {"email": "olga@ops.example", "password": "operator-password"}
    flags = [word for key, value in account.items() for word in (f"--{key}", value)]
    assert mercato("tenants", "create-operator", *flags, "--data", "data", folder=running.folder).code == 0
    buried = [await bury_in(running.folder / "data", f"PAGED-{number}") for number in range(5)]
    path = "/api/v1/dead-letters"
    async with running.client() as anybody:
        token = (await anybody.post("/api/v1/users/login", account)).data["token"]
        assert (await anybody.get(path)).status == 401
    async with running.client(token) as shop:
        found: list[str] = []
        after = ""
        while True:
            page = await shop.get(f"{path}?limit=2{after}")
            found += [each["id"] for each in page.data]
            if not page.json["meta"]["has_more"]:
                break
            after = f"&after={page.json['meta']['next_cursor']}"
        assert found == buried
        (shown,) = (await shop.get(f"{path}/{buried[0]}")).data
        assert shown["consumer"] == "orders"
        assert (await shop.call("DELETE", f"{path}/{buried[0]}")).status == 204
        assert (await shop.call("DELETE", f"{path}/{buried[0]}")).status == 404
        assert (await shop.get(f"{path}?limit=0")).status == 400


def test_health_tells_of_every_service(running: Split) -> None:
    report: dict[str, Any] = {}

    def is_well() -> bool:
        report.update(msgspec.json.decode(asked(running.port, "/health")[1]))
        return bool(report["status"] == "ok")

    # A service that is slow to say that it is well is told to be failing.
    wait_until(is_well)
    assert set(report["checks"]) == {"users", "products", "orders", "payments", "notifications"}


def test_without_a_broker_it_is_said_that_events_wait(running: Split) -> None:
    assert "MERCATO_BROKER_URL" in running.out


# Failures


async def until_answered(shop: Shopper, path: str) -> Answer:
    """Ask until there is an answer: a circuit that is open stays so for half a minute."""
    async with asyncio.timeout(45):
        while True:
            answer = await shop.get(path)
            if answer.status != 503:
                return answer
            await asyncio.sleep(0.1)


async def test_a_service_that_dies_is_away_and_comes_back_and_the_others_go_on(tmp_path: Path) -> None:
    with split(tmp_path) as running:
        store = await open_store(running, "tea")
        async with running.client(store.customer, "tea") as shop:
            users = running.service("users")
            users.suspend()
            gone = await shop.get("/api/v1/users/me", headers={"X-Request-Id": "gone"})
            products = await shop.get("/api/v1/products")
            orders = await shop.get("/api/v1/orders")
            users.kill()
            wait_until(lambda: [each.pid for each in running.services("users")] not in ([], [users.pid]))
            health = (await shop.get("/health")).json["checks"]

            back = await until_answered(shop, "/api/v1/users/me")

        assert gone.status == 503
        assert int(gone.headers["retry-after"]) >= 1
        assert products.status == orders.status == 200, "known tokens and stores are enough"
        assert health["orders"] == "ok"
        assert "ended, and is started again" in running.err
        assert back.data["email"] == "customer@tea.example"
    assert running.process.returncode == 0


def test_ctrl_c_stops_all_in_order_once(tmp_path: Path) -> None:
    with split(tmp_path) as running:
        children = psutil.Process(running.process.pid).children(recursive=True)
        running.process.send_signal(signal.SIGINT)
        assert running.process.wait(STOP_DEADLINE_S) == 0
    assert not [child for child in children if child.is_running()]
    assert running.err.count('"event":"stopped"') == 6
    assert "started again" not in running.err


def test_nothing_is_left_when_the_supervisor_is_killed(tmp_path: Path) -> None:
    with split(tmp_path) as running:
        children = psutil.Process(running.process.pid).children(recursive=True)
        assert len(children) == 6
        running.process.kill()
        _, left = psutil.wait_procs(children, timeout=STOP_DEADLINE_S)
    assert left == []


def test_what_cannot_run_as_it_is_set_up_ends_all_with_a_sentence(tmp_path: Path) -> None:
    port = free_port()
    ended = subprocess.run(
        [sys.executable, "-m", "mercato", "up", "--split", "--port", str(port)],
        capture_output=True,
        text=True,
        timeout=60,
        cwd=tmp_path,
        env={**os.environ, "MERCATO_PAYMENT_PROVIDER": "stripe"},
        check=False,
    )

    assert ended.returncode == 2
    assert "MERCATO_STRIPE_KEY is not set" in ended.stderr
    assert "cannot run as it is set up" in ended.stderr


# Serving one


def test_the_gateway_alone_is_ready_and_says_that_services_are_away(tmp_path: Path) -> None:
    with serving("serve", "gateway", folder=tmp_path, port=free_port(), **places()) as gateway:
        assert gateway.ask("GET", "/health/ready")[0] == 200
        status, report = gateway.ask("GET", "/health")
        assert (status, report["status"], report["checks"]["users"]) == (200, "degraded", "failing")
        for _ in range(3):
            status, answer = gateway.ask("GET", "/api/v1/orders")
            assert (status, answer["error"]["code"]) == (503, "SERVICE_UNAVAILABLE")
        status, answer = gateway.ask("GET", "/api/v1/orders")
        assert (status, answer["error"]["code"]) == (503, "CIRCUIT_OPEN")


@pytest.mark.parametrize("service", ["users", "products", "orders", "payments"])
def test_a_service_is_ready_without_its_neighbours(tmp_path: Path, service: str) -> None:
    with serving("serve", service, folder=tmp_path, MERCATO_CLUSTER_SECRET="s" * 32) as alone:
        assert alone.ask("GET", "/health/ready")[0] == 200
        assert alone.ask("POST", "/internal/v1/books", {})[0] == 401


def test_without_a_secret_there_are_no_internal_paths(tmp_path: Path) -> None:
    with serving("serve", "orders", folder=tmp_path) as alone:
        assert alone.ask("POST", "/internal/v1/books", {})[0] == 404


def test_several_workers_need_postgres_and_a_secret_needs_length(tmp_path: Path) -> None:
    for variables, named in (
        ({"MERCATO_WORKERS": "2"}, "MERCATO_DATABASE_URL"),
        ({"MERCATO_CLUSTER_SECRET": "short"}, "MERCATO_CLUSTER_SECRET"),
    ):
        ended = subprocess.run(
            [sys.executable, "-m", "mercato", "serve", "orders", "--port", str(free_port())],
            capture_output=True,
            text=True,
            timeout=60,
            cwd=tmp_path,
            env={**os.environ, **variables},
            check=False,
        )
        assert ended.returncode == 2
        assert named in ended.stderr
