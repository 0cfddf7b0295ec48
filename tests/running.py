"""A running platform: a process of its own on a free port and a folder of its own."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from functools import cache
from http.client import HTTPConnection
from itertools import cycle, islice
from pathlib import Path
from typing import Any, Protocol, Self

import msgspec
import psutil
from pyreqwest.client import Client, ClientBuilder
from pyreqwest.exceptions import RequestError

from mercato.runtime.settings import Settings, load

SPLIT = os.environ.get("TEST_MODE") == "split"
"""Whether platforms run as a process per service."""
ON_POSTGRES = os.environ.get("TEST_DATABASE") == "postgres"
"""Whether platforms of one process keep their data on PostgreSQL."""
SERVICES = ("users", "products", "orders", "payments", "notifications")
_PROCESSES = SERVICES if SPLIT else ()
"""Whose checks the health of the gateway has."""
START_DEADLINE_S = 60.0 if SPLIT else 30.0
STOP_DEADLINE_S = 40.0
_PORTS = range(10_000, 32_768)
"""Below those that a system gives to whoever asks for any."""
_BLOCK = 512


class Down(Exception):
    """The platform did not answer: it is not there, or was killed meanwhile."""


@dataclass(frozen=True)
class Answer:
    """What came back."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return msgspec.json.decode(self.body)

    @property
    def data(self) -> Any:
        assert self.status < 300, (self.status, self.body)
        return self.json["data"]

    @property
    def code(self) -> str:
        return str(self.json["error"]["code"])


def items_of(answer: Answer) -> Any:
    """Return the objects of a list in either dialect."""
    assert answer.status < 300, (answer.status, answer.body)
    return answer.json if isinstance(answer.json, list) else answer.json["data"]


