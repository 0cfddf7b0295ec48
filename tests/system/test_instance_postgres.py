"""An instance's file and PostgreSQL: from a laptop onto a server, from a server into a file, and back."""

import asyncio
import gzip
import hashlib
import json
import sqlite3
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import pytest

from mercato.cli.common import Refused
from mercato.cli.instance import read, write
from mercato.runtime.folder import SCHEMAS
from mercato.runtime.instance import from_server, onto_server
from mercato.runtime.instance.databases import LEASE
from mercato.runtime.instance.server import PLACES, described
from mercato.runtime.instance.server import tables_at as tables_of
from tests import postgres_server
from tests.commands import mercato
from tests.engines import need
from tests.postgres_server import PostgresServer
from tests.rows import at_rest
from tests.running import Platform, Store, add_product, open_store, order_of
from tests.server_rows import as_superuser, ask, everything
from tests.system.test_purge_postgres import PARK
from tests.system.test_stores_life import trade
from tests.waiting import until

KEYED = order_of("LAMP-0")
"""An order that is sent again after the move, with its key."""


@pytest.fixture(scope="module")
def server() -> PostgresServer:
    need("postgres")
    return postgres_server.shared()


@pytest.fixture
def environ(server: PostgresServer) -> dict[str, str]:
    """Databases of one's own, migrated and empty."""
    return server.environ_of_platform()


@dataclass
class Laptop:
    """An instance on SQLite: its export, and what was open with it."""

    path: Path
    store: Store
    refresh_token: str
    kept: bytes
    """The answer to the order that was sent with a key."""

    @property
    def lines(self) -> list[bytes]:
        return gzip.decompress(self.path.read_bytes()).splitlines(keepends=True)


@pytest.fixture(scope="module")
def laptop(server: PostgresServer, tmp_path_factory: pytest.TempPathFactory) -> Laptop:
    folder = tmp_path_factory.mktemp("laptop")
    platform = Platform(folder)
    platform.start()
    try:
        return asyncio.run(_trade_and_export(platform))
    finally:
        assert platform.stop() == 0


async def _trade_and_export(platform: Platform) -> Laptop:
    store = await open_store(platform, "moved")
    await trade(platform, store)
    async with platform.client(store.customer) as shop:
        kept = await shop.post("/api/v1/orders", KEYED, key="sent again")
        pair = {"email": "customer@moved.example", "password": "customer-password"}
        async with platform.client(store="moved") as anybody:
            session = (await anybody.post("/api/v1/users/login", pair)).data
    await at_rest(platform)
    ended = await asyncio.to_thread(platform.command, "export", "--out", "laptop.gz")
    assert ended.returncode == 0, ended.stderr
    return Laptop(platform.folder / "laptop.gz", store, session["refresh_token"], kept.body)


def rows_of(content: bytes) -> dict[str, list[bytes]]:
    """Return the rows of a file, by table; of what tells of an import, nothing."""
    found: dict[str, list[bytes]] = {}
    table: list[bytes] = []
    for line in gzip.decompress(content).splitlines():
        if line.startswith(b"["):
            if b"default/audit/instance:" not in line:
                table.append(line)
        elif (told := json.loads(line))["kind"] == "table":
            table = found.setdefault(f"{told['database']}.{told['name']}", [])
    return {name: sorted(rows) for name, rows in found.items() if rows}


def test_both_engines_have_the_same_tables_but_for_what_is_known(environ: dict[str, str]) -> None:
    async def there(name: str) -> dict[str, set[str]]:
        place = PLACES[name]
        connection = await as_superuser(environ, place.service)
        rows = await connection.fetch(
            "SELECT table_name::text, column_name::text FROM information_schema.columns"
            " WHERE table_schema = $1",
            place.schema,
        )
        names = await tables_of(connection, place)
        await connection.close()
        return {table: {c for t, c in rows if t == table} for table in names}

    only: set[str] = set()
    for name in PLACES:
        here = {table: set(kind.columns) for table, kind in described(name).items()}
        on_server = asyncio.run(there(name))
        only |= {f"{name}.{table}" for table in here.keys() ^ on_server.keys()}
        for table in here.keys() & on_server.keys():
            assert here[table] == on_server[table], table
    derived = {"users.user_terms", "products.product_terms"}
    # The webhooks' secret is a file's own; elsewhere the keys give one.
    assert only == derived | {"sandbox.secrets"} | {f"{name}.{LEASE}" for name in SCHEMAS}


