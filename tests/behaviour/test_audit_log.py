"""The audit log: its walks, its indexes, its end; and that it is written with the change or not at all."""

import asyncio
import random
import re
import sqlite3
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from mercato.adapters.sql.database import Database, Tx
from mercato.adapters.sql.schema import Schema, prepare
from mercato.adapters.sql.sqlite import SqliteDatabase
from mercato.adapters.sql.steps import Steps
from mercato.contracts.events import Events
from mercato.kernel.cause import ByCall, BySystem, Note
from mercato.kernel.clock import from_micros, to_micros
from mercato.kernel.errors import Conflict
from mercato.kernel.ids import uuid7
from mercato.kernel.paging import Window, time_key
from mercato.kernel.tenancy import TenantId
from mercato.users.domain import AuditEntry
from mercato.users.ports import AuditFilter
from mercato.users.stores.sql_audit import SqlAuditLog
from tests.behaviour.orders_desk import Desk, open_desk
from tests.behaviour.test_indexes import Explaining
from tests.clock import FakeClock
from tests.conftest import OpenDatabase
from tests.engines import SQLITE

ACME = TenantId("acme")
BY = BySystem("test")
ENTRIES = 100_000
SOURCE = Path(__file__).parents[2] / "src" / "mercato"


def entry(number: int, tenant: str = "acme") -> AuditEntry:
    """Return an entry of its own; several are of one moment."""
    return AuditEntry(
        id=uuid7(),
        tenant_id=TenantId(tenant),
        created_at=FakeClock()() + timedelta(seconds=number // 3),
        actor=f"actor-{number % 7}",
        actor_role="admin",
        action=f"action-{number % 5}",
        object_kind=f"kind-{number % 5}",
        object_id=f"object-{number % 1_000}",
        fields=("name", "price"),
        address="127.0.0.1",
        request_id="request",
    )


def note(object_id: str = "thing", tenant: str = "acme") -> Note:
    return Note(TenantId(tenant), "ada", "admin", "things_change", "thing", object_id)


@pytest.fixture
async def db(open_database: OpenDatabase) -> Database:
    return await open_database("users")


@pytest.fixture
def steps(db: Database) -> Steps:
    return Steps(db, source="/test", clock=FakeClock())


@pytest.fixture(scope="module")
def crowded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("crowded") / "users.db"
    prepare(path, Schema("users", "mercato.users.migrations"))
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.executemany(
            "INSERT INTO audit_log VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                (
                    *(each.tenant_id, each.id, to_micros(each.created_at), each.actor, each.actor_role),
                    *(each.action, each.object_kind, each.object_id, "name", "::1", "r"),
                )
                for each in map(entry, range(ENTRIES))
            ),
        )
        connection.execute("ANALYZE")
    return path


FILTERS = [
    ([], {}),
    (["actor"], {"actor": "actor-3"}),
    (["action"], {"action": "action-2"}),
    (["actor", "action"], {"actor": "actor-3", "action": "action-2"}),
    (["object_kind"], {"object_kind": "kind-2"}),
    (["actor", "object_kind"], {"actor": "actor-3", "object_kind": "kind-2"}),
    (["object_id"], {"object_id": "object-502"}),
    (["object_id"], {"object_id": "object-502", "object_kind": "kind-2"}),
    (
        ["object_id"],
        {"object_id": "object-502", "object_kind": "kind-2", "actor": "actor-3", "action": "action-2"},
    ),
    (["action"], {"object_kind": "kind-2", "action": "action-2"}),
]


