"""A store from its export to its end, by the commands an operator has."""

import asyncio
import json
import signal
import sqlite3
import stat
import subprocess
import sys
import time
from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from mercato.adapters.sql.tenant_rows import tables
from mercato.runtime import export
from mercato.runtime.embedded import Embedded
from mercato.runtime.folder import SCHEMAS
from mercato.runtime.settings import Settings
from mercato.web.paging import ListQuery
from tests.commands import mercato
from tests.modes import DATA_FOLDER, OWN_PROCESSES
from tests.running import Platform, Shopper, Store, add_product, open_store, order_of
from tests.waiting import until

NOT_A_STORES = {
    "/api/v1/tenants",
    "/api/v1/dead-letters",
    "/api/v1/orders/my-orders",
    "/api/v1/payments/my-payments",
    # Its mails have links in them, which are secrets; what they are about is told by notifications.
    "/api/v1/mailbox",
}
"""Lists of what is the platform's, or is listed elsewhere too."""


NO_STORES = {
    *(f"{service}.{table}" for service in SCHEMAS for table in ("alembic_version", "relay_lease")),
    # Ids of a provider's events, for as long as it may repeat them.
    "payments.notices",
}
"""Tables that hold nothing of any store."""


async def trade(platform: Platform, store: Store) -> None:
    """Leave something of every kind in a store."""
    async with platform.client(store.customer) as shop:
        for number in range(3):
            await add_product(shop, store, f"LAMP-{number}", stock=50)
        for number in range(4):
            placed = await shop.post("/api/v1/orders", order_of(f"LAMP-{number % 3}"), key=f"order-{number}")
            order = placed.data["id"]
            if number:
                payment = (await shop.post("/api/v1/payments", {"order_id": order, "method": "card"})).data
                await shop.post(f"/api/v1/payments/{payment['id']}/process", {})
                await shop.until(f"/api/v1/orders/{order}", "status", "confirmed")
        machine = {"name": "Warehouse", "scopes": ["products:read"]}
        await shop.post("/api/v1/api-clients", machine, token=store.admin, key="machine")
        await refund_one(shop, store)
        await until_mailed(shop, store)


async def until_mailed(shop: Shopper, store: Store) -> None:
    """Wait until every email about the trade is sent: two welcomes, and four orders, of which three paid."""
    deadline = time.monotonic() + 15
    while (await shop.get("/api/v1/notifications?status=sent", token=store.admin)).json["meta"][
        "total_count"
    ] < 10:
        assert time.monotonic() < deadline, "not every email was sent"
        await asyncio.sleep(0.02)


async def refund_one(shop: Shopper, store: Store) -> None:
    paid = (await shop.get("/api/v1/payments?status=success", token=store.admin)).data[0]
    path = f"/api/v1/payments/{paid['id']}/refund"
    assert (await shop.post(path, {"amount": 1}, token=store.admin, key="refund")).status == 200