async def test_a_laptops_instance_goes_on_on_a_server(
    laptop: Laptop, environ: dict[str, str], tmp_path: Path
) -> None:
    ended = mercato("import", str(laptop.path), "--data", "data", "--json", folder=tmp_path, **environ)
    assert ended.json["balanced"], ended
    platform = Platform(tmp_path, environ)
    assert platform.command("export", "--out", "again.gz").returncode == 0
    again = rows_of((tmp_path / "again.gz").read_bytes())
    before = rows_of(laptop.path.read_bytes())
    # What a file's webhooks are signed with; on a server the keys give that.
    before.pop("sandbox.secrets")
    assert again == before

    platform.start()
    try:
        async with platform.client(laptop.store.customer) as shop:
            assert (await shop.get("/api/v1/orders")).json["meta"]["total_count"] == 5
            found = await shop.get("/api/v1/products?search=lamp")
            assert {each["sku"] for each in found.data} == {"LAMP-0", "LAMP-1", "LAMP-2"}
            people = await shop.get("/api/v1/users?search=carl", token=laptop.store.admin)
            assert [each["first_name"] for each in people.data] == ["Carl"]
            replayed = await shop.post("/api/v1/orders", KEYED, key="sent again")
            assert (replayed.status, replayed.body) == (201, laptop.kept)
            assert replayed.headers["idempotent-replayed"] == "true"
            refreshed = await shop.post(
                "/api/v1/users/token/refresh", {"refresh_token": laptop.refresh_token}
            )
            assert refreshed.status == 200
            await add_product(shop, laptop.store, "NEW", stock=2)
            order = (await shop.post("/api/v1/orders", order_of("NEW"))).data["id"]
            payment = (await shop.post("/api/v1/payments", {"order_id": order, "method": "card"})).data["id"]
            await shop.post(f"/api/v1/payments/{payment}/process", {})
            await shop.until(f"/api/v1/orders/{order}", "status", "confirmed")
        platform.assert_balanced()
    finally:
        assert platform.stop() == 0


async def test_what_is_exported_of_a_busy_server_is_of_one_moment(
    environ: dict[str, str], tmp_path: Path
) -> None:
    platform = Platform(tmp_path, environ)
    platform.start()
    try:
        store = await open_store(platform, "busy")
        gone = asyncio.Event()
        async with platform.client(store.customer) as shop:
            product = await add_product(shop, store, "LAMP", stock=100_000)

            async def buyer() -> int:
                bought = 0
                while not gone.is_set():
                    order = (await shop.post("/api/v1/orders", order_of(product))).data["id"]
                    wanted = {"order_id": order, "method": "card"}
                    payment = (await shop.post("/api/v1/payments", wanted)).data["id"]
                    await shop.post(f"/api/v1/payments/{payment}/process", {})
                    bought += 1
                return bought

            buying = [asyncio.create_task(buyer()) for _ in range(4)]
            for number in range(4):
                words = ["export", "--out", f"{number}.gz"]
                ended = await asyncio.to_thread(platform.command, *words)
                assert ended.returncode == 0, ended.stderr
            gone.set()
            assert sum(await asyncio.gather(*buying)) > 10
        platform.assert_balanced()
    finally:
        assert platform.stop() == 0
    for number in range(4):
        imported = ("import", f"{number}.gz", "--data", f"copy-{number}", "--json")
        assert mercato(*imported, folder=tmp_path).json["balanced"]
    # The whole way round: the last file, from a folder, and from a server.
    assert mercato("export", "--data", "copy-3", "--out", "folder.gz", folder=tmp_path).code == 0
    of_folder = rows_of((tmp_path / "folder.gz").read_bytes())
    of_folder.pop("sandbox.secrets", None)
    assert of_folder == rows_of((tmp_path / "3.gz").read_bytes())