@pytest.mark.parametrize("named, wanted", FILTERS)
@pytest.mark.parametrize("seen", [None, 20_000])
async def test_no_list_scans_or_sorts_what_it_does_not_show(
    crowded: Path, named: list[str], wanted: dict[str, Any], seen: int | None
) -> None:
    explaining: Any = Explaining(crowded)
    log = SqlAuditLog(Steps(explaining, source="/test", clock=FakeClock()))
    after = None if seen is None else time_key(FakeClock()() + timedelta(seconds=seen), uuid7())

    found = await log.search(ACME, AuditFilter(**wanted), Window(5, 0, after, counted=True))
    await log.count(ACME, AuditFilter(**wanted))

    assert len(found) == 6
    assert found == sorted(found, key=lambda each: (each.created_at, each.id), reverse=True)
    for _, plan in explaining.plans:
        assert plan.startswith("SEARCH audit_log USING"), plan
        assert "B-TREE" not in plan, plan
        assert all(f"{name}=?" in plan for name in ("tenant_id", *named)), plan
    if seen is not None:
        assert "created_at<" in explaining.plans[0][1], explaining.plans
    explaining.close()


async def test_what_is_old_is_found_by_index(crowded: Path) -> None:
    explaining: Any = Explaining(crowded)
    log = SqlAuditLog(Steps(explaining, source="/test", clock=FakeClock()))
    await log.purge(before=from_micros(1), limit=10)
    (plan,) = [plan for _, plan in explaining.plans]
    assert "created_at<?" in plan
    assert "SCAN audit_log" not in plan
    explaining.close()


async def test_a_walk_shows_each_entry_once_while_others_come(steps: Steps) -> None:
    log = SqlAuditLog(steps)
    there = [entry(number) for number in range(60)]
    for each in random.Random(3).sample(there, len(there)):
        await log.add(each, by=BY)
    await log.add(entry(5, "other"), by=BY)
    seen: list[str] = []
    after = None
    for round_ in range(100):
        found = await log.search(ACME, AuditFilter(), Window(7, 0, after, counted=False))
        seen += [each.id for each in found[:7]]
        if len(found) <= 7:
            break
        after = time_key(found[6].created_at, found[6].id)
        await log.add(entry(1_000 + round_), by=BY)

    expected = sorted(there, key=lambda each: (each.created_at, each.id), reverse=True)
    assert seen == [each.id for each in expected]
    since, before = there[20].created_at, there[40].created_at
    within = await log.search(
        ACME, AuditFilter(since=since, before=before), Window(100, 0, None, counted=True)
    )
    assert {each.id for each in within} == {each.id for each in there if since <= each.created_at < before}


async def test_an_entry_is_kept_as_it_came_and_once(steps: Steps) -> None:
    log, one = SqlAuditLog(steps), entry(1)
    await asyncio.gather(*(log.add(one, by=BY) for _ in range(5)))
    assert await log.search(ACME, AuditFilter(), Window(9, 0, None, counted=True)) == [one]
    assert await log.count(TenantId("other"), AuditFilter()) == 0


async def test_what_is_older_than_it_is_kept_goes_and_nothing_else(steps: Steps) -> None:
    log = SqlAuditLog(steps)
    there = [entry(number) for number in range(30)]
    for each in there:
        await log.add(each, by=BY)
    before = there[15].created_at
    purged = [await log.purge(before=before, limit=10) for _ in range(3)]
    assert purged == [10, 5, 0]
    left = await log.search(ACME, AuditFilter(), Window(100, 0, None, counted=True))
    assert {each.id for each in left} == {each.id for each in there if each.created_at >= before}


def test_nothing_else_changes_or_deletes_entries() -> None:
    statement = re.compile(r"(UPDATE|DELETE FROM|REPLACE INTO|DROP TABLE|INSERT OR \w+ INTO)\s+\"?audit_log")
    found = {
        (path.name, match[0])
        for path in SOURCE.rglob("*.py")
        for match in statement.finditer(path.read_text())
    }
    assert found == {("sql_audit.py", "DELETE FROM audit_log")}


async def told(db: Database) -> list[str]:
    rows = await db.fetch_all("SELECT key FROM outbox WHERE type = 'audit.recorded' ORDER BY position")
    return [key for (key,) in rows]


async def write(tx: Tx, name: str) -> None:
    await tx.execute("INSERT INTO quotas (day, tenant_id, used) VALUES ('2026-01-01', ?, 1)", (name,))