@dataclass
class Platform:
    """`mercato up`, as a user starts it; where it is asked, `mercato up --split` on servers of the tests."""

    folder: Path
    environ: dict[str, str] = field(default_factory=dict)
    port: int = 0
    process: "subprocess.Popen[bytes] | None" = None
    engines: dict[str, str] | None = None
    """Settings of servers of the tests and of databases made on them; made when they are first asked for."""
    program: tuple[str, ...] = ("mercato", "up")
    """A module of Python, and its first words."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def data(self) -> Path:
        return self.folder / "data"

    def __post_init__(self) -> None:
        self.port = self.port or free_port()

    def environment(self) -> dict[str, str]:
        """Return what it is started with: where the tests are to run on servers, those too."""
        if self.engines is None:
            self.engines = self._servers()
        # Machines that run tests are slow at times, which is no overload.
        usual = {"MERCATO_LOG_FORMAT": "json", "MERCATO_QUEUE_DELAY": "20"}
        return {**os.environ, **usual, **self.engines, **self.environ}

    def _servers(self) -> dict[str, str]:
        if SPLIT:
            return _engines() | places()
        if not ON_POSTGRES or "MERCATO_DATABASE_URL" in self.environ:
            return {}
        from tests import postgres_server  # noqa: PLC0415  it imports this module

        return postgres_server.shared().environ_of_platform()

    def start(self) -> float:
        """Start it and wait until it is ready; return how many seconds that took."""
        environment = self.environment()
        began = time.perf_counter()
        with (self.folder / "log.txt").open("ab") as log:
            self.process = subprocess.Popen(
                [
                    *(sys.executable, "-m", *self.program, *(["--split"] if SPLIT else [])),
                    *("--port", str(self.port), "--data", str(self.data)),
                ],
                stdout=log,
                stderr=log,
                cwd=self.folder,
                env=environment,
            )
        while time.perf_counter() - began < START_DEADLINE_S:
            if self.process.poll() is not None:
                raise AssertionError(f"it ended with {self.process.returncode}: {self.log()[-2000:]}")
            if self._is_ready():
                return time.perf_counter() - began
            time.sleep(0.01)
        raise AssertionError(f"it did not get ready: {self.log()[-2000:]}")

    def _is_ready(self) -> bool:
        connection = HTTPConnection("127.0.0.1", self.port, timeout=5)
        try:
            # A gateway is ready without its services, and tells how they are.
            connection.request("GET", "/health" if SPLIT else "/health/ready")
            response = connection.getresponse()
            told = msgspec.json.decode(response.read())
            return response.status == 200 and all(told["checks"][each] == "ok" for each in _PROCESSES)
        except OSError:
            return False
        finally:
            connection.close()

    @property
    def settings(self) -> Settings:
        """What a process of one's own needs to work on its data."""
        names = ("MERCATO_DATABASE_URL", "MERCATO_DATABASE_SYSTEM_URL")
        environment = self.environment()
        return load({name: environment[name] for name in names if name in environment}, data=str(self.data))

    def kill(self) -> None:
        """Kill it as a power failure would, as far as a process can feel one."""
        assert self.process is not None
        for child in psutil.Process(self.process.pid).children(recursive=True):
            child.kill()
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(STOP_DEADLINE_S)

    def stop(self) -> int:
        """Stop it as an operator would; return its exit code."""
        assert self.process is not None
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self.process.wait(STOP_DEADLINE_S)

    def discard(self) -> None:
        """Stop it if it runs, and delete the databases that were made for it."""
        if self.process is not None:
            self.stop()
        made = (self.engines or {}).get("MERCATO_DATABASE_URL")
        if made is not None:
            from tests import postgres_server  # noqa: PLC0415  it imports this module

            postgres_server.shared().drop_all(made)

    def log(self) -> str:
        written = self.folder / "log.txt"
        return written.read_text(errors="replace") if written.exists() else ""

    def command(self, *words: str) -> "subprocess.CompletedProcess[str]":
        """Run a `mercato` command on its data folder."""
        return subprocess.run(
            [sys.executable, "-m", "mercato", *words, "--data", str(self.data)],
            capture_output=True,
            text=True,
            timeout=60,
            cwd=self.folder,
            env=self.environment(),
            check=False,
        )

    def assert_balanced(self) -> dict[str, Any]:
        """Assert that `mercato reconcile` finds the books balanced; return its report."""
        ended = self.command("reconcile", "--json", *(["--services"] if SPLIT else []))
        assert ended.returncode == 0, ended.stdout + ended.stderr
        report: dict[str, Any] = msgspec.json.decode(ended.stdout)
        return report

    def client(self, token: str | None = None, store: str | None = None, *, at: str = "gateway") -> "Shopper":
        """Return who calls the platform; `at` a service, where each is a process, that one directly."""
        return Shopper(self._url_of(at), token, store)

    def _url_of(self, process: str) -> str:
        if not SPLIT or process == "gateway":
            return self.url
        return self.environment()[f"MERCATO_{process.upper()}_URL"]

    def port_of(self, process: str) -> int:
        """Return where a process listens; in one process, all do at one port."""
        return int(self._url_of(process).rpartition(":")[2])

    def lines(self, process: str = "") -> list[dict[str, Any]]:
        """Return what was logged; of one process, where each service is one."""
        found = [msgspec.json.decode(line) for line in self.log().split("\n")[:-1] if line.startswith("{")]
        return [line for line in found if not SPLIT or process in ("", line.get("process"))]


