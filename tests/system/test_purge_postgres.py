"""Purging a store on PostgreSQL, where the platform goes on meanwhile."""

import asyncio
import json
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from mercato.adapters.sql.postgres import PostgresDatabase
from mercato.adapters.sql.postgres_lock import held
from mercato.cli.acts import noted
from mercato.kernel.cause import BySystem
from mercato.kernel.clock import utc_now
from mercato.kernel.ids import UserId, uuid7
from mercato.kernel.tenancy import TenantId
from mercato.runtime import purge as purging
from mercato.runtime.arrivals import under_way
from mercato.runtime.embedded import Embedded
from mercato.runtime.purge import NotQuiet, PurgeUnderWay, purge
from mercato.runtime.settings import load
from mercato.users.domain import NewTenant, NewUser
from mercato.users.stores.sql_tenants import lock_of
from tests import postgres_server
from tests.engines import need
from tests.running import Down, Platform, Shopper, Store, add_product, open_store, order_of
from tests.server_rows import ask, everything, left_of, marks_of
from tests.system.test_stores_life import exported, trade
from tests.waiting import until

ENDS_SOON = {"MERCATO_REQUEST_DEADLINE": "5", "MERCATO_PROVIDER_TIMEOUT": "1"}
ENDS_WITHIN, AT_ONCE = timedelta(seconds=11), timedelta()


@pytest.fixture
def environ() -> dict[str, str]:
    """Databases of one's own."""
    need("postgres")
    return postgres_server.shared().environ_of_platform() | ENDS_SOON


@pytest.fixture
def platform(environ: dict[str, str], tmp_path: Path) -> Iterator[Platform]:
    """A platform on them, not started yet."""
    running = Platform(tmp_path, environ)
    yield running
    if running.process is not None and running.process.poll() is None:
        running.stop()


def told(platform: Platform, *words: str) -> str:
    ended = platform.command(*words)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


async def closed_after_trade(platform: Platform, name: str) -> list[str]:
    """Trade in a store and close it; return what tells its rows."""
    await trade(platform, await open_store(platform, name))
    marks = await asyncio.to_thread(marks_of, platform.environ, name)
    await asyncio.to_thread(told, platform, "tenants", "offboard", name, "--yes")
    return marks


@asynccontextmanager
async def command_of(platform: Platform) -> AsyncIterator[Embedded]:
    """Open the databases as a command does."""
    opened = Embedded(load(platform.environ, data=str(platform.data)), serves=False)
    try:
        yield opened
    finally:
        await opened.process.close()


async def purged(platform: Embedded, store: str, ends_within: timedelta = AT_ONCE) -> int:
    note = noted("tenants_purge", "tenant", store)
    deleted = await purge(platform, TenantId(store), lambda *_: None, note=note, ends_within=ends_within)
    return deleted.total()


async def test_a_store_is_purged_beside_a_platform_that_goes_on(platform: Platform) -> None:
    platform.start()
    await trade(platform, await open_store(platform, "stays"))
    told(platform, "export", "--tenant", "stays", "--out", "before.ndjson")
    marks = await closed_after_trade(platform, "purge-me")
    before = await asyncio.to_thread(left_of, platform.environ, marks)
    assert {each.partition(":")[0] for each in before} >= {
        *("users.tenants", "users.user_terms", "users.outbox_sequences", "products.product_terms"),
        *("products.stock_movements", "products.inbox_positions", "orders.claims", "orders.outbox"),
        *("payments.payments", "notifications.notifications", "notifications.mailbox", "sandbox.charges"),
    }

    report = json.loads(told(platform, "tenants", "purge", "purge-me", "--yes", "--json"))

    assert report["rows"] == sum(report["tables"].values()) > 100
    assert await asyncio.to_thread(left_of, platform.environ, marks) == []
    assert told(platform, "tenants", "purge", "purge-me", "--yes") == "There is nothing of purge-me here.\n"
    told(platform, "export", "--tenant", "stays", "--out", "after.ndjson")
    assert exported(platform.folder / "after.ndjson") == exported(platform.folder / "before.ndjson")
    await trade(platform, await open_store(platform, "purge-me"))
    platform.assert_balanced()


