"""An instance and its copy answer alike, and what was under way in the one comes to its end in the other."""

import sqlite3
from collections import defaultdict
from collections.abc import Iterator
from contextlib import closing
from itertools import product as combinations
from pathlib import Path
from typing import Any

import pytest

from mercato.kernel.clock import utc_now
from mercato.runtime.app import contract_of
from mercato.runtime.embedded import Embedded
from mercato.runtime.settings import Settings
from mercato.web.endpoint import Endpoint
from tests.commands import Server, mercato, serving, wait_until
from tests.modes import DATA_FOLDER
from tests.rows import at_rest
from tests.running import Platform, Shopper, Store, add_product, items_of, open_store, order_of

pytestmark = DATA_FOLDER

REQUEST = {"X-Request-Id": "compared"}
VOLATILE = {"GET /api/v1/audit-log"}
"""What the import itself adds to."""


@pytest.fixture
def copy(own_platform: Platform) -> Iterator[Platform]:
    """A second platform, not there yet."""
    folder = own_platform.folder / "copy"
    folder.mkdir()
    running = Platform(folder)
    yield running
    if running.process is not None and running.process.poll() is None:
        running.stop()


def move(source: Platform, copy: Platform) -> dict[str, Any]:
    """Export an instance and import it elsewhere; return what the import says."""
    out = copy.folder / "moved.export.gz"
    exported = source.command("export", "--out", str(out))
    assert exported.returncode == 0, exported.stderr
    said: dict[str, Any] = mercato(
        "import", str(out), "--data", str(copy.data), "--json", folder=copy.folder
    ).json
    return said


def declared(folder: Path) -> list[Endpoint]:
    """Return every endpoint that reads."""
    process = Embedded(Settings(data=str(folder))).process
    return [each for each in contract_of(process, utc_now) if each.method == "GET"]


async def trade(platform: Platform, name: str) -> tuple[Store, str]:
    """Open a store in which a bit of everything has happened; return it with a refresh token."""
    store = await open_store(platform, name)
    async with platform.client(store.customer) as shop:
        products = [await add_product(shop, store, f"LAMP-{n}", stock=9) for n in range(3)]
        await shop.call("DELETE", f"/api/v1/products/{products[2]}", token=store.admin)
        for token in ("tok_visa", "tok_declined", None):
            order = (await shop.post("/api/v1/orders", order_of(products[0]), key=f"order-{token}")).data[
                "id"
            ]
            if token is None:
                await shop.post(f"/api/v1/orders/{order}/cancel", {"reason": "too late"})
                continue
            wanted = {"order_id": order, "method": "card", "token": token}
            payment = (await shop.post("/api/v1/payments", wanted)).data["id"]
            await shop.post(f"/api/v1/payments/{payment}/process", {})
            if token == "tok_visa":
                await shop.until(f"/api/v1/orders/{order}", "status", "confirmed")
                await shop.post(f"/api/v1/payments/{payment}/refund", {"amount": 2}, token=store.admin)
                await shop.until(f"/api/v1/orders/{order}", "payment_status", "partially_refunded")
        till = {"name": "Till", "scopes": ["orders:read"]}
        await shop.post("/api/v1/api-clients", till, token=store.admin)
        gone = {"email": "gone@e.example", "password": "password123", "first_name": "G", "last_name": "One"}
        user = (await shop.post("/api/v1/users", gone, token=store.admin)).data["id"]
        await shop.call("DELETE", f"/api/v1/users/{user}", token=store.admin)
        login = {"email": f"customer@{name}.example", "password": "customer-password"}
        signed_in = await shop.post("/api/v1/users/login", login, headers={"X-Tenant-Id": name})
    return store, str(signed_in.data["refresh_token"])


async def all_that_can_be_read(
    shop: Shopper, endpoints: list[Endpoint], callers: list[dict[str, Any]]
) -> dict[str, bytes]:
    """Return every answer to every GET, of every list and each object in it, for each caller."""
    found: dict[str, bytes] = {}
    for number, caller in enumerate(callers):
        ids: defaultdict[str, set[str]] = defaultdict(set)
        for endpoint in sorted(endpoints, key=lambda each: len(each.path_parameters)):
            names = endpoint.path_parameters
            for values in combinations(*(sorted(ids[name]) for name in names)):
                path = endpoint.path.format(**dict(zip(names, values, strict=True)))
                answer = await shop.get(path + ("?limit=100" if is_list(endpoint) else ""), **caller)
                found[f"{number} {path}"] = answer.body
                if not names and is_list(endpoint) and answer.status == 200:
                    name = f"{endpoint.resource.removesuffix('s')}_id"
                    ids[name] |= {each["id"] for each in items_of(answer) if "id" in each}
    return found


def is_list(endpoint: Endpoint) -> bool:
    return "limit" in endpoint.query_type.__struct_fields__