def unsent_in(content: bytes) -> set[tuple[str, int]]:
    """Return the orders' events that a file says are to be sent."""
    found = [json.loads(row) for row in rows_of(content)["orders.outbox"]]
    columns = list(described("orders")["outbox"].columns)
    rows = [dict(zip(columns, row, strict=True)) for row in found]
    return {(row["key"], row["sequence"]) for row in rows if row["sent_at"] is None}


async def test_an_event_that_was_in_the_broker_is_sent_again_by_the_copy(
    laptop: Laptop, environ: dict[str, str], tmp_path: Path
) -> None:
    async def sql(service: str, statement: str, *values: object) -> list[Any]:
        return await asyncio.to_thread(ask, environ, service, statement, *values)

    assert mercato("import", str(laptop.path), "--data", "data", folder=tmp_path, **environ).code == 0
    await sql("orders", "UPDATE outbox SET sent_at = 1")
    (lost, last), (parked, number) = await sql(
        "payments",
        "UPDATE inbox_positions SET sequence = sequence - 1 WHERE key IN"
        " (SELECT key FROM inbox_positions WHERE key LIKE 'moved/order/%' LIMIT 2)"
        " RETURNING key, sequence + 1",
    )
    await sql("payments", PARK, "parked", "moved", parked, number)

    exported = mercato("export", "--data", "data", "--out", "out.gz", folder=tmp_path, **environ)
    assert exported.code == 0, exported.err
    assert unsent_in((tmp_path / "out.gz").read_bytes()) == {(lost, last)}

    copy = Platform(tmp_path)
    (tmp_path / "data").rename(tmp_path / "keys of the server")
    assert mercato("import", "out.gz", "--data", "data", folder=tmp_path).code == 0
    copy.start()
    try:
        await until(lambda: _position(copy.data, lost) == last)
    finally:
        assert copy.stop() == 0


def _position(data: Path, key: str) -> int:
    with closing(sqlite3.connect(data / "payments.db")) as connection:
        (found,) = connection.execute("SELECT sequence FROM inbox_positions WHERE key = ?", (key,)).fetchone()
    return int(found)