async def buy(shop: Shopper, product: str) -> bool:
    """Buy something; say whether the store still sells."""
    try:
        placed = await shop.post("/api/v1/orders", order_of(product))
        if placed.status != 201:
            return placed.status == 503
        wanted = {"order_id": placed.data["id"], "method": "card"}
        opened = await shop.post("/api/v1/payments", wanted)
        if opened.status == 201:
            await shop.post(f"/api/v1/payments/{opened.data['id']}/process", {})
    except Down:
        return True
    return True


async def test_what_is_bought_while_a_store_is_closed_and_purged_leaves_nothing(platform: Platform) -> None:
    platform.start()
    closing, other = await open_store(platform, "closing"), await open_store(platform, "going-on")
    gone = asyncio.Event()

    async def buyers(store: Store) -> int:
        async with platform.client(store.customer) as shop:
            product = await add_product(shop, store, "LAMP", stock=100_000)

            async def one() -> int:
                bought = 0
                while not gone.is_set() and await buy(shop, product):
                    bought += 1
                return bought

            return sum(await asyncio.gather(*(one() for _ in range(4))))

    at_work = [asyncio.create_task(buyers(each)) for each in (closing, other)]
    orders = "SELECT count(*) FROM orders WHERE tenant_id = 'closing'"
    await until(lambda: _many(platform, orders))
    marks = await asyncio.to_thread(marks_of, platform.environ, "closing")
    async with command_of(platform) as command:
        await command.users.stores.offboard(TenantId("closing"), at=utc_now(), by=BySystem("tests"))
        await purged(command, "closing", ends_within=ENDS_WITHIN)
    gone.set()
    sold, sold_elsewhere = await asyncio.gather(*at_work)

    assert sold >= 20
    assert sold_elsewhere > sold, "the other store went on selling"
    assert await asyncio.to_thread(left_of, platform.environ, marks) == []
    platform.assert_balanced()


async def _many(platform: Platform, count: str) -> bool:
    return int((await sql(platform, "orders", count))[0][0]) >= 20


async def test_of_two_purges_at_once_one_does_it(platform: Platform) -> None:
    platform.start()
    marks = await closed_after_trade(platform, "twice")
    both = await asyncio.gather(
        *(asyncio.to_thread(platform.command, "tenants", "purge", "twice", "--yes") for _ in range(2))
    )
    for each in both:
        if each.returncode != 0:
            assert each.stderr == "mercato: Another command is purging the store twice.\n"
    assert any(each.returncode == 0 for each in both), both
    assert await asyncio.to_thread(left_of, platform.environ, marks) == []

    async with command_of(platform) as first, command_of(platform) as second:
        database = first.users.parts.steps.db
        assert isinstance(database, PostgresDatabase)
        async with held(database, lock_of(TenantId("twice"))):
            with pytest.raises(PurgeUnderWay):
                await purged(second, "twice")


async def test_an_id_is_given_again_only_after_its_store_is_gone(platform: Platform) -> None:
    platform.start()
    new = NewTenant(
        id=TenantId("again"),
        name="Again",
        admin=NewUser(email="a@again.example", password="long-enough", first_name="A", last_name="B"),
    )
    async with command_of(platform) as command:
        database = command.users.parts.steps.db
        assert isinstance(database, PostgresDatabase)
        async with held(database, lock_of(TenantId("again"))):
            opening = asyncio.create_task(
                command.users.stores.onboard(
                    new, UserId(uuid7()), by_operator=True, at=utc_now(), by=BySystem("tests")
                )
            )
            waiting = "SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
            await until(lambda: _some(platform, waiting))
            assert not opening.done()
        assert (await opening)[0].id == "again"


async def _some(platform: Platform, statement: str) -> bool:
    return bool(await sql(platform, "users", statement))


async def sql(platform: Platform, service: str, statement: str, *values: object) -> list[Any]:
    return await asyncio.to_thread(ask, platform.environ, service, statement, *values)


async def missing(platform: Platform, store: str) -> dict[str, int]:
    async with command_of(platform) as command:
        return dict(await under_way(command.process.composition.services, TenantId(store)))