async def test_every_answer_of_the_copy_is_that_of_the_source(own_platform: Platform, copy: Platform) -> None:
    own_platform.start()
    endpoints = declared(own_platform.folder / "declared")
    stores = [await trade(own_platform, name) for name in ("one", "two")]
    operator = {"email": "op@e.example", "password": "operator-password"}
    flags = [word for name, value in operator.items() for word in (f"--{name}", value)]
    assert own_platform.command("tenants", "create-operator", *flags).returncode == 0
    async with own_platform.client() as anybody:
        token = (await anybody.post("/api/v1/users/login", operator)).data["token"]
    callers = [
        {"token": each, "headers": REQUEST} for store, _ in stores for each in (store.admin, store.customer)
    ]
    callers += [{"token": token, "headers": REQUEST | {"X-Tenant-Id": name}} for name in ("one", "default")]
    compared = [each for each in endpoints if each.route not in VOLATILE and each.is_described]
    await at_rest(own_platform)

    assert move(own_platform, copy)["balanced"]
    copy.start()

    async with own_platform.client() as here, copy.client() as there:
        source = await all_that_can_be_read(here, compared, callers)
        copied = await all_that_can_be_read(there, compared, callers)
        assert len(source) > 150
        assert {path for path in source if source[path] != copied.get(path)} == set()
        assert set(copied) == set(source)
        for query in ("search=lamp", "search=lamp+2", "sku=LAMP-1", "in_stock=true&sort=-price"):
            lists = [
                await shop.get(f"/api/v1/products?{query}", headers={"X-Tenant-Id": "one"})
                for shop in (here, there)
            ]
            assert lists[0].body == lists[1].body
        found = (await there.get("/api/v1/products?search=lamp", headers={"X-Tenant-Id": "one"})).data
        assert len(found) == 2
        log = "/api/v1/audit-log?limit=100"
        ours, theirs = [await shop.get(log, token=stores[0][0].admin) for shop in (here, there)]
        assert ours.data == theirs.data
        assert len(ours.data) > 5
        ours, theirs = [await shop.get(log, token=token) for shop in (here, there)]
        imported, *rest = theirs.data
        assert rest == ours.data
        assert (imported["action"], imported["actor"]) == ("instance_import", "command line")
        found = (await there.get("/api/v1/users?search=carl", token=stores[0][0].admin)).data
        assert [each["email"] for each in found] == ["customer@one.example"]


async def test_people_and_machines_go_on_in_the_copy(own_platform: Platform, copy: Platform) -> None:
    own_platform.start()
    store, refresh = await trade(own_platform, "one")
    async with own_platform.client(store.customer) as shop:
        placed = await shop.post("/api/v1/orders", order_of("LAMP-1"), key="same-order")
        pair = (
            await shop.post(
                "/api/v1/api-clients", {"name": "R", "scopes": ["orders:read"]}, token=store.admin
            )
        ).data
    assert own_platform.command("keys", "rotate").returncode == 0
    move(own_platform, copy)
    copy.start()

    async with copy.client(store.customer, store="one") as shop:
        again = await shop.post("/api/v1/orders", order_of("LAMP-1"), key="same-order")
        assert (again.body, again.headers["idempotent-replayed"]) == (placed.body, "true")
        other = await shop.post("/api/v1/orders", order_of("LAMP-1", 2), key="same-order")
        assert other.code == "IDEMPOTENCY_KEY_REUSED"
        login = {"email": "customer@one.example", "password": "customer-password"}
        assert (await shop.post("/api/v1/users/login", login)).status == 200
        assert (await shop.post("/api/v1/users/login", login | {"password": "wrong-password"})).status == 401
        machine = {name: pair[name] for name in ("client_id", "client_secret")}
        assert (await shop.post("/api/v1/auth/token", machine)).status == 200
        jwks = (await shop.get("/.well-known/jwks.json")).json["keys"]
        assert len(jwks) == 2
        # The last, since a refresh token that is used again ends all that its user has.
        used = {"refresh_token": refresh}
        renewed = await shop.post("/api/v1/users/token/refresh", used)
        assert renewed.status == 200
        assert (await shop.post("/api/v1/users/token/refresh", used)).status == 401
    names = {each.name for each in (own_platform.data / "keys").iterdir()}
    assert {each.name for each in (copy.data / "keys").iterdir()} == names