def exported(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def everything(data: Path) -> dict[str, list[str]]:
    """Return every row of every table of every database, and every word of the full-text indexes, as text."""
    rows: dict[str, list[str]] = {}
    for path in data.glob("*.db"):
        with closing(sqlite3.connect(path)) as connection:
            tables = connection.execute(
                "SELECT name, type FROM pragma_table_list"
                " WHERE schema = 'main' AND type IN ('table', 'virtual')"
            ).fetchall()
            for table, kind in tables:
                if kind == "virtual":
                    connection.execute(
                        f"CREATE VIRTUAL TABLE temp.words_of_{table} USING fts5vocab(main, {table}, 'row')"
                    )
                source = f"temp.words_of_{table}" if kind == "virtual" else f'"{table}"'
                found = connection.execute(f"SELECT * FROM {source}").fetchall()
                rows[f"{path.stem}.{table}"] = [repr(row) for row in found]
    return rows


def marks_of(data: Path, tenant: str) -> list[str]:
    """Return what tells a store's rows: its id, as full-text indexes have it too, and those of its things."""
    return [tenant, tenant.replace("-", "\N{MIDDLE DOT}"), *sorted(ids_in(data, tenant))]


def left_of(data: Path, *marks: str) -> list[str]:
    """Return the rows that hold one of the marks, by table."""
    return [
        f"{table}: {row}"
        for table, rows in everything(data).items()
        for row in rows
        # That it was purged is told, in the store `default`.
        if any(m in row for m in marks) and "tenants_purge" not in row and "default/audit/tenant:" not in row
    ]


async def test_an_export_holds_all_that_a_store_owns_and_nothing_of_others(own_platform: Platform) -> None:
    own_platform.start()
    store, other = await open_store(own_platform, "exported"), await open_store(own_platform, "other")
    await trade(own_platform, store)
    await trade(own_platform, other)
    # It runs beside the platform.
    ended = own_platform.command("export", "--tenant", "exported", "--json")
    assert ended.returncode == 0, ended.stderr
    path = own_platform.folder / "exported.ndjson"
    lines = exported(path)
    counted = Counter(each["kind"] for each in lines)
    assert counted == {
        "tenant": 1,
        "user": 2,
        "api_client": 1,
        "product": 3,
        "inventory": 3,
        "order": 4,
        "timeline": 4,
        "payment": 3,
        "audit_entry": 5,
        "notification": 10,
    }
    assert json.loads(ended.stdout) == {
        "file": "exported.ndjson",
        "tenant_id": "exported",
        "objects": dict(counted),
    }
    assert {each["tenant_id"] for each in lines if "tenant_id" in each} == {"exported"}
    text = path.read_text()
    for secret in ("argon2", "password", "secret", "token", "other.example"):
        assert secret not in text, secret
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    async with own_platform.client(store.customer) as shop:
        order = next(each for each in lines if each["kind"] == "order")
        shown = (await shop.get(f"/api/v1/orders/{order['id']}")).data
        assert order == {"kind": "order", **shown}
    assert own_platform.stop() == 0
    again = own_platform.command("export", "--tenant", "exported", "--out", "again.ndjson")
    assert again.returncode == 0, again.stderr
    assert exported(own_platform.folder / "again.ndjson") == lines


async def test_an_export_has_more_than_a_page(own_platform: Platform) -> None:
    own_platform.start()
    store = await open_store(own_platform, "large")
    async with own_platform.client(store.admin) as shop:
        skus = [f"SKU-{number}" for number in range(130)]
        for sku in skus:
            await add_product(shop, store, sku, stock=1)
    assert own_platform.command("export", "--tenant", "large", "--out", "out.ndjson").returncode == 0
    lines = exported(own_platform.folder / "out.ndjson")
    assert [each["sku"] for each in lines if each["kind"] == "product"] == skus[::-1]


def test_an_export_that_fails_leaves_the_former_file(own_platform: Platform) -> None:
    own_platform.start()
    path = own_platform.folder / "nowhere.ndjson"
    path.write_text("as it was")
    ended = own_platform.command("export", "--tenant", "nowhere")
    assert (ended.returncode, ended.stderr) == (2, "mercato: There is no such store.\n")
    assert path.read_text() == "as it was"
    assert [each.name for each in own_platform.folder.iterdir() if each.name.startswith(".")] == []


@OWN_PROCESSES
def test_every_list_of_a_store_is_exported(tmp_path: Path) -> None:
    services = Embedded(Settings(data=str(tmp_path))).process.composition.services
    lists = {
        endpoint.path
        for parts in services.values()
        for endpoint in parts.routes.endpoints
        if endpoint.method == "GET"
        and not endpoint.path_parameters
        and issubclass(endpoint.query_type, ListQuery)
    }
    assert lists - NOT_A_STORES == set(export.LISTS.values())


@OWN_PROCESSES
async def test_every_table_is_a_stores_or_known_not_to_be(tmp_path: Path) -> None:
    platform = Embedded(Settings(data=str(tmp_path)))
    unscoped = {
        f"{service}.{table.name}"
        for service, parts in platform.process.composition.services.items()
        for table in await tables(parts.steps.db)
        if not table.is_scoped
    }
    await platform.process.close()
    assert unscoped == NO_STORES


@DATA_FOLDER
async def test_a_purged_store_leaves_no_row_and_its_id_is_free(own_platform: Platform) -> None:
    own_platform.start()
    store, other = await open_store(own_platform, "purge-me"), await open_store(own_platform, "stays")
    await trade(own_platform, store)
    await trade(own_platform, other)
    neighbour = own_platform.command("export", "--tenant", "stays", "--out", "before.ndjson")
    assert neighbour.returncode == 0, neighbour.stderr

    running = own_platform.command("tenants", "purge", "purge-me", "--yes")
    assert (running.returncode, running.stderr.count("\n")) == (2, 1)
    assert "is serving" in running.stderr
    closed = own_platform.command("tenants", "offboard", "purge-me", "--yes")
    assert closed.returncode == 0, closed.stderr
    assert own_platform.stop() == 0
    own_platform.assert_balanced()

    marks = marks_of(own_platform.data, "purge-me")
    assert {each.partition(":")[0] for each in left_of(own_platform.data, *marks)} >= {
        "users.tenants",
        "users.user_words",
        "users.outbox_sequences",
        "products.product_words",
        "products.stock_movements",
        "products.inbox_positions",
        "orders.claims",
        "orders.outbox",
        "payments.payments",
        "notifications.notifications",
        "notifications.mailbox",
        "sandbox.charges",
    }
    purged = own_platform.command("tenants", "purge", "purge-me", "--yes", "--json")
    assert purged.returncode == 0, purged.stderr
    assert json.loads(purged.stdout)["rows"] > 20
    assert left_of(own_platform.data, *marks) == []
    for path in own_platform.data.glob("*.db*"):
        assert b"customer@purge-me.example" not in path.read_bytes(), path
    own_platform.assert_balanced()

    again = own_platform.command("tenants", "purge", "purge-me", "--yes")
    assert (again.returncode, again.stdout) == (0, "There is nothing of purge-me here.\n")
    neighbour = own_platform.command("export", "--tenant", "stays", "--out", "after.ndjson")
    assert exported(own_platform.folder / "after.ndjson") == exported(own_platform.folder / "before.ndjson")
    own_platform.start()
    reopened = await open_store(own_platform, "purge-me")
    await trade(own_platform, reopened)
    own_platform.assert_balanced()


def ids_in(data: Path, tenant: str) -> set[str]:
    """Return the ids of a store's users, products, orders and payments."""
    found: set[str] = set()
    for service, table in (
        ("users", "users"),
        ("products", "products"),
        ("orders", "orders"),
        ("payments", "payments"),
    ):
        with closing(sqlite3.connect(data / f"{service}.db")) as connection:
            rows = connection.execute(f"SELECT id FROM {table} WHERE tenant_id = ?", (tenant,)).fetchall()
        found.update(each for (each,) in rows)
    return found


KILLED_AFTER_SOME_STEPS = """
import os, signal, sys
import mercato.runtime.purge
from mercato.adapters.sql.sqlite import SqliteDatabase
from mercato.cli.app import main

mercato.runtime.purge.BATCH = 2
left = [int(sys.argv.pop())]
whole = SqliteDatabase.transact

async def transact(self, step):
    done = await whole(self, step)
    left[0] -= 1
    if not left[0]:
        os.kill(os.getpid(), signal.SIGKILL)
    return done

SqliteDatabase.transact = transact
main()
"""


def purge_and_die(data: Path, tenant: str, steps: int) -> "subprocess.CompletedProcess[bytes]":
    """Purge a store in small steps, and be killed after so many of them."""
    words = ["tenants", "purge", tenant, "--yes", "--data", str(data), str(steps)]
    return subprocess.run(
        [sys.executable, "-c", KILLED_AFTER_SOME_STEPS, *words], capture_output=True, timeout=60, check=False
    )


@DATA_FOLDER
async def test_a_purge_that_is_killed_goes_on_where_it_was(own_platform: Platform) -> None:
    own_platform.start()
    store = await open_store(own_platform, "half-gone")
    await trade(own_platform, store)
    assert own_platform.command("tenants", "offboard", "half-gone", "--yes").returncode == 0
    assert own_platform.stop() == 0
    marks = marks_of(own_platform.data, "half-gone")
    for steps in (1, 3, 7, 12, 20, 40):
        killed = purge_and_die(own_platform.data, "half-gone", steps)
        if killed.returncode == 0:
            break
        assert killed.returncode == -signal.SIGKILL, killed.stderr
        # It is still known as a store that was closed, and not as one that may be opened.
        shown = own_platform.command("tenants", "show", "half-gone", "--json")
        assert json.loads(shown.stdout)["status"] == "offboarded"
    done = own_platform.command("tenants", "purge", "half-gone", "--yes")
    assert done.returncode == 0, done.stderr
    assert left_of(own_platform.data, *marks) == []
    own_platform.assert_balanced()


@DATA_FOLDER
async def test_only_a_closed_store_is_purged(own_platform: Platform) -> None:
    own_platform.start()
    store = await open_store(own_platform, "open-one")
    await trade(own_platform, store)
    assert own_platform.command("tenants", "suspend", "open-one").returncode == 0
    assert own_platform.stop() == 0
    before = everything(own_platform.data)
    for tenant, sentence in (
        ("open-one", "The store open-one is suspended; `mercato tenants offboard` closes it."),
        ("default", "The store default is active; `mercato tenants offboard` closes it."),
    ):
        refused = own_platform.command("tenants", "purge", tenant, "--yes")
        assert (refused.returncode, refused.stderr) == (2, f"mercato: {sentence}\n")
    unsure = mercato(
        "tenants", "purge", "open-one", folder=own_platform.folder, MERCATO_DATA="data", given="\n"
    )
    assert "Nothing was deleted" in unsure.err
    assert unsure.code == 2
    assert everything(own_platform.data) == before


async def test_an_operator_suspends_and_closes_by_commands(
    own_platform: Platform,
) -> None:
    own_platform.start()
    store = await open_store(own_platform, "told")

    def told(*words: str) -> str:
        ended = own_platform.command("tenants", *words)
        assert ended.returncode == 0, ended.stderr
        return ended.stdout

    async with own_platform.client(store.customer) as shop:

        async def answers(status: int) -> bool:
            return (await shop.get("/api/v1/orders")).status == status

        assert told("suspend", "told") == "The store told is suspended, its tier unlimited.\n"
        await until(lambda: answers(403))
        assert told("activate", "told") == "The store told is active, its tier unlimited.\n"
        await until(lambda: answers(200))
        assert told("set-tier", "told", "premium") == "The store told is active, its tier premium.\n"
        assert json.loads(told("show", "told", "--json"))["tier"] == "premium"
        assert "premium" in told("show", "told")
        assert told("offboard", "told", "--yes").startswith("The store told is closed; ")
        await until(lambda: answers(401))
    for words in (["activate", "told"], ["suspend", "default"], ["offboard", "default", "--yes"]):
        refused = own_platform.command("tenants", *words)
        assert (refused.returncode, refused.stderr.count("\n")) == (2, 1), refused.stderr
    assert own_platform.command("tenants", "show", "nowhere").stderr == "mercato: There is no such store.\n"


@DATA_FOLDER
@pytest.mark.parametrize("words", [["keys", "list"], ["keys", "rotate"], ["export", "--tenant", "x"]])
def test_without_data_a_command_says_so(tmp_path: Path, words: list[str]) -> None:
    ended = Platform(tmp_path).command(*words)
    assert ended.returncode == 2
    assert ended.stderr.startswith("mercato: There is no Mercato data in ")
