"""Exports of a platform under full load, and imports that are killed."""

import asyncio
import os
import random
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from tests.commands import mercato, wait_until
from tests.faults.test_kill import Purchases, buy
from tests.faults.test_market import calm
from tests.running import Platform, add_product, open_store

EXPORTS = int(os.environ.get("EXPORTS", "5"))
BUYERS = 12
KILLS = 12
STOCK = 1_000_000
SOON = {"MERCATO_HOLD": "15", "MERCATO_ORPHAN_GRACE": "0.5"}
"""An order that nobody pays, and stock held for one that never came, end before the test does."""


async def test_every_export_under_full_load_is_one_moment_that_comes_to_rest(own_platform: Platform) -> None:
    platform = own_platform
    platform.environ = SOON
    platform.start()
    store = await open_store(platform, "loaded")
    async with platform.client(store.admin) as admin:
        product = await add_product(admin, store, "ANVIL", stock=STOCK)
    told, stopping = Purchases(), asyncio.Event()
    buyers = [asyncio.create_task(buy(platform, store, product, told, stopping)) for _ in range(BUYERS)]
    sold = []
    for number in range(EXPORTS):
        paid_before = set(told.paid)
        ended = await asyncio.to_thread(platform.command, "export", "--out", f"{number}.gz")
        assert ended.returncode == 0, ended.stderr
        sold.append(paid_before)
    stopping.set()
    await asyncio.gather(*buyers)
    assert told.unexpected == []
    assert "commit failed" not in platform.log(), "a writer gave up waiting for an export"
    assert len(sold[-1]) > len(sold[0]) + EXPORTS, "the load was too small to mean anything"
    await calm(platform)
    platform.stop()

    for number, paid in enumerate(sold):
        copy = Platform(platform.folder / f"copy-{number}", SOON)
        copy.folder.mkdir()
        words = ["import", str(platform.folder / f"{number}.gz"), "--data", str(copy.data), "--json"]
        assert mercato(*words, folder=copy.folder).json["balanced"]
        await comes_to_rest(copy, paid)
        shutil.rmtree(copy.folder)


async def comes_to_rest(copy: Platform, paid: set[str]) -> None:
    """Start a copy; whatever was under way in it ends, and what had been paid before is there."""
    copy.start()
    try:
        await asyncio.to_thread(wait_until, lambda: unsettled(copy.data) == 0)
        await calm(copy)
        with closing(sqlite3.connect(copy.data / "orders.db")) as orders:
            # Where the news of a payment is slower than the hold lasts, the money goes back.
            settled = {
                order
                for (order,) in orders.execute(
                    "SELECT id FROM orders WHERE status = 'confirmed' OR payment_status = 'refunded'"
                )
            }
        assert paid <= settled
        await asyncio.to_thread(wait_until, lambda: parked(copy.data) == 0)
    finally:
        copy.kill()


def parked(data: Path) -> int:
    """Return how many events wait for something, or could not be handled."""
    found = 0
    for name in ("users", "products", "orders", "payments"):
        with closing(sqlite3.connect(data / f"{name}.db")) as database:
            found += database.execute("SELECT count(*) FROM inbox_parked").fetchone()[0]
    return found


def unsettled(data: Path) -> int:
    """Return how many orders and payments are not at an end."""
    with closing(sqlite3.connect(data / "orders.db")) as orders:
        pending = orders.execute("SELECT count(*) FROM orders WHERE status = 'pending'").fetchone()[0]
    with closing(sqlite3.connect(data / "payments.db")) as payments:
        wanted = "SELECT count(*) FROM payments WHERE status IN ('pending', 'processing')"
        return int(pending + payments.execute(wanted).fetchone()[0])


@pytest.fixture
def exported(own_platform: Platform) -> Path:
    """An export that takes a while to import."""
    own_platform.start()
    asyncio.run(fill(own_platform))
    assert own_platform.command("export", "--out", "killed.gz").returncode == 0
    return own_platform.folder / "killed.gz"


async def fill(platform: Platform) -> None:
    store = await open_store(platform, "killed")
    lines = "".join(
        f'{{"sku": "S-{n}", "name": "Thing {n}", "price": 1, "stock": 3}}\n' for n in range(4_000)
    )
    async with platform.client(store.admin) as admin:
        sent = await admin.send("POST", "/api/v1/products/import", "application/x-ndjson", lines.encode())
        assert sent.data["created"] == 4_000, sent.body


def test_an_import_that_is_killed_leaves_no_half_instance(exported: Path, tmp_path: Path) -> None:
    folder = tmp_path / "killing"
    folder.mkdir()
    words = [sys.executable, "-m", "mercato", "import", str(exported), "--data", "new"]
    cut_short = 0
    for number in range(KILLS):
        importing = subprocess.Popen(words, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            importing.wait(random.uniform(0.1, 0.2 + number / 10))
        except subprocess.TimeoutExpired:
            cut_short += 1
            importing.kill()
            importing.wait(10)
        if (folder / "new").exists():
            assert mercato("reconcile", "--data", "new", folder=folder).code == 0
            shutil.rmtree(folder / "new")
    assert cut_short > KILLS / 2

    assert mercato("import", str(exported), "--data", "new", "--json", folder=folder).json["balanced"]

    assert [each.name for each in folder.iterdir()] == ["new"]


def test_of_two_imports_at_once_into_one_folder_one_is_made(exported: Path, tmp_path: Path) -> None:
    folder = tmp_path / "racing"
    folder.mkdir()
    words = [sys.executable, "-m", "mercato", "import", str(exported), "--data", "new"]
    racers = [
        subprocess.Popen(words, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        for _ in range(3)
    ]
    said = [each.communicate(timeout=60)[1].decode() for each in racers]

    assert sorted(each.returncode for each in racers) == [0, 2, 2], said
    assert all(each.count("\n") == 1 for each in said if each), said
    assert [each.name for each in folder.iterdir()] == ["new"]
    assert mercato("reconcile", "--data", "new", folder=folder).code == 0