async def test_there_is_an_entry_for_each_change_and_none_without_whatever_fails(steps: Steps) -> None:
    chance = random.Random(5)

    async def act(number: int) -> None:
        fate = chance.choice(["change", "nothing", "refuse", "break"])

        async def work(tx: Tx) -> tuple[None, Events]:
            if fate != "nothing":
                await write(tx, f"thing-{number}")
            if fate == "refuse":
                raise Conflict("no")
            if fate == "break":
                await write(tx, f"thing-{number}")
            return None, ()

        await steps.run(ByCall("ada", note=note(f"thing-{number}")), work)

    await asyncio.gather(*(act(number) for number in range(200)), return_exceptions=True)

    changed = await steps.db.fetch_all("SELECT tenant_id FROM quotas")
    assert 20 < len(changed) < 180
    assert sorted(await told(steps.db)) == sorted(f"acme/audit/thing:{name}" for (name,) in changed)


async def test_of_a_call_of_many_steps_the_first_that_changes_anything_is_told(steps: Steps) -> None:
    act = note()
    done: list[int] = []

    async def work(tx: Tx) -> tuple[int, Events]:
        if len(done) > 1:
            await write(tx, f"step-{len(done)}")
        rows = await tx.fetch_all("SELECT 1 FROM outbox")
        return len(rows), ()

    for _ in range(5):
        seen = await steps.run(ByCall("ada", note=act), work)
        done.append(seen)
    assert done == [0, 0, 0, 1, 1]
    assert act.written


async def test_what_a_statement_returns_counts_as_changed_and_what_it_reads_does_not(steps: Steps) -> None:
    async def read(tx: Tx) -> tuple[None, Events]:
        await tx.fetch_all("SELECT 1")
        await tx.fetch_one(" SELECT 1")
        return None, ()

    async def insert(tx: Tx) -> tuple[None, Events]:
        await tx.fetch_one(
            "INSERT INTO quotas (day, tenant_id, used) VALUES ('2026-01-01', 'x', 1) RETURNING used"
        )
        return None, ()

    await steps.run(ByCall("ada", note=note()), read)
    assert await told(steps.db) == []
    await steps.run(ByCall("ada", note=note()), insert)
    assert len(await told(steps.db)) == 1


async def test_acts_on_one_object_are_told_in_order_and_others_do_not_wait(steps: Steps) -> None:
    async def work(tx: Tx) -> tuple[None, Events]:
        await write(tx, uuid7())
        return None, ()

    await asyncio.gather(
        *(steps.run(ByCall("ada", note=note(f"thing-{number % 3}")), work) for number in range(30))
    )
    rows = await steps.db.fetch_all("SELECT key, sequence FROM outbox ORDER BY position")
    for number in range(3):
        assert [seq for key, seq in rows if key.endswith(f"thing-{number}")] == list(range(1, 11))


@pytest.fixture
async def desk(open_database: OpenDatabase) -> Desk:
    opened = open_desk(await open_database("orders"))
    opened.stock.put("LAMP")
    return opened


@SQLITE
async def test_a_customers_order_costs_no_statement_for_the_audit_log(desk: Desk) -> None:
    """What staff's order costs more than a customer's is what tells of it, and nothing else."""
    assert isinstance(desk.db, SqliteDatabase)
    connection = desk.db._writer._connection

    async def statements(who: str) -> list[str]:
        found: list[str] = []
        connection.set_trace_callback(found.append)
        assert (await desk.place("LAMP", who=who)).status == 201
        connection.set_trace_callback(None)
        return [" ".join(each.split()[:3]) for each in found]

    await statements("ann")
    customers, staffs = await statements("ann"), await statements("adam")
    assert not any("audit" in each for each in customers)
    for each in customers:
        staffs.remove(each)
    assert sorted(staffs) == ["INSERT INTO outbox", "INSERT INTO outbox_sequences"]