@pytest.fixture
def here(environ: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory of this process, with the settings that name the databases."""
    monkeypatch.chdir(tmp_path)
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    return tmp_path


def refusal(path: Path, folder: str = "data") -> str:
    with pytest.raises(Refused) as refused:
        read(str(path), data=folder, json=True)
    sentence = str(refused.value)
    assert sentence.endswith(".")
    assert "\n" not in sentence
    return sentence


def assert_nothing_there(environ: dict[str, str], folder: Path) -> None:
    rows = {
        name: found for name, found in everything(environ).items() if not name.endswith("alembic_version")
    }
    assert {name for name, found in rows.items() if found} == set()
    assert not (folder / "data").exists()


def changed(laptop: Laptop, name: bytes) -> bytes:
    """Return the file with another name of a product, and its end made right."""
    *kept, end = [line.replace(b"Product LAMP-1", name) for line in laptop.lines]
    last = msgspec.json.decode(end) | {"sha256": hashlib.sha256(b"".join(kept)).hexdigest()}
    return gzip.compress(b"".join(kept) + msgspec.json.encode(last) + b"\n")


def test_what_postgres_cannot_keep_is_refused_and_nothing_is_there(
    laptop: Laptop, environ: dict[str, str], here: Path
) -> None:
    for odd, why in ((b"Product\\u0000 LAMP-1", "0x00"), (b"P" * 300, "too long")):
        (here / "odd.gz").write_bytes(changed(laptop, odd))
        sentence = refusal(here / "odd.gz")
        assert sentence.startswith("PostgreSQL refuses one of rows 1 to ")
        assert why in sentence
        assert_nothing_there(environ, here)


def test_a_damaged_file_leaves_nothing(laptop: Laptop, environ: dict[str, str], here: Path) -> None:
    whole = laptop.path.read_bytes()
    (here / "cut.gz").write_bytes(whole[: len(whole) // 2])
    assert "is cut short" in refusal(here / "cut.gz")
    assert_nothing_there(environ, here)


def test_only_empty_databases_that_nobody_works_on_are_filled(
    laptop: Laptop, environ: dict[str, str], here: Path
) -> None:
    platform = Platform(here, environ)
    platform.start()
    in_use = refusal(laptop.path, "elsewhere")
    assert platform.stop() == 0
    assert in_use.startswith("A Mercato runs on the ")
    assert "keys already holds data" in refusal(laptop.path)
    holding = refusal(laptop.path, "elsewhere")
    assert holding.startswith("The databases hold data already (users.")
    assert "`mercato migrate down --service SERVICE --to base`" in holding
    for service in SCHEMAS:
        down = mercato("migrate", "down", "--service", service, "--to", "base", folder=here, **environ)
        assert down.code == 0, down.err
    read(str(laptop.path), data="elsewhere", json=True)


def test_without_its_owner_nothing_is_filled(
    laptop: Laptop, environ: dict[str, str], here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MERCATO_DATABASE_OWNER_URL")
    ended = mercato("import", str(laptop.path), folder=here, **{**environ, "MERCATO_DATABASE_OWNER_URL": ""})
    assert ended.refusal == "MERCATO_DATABASE_OWNER_URL is not set, which MERCATO_DATABASE_URL needs."
    assert not (here / "mercato-data").exists()


@pytest.mark.parametrize("committed", [0, 2])
def test_a_server_that_goes_away_at_the_end_is_told_with_what_to_do(
    committed: int, laptop: Laptop, environ: dict[str, str], here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = onto_server.Filled.commit
    victim = [name for name in SCHEMAS if name != "users"][committed]

    async def commit(self: onto_server.Filled) -> None:
        pid = await self._connections[victim].fetchval("SELECT pg_backend_pid()")
        superuser = await as_superuser(environ, victim)
        await superuser.execute("SELECT pg_terminate_backend($1, 5000)", pid)
        await superuser.close()
        await whole(self)

    monkeypatch.setattr(onto_server.Filled, "commit", commit)
    sentence = refusal(laptop.path)
    if committed == 0:
        assert "cannot be used" in sentence
        assert_nothing_there(environ, here)
    else:
        assert sentence.startswith(
            "PostgreSQL went away when only products, orders had their data; empty these"
        )
        assert ask(environ, "users", "SELECT 1 FROM tenants") == [], "nobody trades there"
        assert not (here / "data").exists()
    monkeypatch.undo()
    for service in ("products", "orders"):
        mercato("migrate", "down", "--service", service, "--to", "base", folder=here, **environ)
    ended = mercato("import", str(laptop.path), "--data", "data", "--json", folder=here, **environ)
    assert ended.json["balanced"]


def test_a_transaction_that_never_ends_keeps_an_export_from_its_moment(
    laptop: Laptop, environ: dict[str, str], here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read(str(laptop.path), data="data", json=True)
    monkeypatch.setattr(from_server, "STILL_S", 0.0)
    monkeypatch.setattr(from_server, "_LOCK_MS", 50)

    async def hold() -> None:
        connection = await as_superuser(environ, "orders")
        await connection.execute("BEGIN; UPDATE orders SET notes = notes")
        await asyncio.to_thread(refused)
        await connection.execute("COMMIT")
        await connection.close()

    def refused() -> None:
        with pytest.raises(Refused, match="The database orders stays locked by a transaction"):
            write(out="out.gz", data="data", json=True)

    asyncio.run(hold())
    assert not (here / "out.gz").exists()
    write(out="out.gz", data="data", json=True)
    held = "SELECT count(*) FROM pg_locks WHERE mode = 'ShareLock' AND locktype = 'relation'"
    assert ask(environ, "orders", held)[0][0] == 0


def test_an_export_without_the_keys_is_refused(environ: dict[str, str], tmp_path: Path) -> None:
    refused = mercato("export", folder=tmp_path, **environ).refusal
    assert refused.startswith("There are no signing keys in ")
    assert list(tmp_path.iterdir()) == []