async def test_payments_under_way_are_taken_up_in_the_copy(own_platform: Platform, copy: Platform) -> None:
    own_platform.environ["MERCATO_PROVIDER_TIMEOUT"] = "1"
    own_platform.start()
    store = await open_store(own_platform, "one")
    outcomes = {"tok_lost": "success", "tok_timeout": "failed"}
    payments = {}
    async with own_platform.client(store.customer) as shop:
        lamp = await add_product(shop, store, "LAMP", stock=9)
        for token in outcomes:
            order = (await shop.post("/api/v1/orders", order_of(lamp))).data["id"]
            wanted = {"order_id": order, "method": "card", "token": token}
            payments[token] = (await shop.post("/api/v1/payments", wanted)).data["id"]
            await shop.post(f"/api/v1/payments/{payments[token]}/process", {})
        own_platform.kill()
        with closing(sqlite3.connect(own_platform.data / "payments.db")) as left:
            under_way = left.execute("SELECT count(*) FROM payments WHERE status = 'processing'").fetchone()[
                0
            ]
    assert under_way >= 1, "nothing was left under way"

    said = move(own_platform, copy)

    assert said["balanced"]
    assert said["report"]["open"] >= 1
    copy.start()
    async with copy.client(store.customer) as shop:
        for token, outcome in outcomes.items():
            await shop.until(f"/api/v1/payments/{payments[token]}", "status", outcome)
    copy.assert_balanced()


def test_events_that_waited_have_their_effect_once_in_the_copy(tmp_path: Path) -> None:
    assert mercato("migrate", "up", folder=tmp_path).code == 0
    words = ["--email", "op@e.example", "--password", "operator-password"]
    assert mercato("tenants", "create-operator", *words, folder=tmp_path).code == 0
    with serving("up", folder=tmp_path) as server:
        token = operator_of(server)
        made = {"sku": "MUG", "name": "Mug", "price": 5, "stock": 1}
        mug = server.ask("POST", "/api/v1/products", made, token=token)[1]["data"]["id"]
    with serving("serve", "products", folder=tmp_path) as server:
        # Its neighbours are away, so its events wait.
        for price in (6, 7):
            changed = server.ask("PATCH", f"/api/v1/products/{mug}", {"price": price}, token=token)
            assert changed[0] == 200, changed
        assert mercato("export", "--out", "waiting.gz", folder=tmp_path).code == 0
    # Two of the product, and two that tell who changed it.
    assert mercato("outbox", "--json", folder=tmp_path).json["products"]["unsent"] == 4

    assert mercato("import", "waiting.gz", "--data", "copy", folder=tmp_path).code == 0

    assert mercato("outbox", "--data", "copy", "--json", folder=tmp_path).json["products"]["unsent"] == 4
    orders = tmp_path / "copy" / "orders.db"
    with serving("up", "--data", "copy", folder=tmp_path):
        wait_until(lambda: query(orders, "SELECT price FROM catalogue WHERE sku = 'MUG'") == 700)
        wait_until(lambda: query(tmp_path / "copy" / "products.db", UNSENT) == 0)
        handled = f"SELECT sequence FROM inbox_positions WHERE key = 'default/product/{mug}'"
        assert query(orders, handled) == 3
        assert query(orders, "SELECT count(*) FROM inbox_parked") == 0
    assert mercato("reconcile", "--data", "copy", folder=tmp_path).code == 0


UNSENT = "SELECT count(*) FROM outbox WHERE sent_at IS NULL"


def query(path: Path, sql: str) -> int:
    with closing(sqlite3.connect(path)) as connection:
        return int(connection.execute(sql).fetchone()[0])


def operator_of(server: Server) -> str:
    """Return the token of an operator, whose home is the store `default`."""
    login = {"email": "op@e.example", "password": "operator-password"}
    return str(server.ask("POST", "/api/v1/users/login", login)[1]["data"]["token"])


def test_an_older_schema_is_exported_as_it_is_and_imported_as_a_new_one(tmp_path: Path) -> None:
    assert mercato("migrate", "up", folder=tmp_path).code == 0
    for service in ("users", "products", "orders", "payments"):
        to = f"{service}_0001"
        down = mercato("migrate", "down", "--service", service, "--to", to, folder=tmp_path)
        assert down.code == 0, down
    data = tmp_path / "mercato-data"
    with closing(sqlite3.connect(data / "users.db")) as users, users:
        users.execute("INSERT INTO tenants VALUES ('old', 'Old', 'USD', 'basic', 'active', 1, 1, 1)")
        users.execute(
            "INSERT INTO users (tenant_id, id, email, email_key, first_name, last_name, role, is_active,"
            " password_hash, created_at, updated_at, version)"
            " VALUES ('old', '01a214d4-9d81-74d1-a15a-7a02bfdaf0b5', 'ann@e.cc', 'ann@e.cc', 'Ann', 'Lee',"
            " 'customer', 1, 'x', 1, 1, 1)"
        )
    assert mercato("export", "--out", "old.gz", folder=tmp_path).code == 0
    assert (
        query(data / "users.db", "SELECT count(*) FROM alembic_version WHERE version_num = 'users_0001'") == 1
    )

    assert mercato("import", "old.gz", "--data", "new", folder=tmp_path).code == 0

    revisions = mercato("migrate", "status", "--data", "new", "--json", folder=tmp_path).json
    assert all(each["revision"] == each["head"] for each in revisions)
    found = "SELECT count(*) FROM user_words WHERE user_words MATCH '\"old_ann\"'"
    assert query(tmp_path / "new" / "users.db", found) == 1