class Shopper:
    """A client of a platform, with or without a token."""

    def __init__(self, url: str, token: str | None, store: str | None) -> None:
        self._url = url
        self._token = token
        self._store = store
        self._client: Client | None = None

    async def __aenter__(self) -> Self:
        self._client = ClientBuilder().timeout(timedelta(seconds=40)).build()
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._client is not None
        await self._client.close()

    async def call(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        key: str | None = None,
        token: str | None = None,
        headers: dict[str, str] | None = None,
    ) -> Answer:
        """Call the API. Raises Down if no answer comes."""
        given = {**(headers or {}), **({"Idempotency-Key": key} if key else {})}
        kind, content = ("application/json", msgspec.json.encode(body)) if body is not None else ("", b"")
        return await self.send(method, path, kind, content, token, given)

    async def send(
        self,
        method: str,
        path: str,
        kind: str,
        content: bytes,
        token: str | None = None,
        headers: dict[str, str] | None = None,
    ) -> Answer:
        """Send a body of any kind. Raises Down if no answer comes."""
        assert self._client is not None
        request = self._client.request(method, self._url + path)
        bearer = token or self._token
        if bearer:
            request = request.bearer_auth(bearer)
        if self._store:
            request = request.header("X-Tenant-Id", self._store)
        for name, value in (headers or {}).items():
            request = request.header(name, value)
        if kind:
            request = request.header("Content-Type", kind).body_bytes(content)
        try:
            response = await request.build().send()
            answered = bytes(await response.bytes())
        except RequestError as error:
            raise Down(str(error)) from None
        return Answer(response.status, {k.lower(): v for k, v in response.headers.items()}, answered)

    async def get(self, path: str, **options: Any) -> Answer:
        return await self.call("GET", path, **options)

    async def post(self, path: str, body: object = None, **options: Any) -> Answer:
        return await self.call("POST", path, body, **options)

    async def until(self, path: str, field_name: str, *wanted: object, within_s: float = 15.0) -> Any:
        """Get `path` until its field is one of the wanted values; return its data."""
        deadline = time.monotonic() + within_s
        while True:
            data = (await self.get(path)).data
            if data[field_name] in wanted:
                return data
            assert time.monotonic() < deadline, f"{field_name} is {data[field_name]}, not one of {wanted}"
            await asyncio.sleep(0.02)


@dataclass(frozen=True)
class Store:
    """A store that is open for business, and the tokens of those who may do things there."""

    id: str
    admin: str
    customer: str


class Clients(Protocol):
    """A platform, in one process or several, as those know it who call it."""

    @property
    def url(self) -> str: ...

    def client(self, token: str | None = None, store: str | None = None) -> Shopper: ...


async def open_store(platform: Clients, store: str) -> Store:
    """Open a store with an admin and a customer."""
    async with platform.client(store=store) as anybody:
        admin = {
            "email": f"admin@{store}.example",
            "password": "admin-password",
            "first_name": "Ada",
            "last_name": "Admin",
        }
        async with platform.client() as outside:
            opened = await outside.post("/api/v1/tenants", {"id": store, "name": store, "admin": admin})
        customer = {
            "email": f"customer@{store}.example",
            "password": "customer-password",
            "first_name": "Carl",
            "last_name": "Customer",
        }
        registered = await anybody.post("/api/v1/users/register", customer)
        return Store(store, opened.data["token"], registered.data["token"])


async def add_product(shop: Shopper, store: Store, sku: str, *, stock: int, price: float = 10.0) -> str:
    """Add a product and return its id."""
    product = {"sku": sku, "name": f"Product {sku}", "price": price, "stock": stock}
    return str((await shop.post("/api/v1/products", product, token=store.admin)).data["id"])


def order_of(product: str, quantity: int = 1) -> dict[str, Any]:
    """Return the body of an order for one product."""
    return {
        "items": [{"product_id": product, "quantity": quantity}],
        "shipping_address": "1 Harbour Street, 20457 Hamburg",
    }


def places() -> dict[str, str]:
    """Return settings that put each service at a port that nobody listens on now."""
    return {f"MERCATO_{name.upper()}_URL": f"http://127.0.0.1:{free_port()}" for name in SERVICES}


def _engines() -> dict[str, str]:
    from tests.split_engines import engines  # noqa: PLC0415  only where they are needed

    return engines()


def free_port() -> int:
    """Return a port that nobody listens on now, and that nobody else who runs tests is given."""
    # Who asks may take seconds until it listens there, and begins again at it after a stop.
    return next(port for port in islice(_own_ports(), _BLOCK) if _is_free(port))


@cache
def _own_ports() -> Iterator[int]:
    """Return the ports of a block over and over; it is this process's as long as its first port is held."""
    first = next(first for first in _PORTS[:-_BLOCK:_BLOCK] if _is_free(first, hold=True))
    return cycle(range(first + 1, first + _BLOCK))


def _is_free(port: int, *, hold: bool = False) -> bool:
    """Say whether a port can be bound to; with `hold`, it stays bound until this process ends."""
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        if hold:
            probe.detach()
        return True