PARK = """
INSERT INTO inbox_parked (event_id, tenant_id, type, key, sequence, body, state, attempts, reason,
  next_try_at, first_seen_at) VALUES ($1, $2, 'order.created', $3, $4, 'x', 'failed', 1, 'x', 0, 0)
"""


async def test_a_store_of_which_events_have_not_arrived_is_not_purged_until_they_have(
    platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    platform.start()
    marks = await closed_after_trade(platform, "on-its-way")
    assert platform.stop() == 0
    assert await missing(platform, "on-its-way") == {}
    monkeypatch.setattr(purging, "ARRIVAL_S", 0.0)
    ((key, last),) = await sql(
        platform,
        "notifications",
        "UPDATE inbox_positions SET sequence = sequence - 1 WHERE key ="
        " (SELECT min(key) FROM inbox_positions WHERE key LIKE 'on-its-way/order/%')"
        " RETURNING key, sequence + 1",
    )
    before = await asyncio.to_thread(everything, platform.environ)
    async with command_of(platform) as command:
        with pytest.raises(NotQuiet, match="have not arrived at notifications yet"):
            await purged(command, "on-its-way")
    assert await asyncio.to_thread(everything, platform.environ) == before

    waits = "UPDATE outbox SET sent_at = NULL WHERE key = $1 AND sequence = $2"
    await sql(platform, "orders", waits, key, last)
    assert await missing(platform, "on-its-way") == {}, "nobody is there who would send it"
    await sql(platform, "orders", "UPDATE outbox SET sent_at = 1 WHERE sent_at IS NULL")
    assert await missing(platform, "on-its-way") == {"notifications": 1}
    await sql(platform, "notifications", PARK, "event", "on-its-way", key, last)
    assert await missing(platform, "on-its-way") == {}, "it is there, and will be tried again"

    async with command_of(platform) as command:
        assert await purged(command, "on-its-way") > 100
    assert await asyncio.to_thread(left_of, platform.environ, marks) == []


async def test_what_comes_late_to_a_store_that_is_gone_is_purged_too(platform: Platform) -> None:
    await sql(platform, "notifications", PARK, "event", "long-gone", "long-gone/order/1", 7)
    await sql(platform, "notifications", PARK, "other", "long-gone-too", "long-gone-too/order/1", 7)
    ended = told(platform, "tenants", "purge", "long-gone", "--yes")
    assert ended == "1 rows of the store long-gone are deleted.\n"
    left = await asyncio.to_thread(everything, platform.environ)
    assert [row.split(", ")[1] for row in left["notifications.inbox_parked"]] == ["'long-gone-too'"]


KILLED_AFTER_SOME_STEPS = """
import os, signal, sys
import mercato.runtime.purge
from mercato.adapters.sql.postgres import PostgresDatabase
from mercato.cli.app import main

mercato.runtime.purge.BATCH = 2
left = [int(sys.argv.pop())]
whole = PostgresDatabase.transact

async def transact(self, step):
    done = await whole(self, step)
    left[0] -= 1
    if not left[0]:
        os.kill(os.getpid(), signal.SIGKILL)
    return done

PostgresDatabase.transact = transact
main()
"""


async def test_a_purge_that_is_killed_goes_on_where_it_was(platform: Platform) -> None:
    platform.start()
    marks = await closed_after_trade(platform, "half-gone")
    for steps in (1, 4, 15, 60):
        words = ["tenants", "purge", "half-gone", "--yes", str(steps)]
        killed = await asyncio.to_thread(
            subprocess.run,
            [sys.executable, "-c", KILLED_AFTER_SOME_STEPS, *words],
            capture_output=True,
            timeout=60,
            check=False,
            env=platform.environment(),
            cwd=platform.folder,
        )
        assert killed.returncode == -signal.SIGKILL, killed.stderr
        shown = json.loads(told(platform, "tenants", "show", "half-gone", "--json"))
        assert shown["status"] == "offboarded", "its id is not free yet"
    told(platform, "tenants", "purge", "half-gone", "--yes")
    assert await asyncio.to_thread(left_of, platform.environ, marks) == []
    platform.assert_balanced()
