"""The second fence: whatever a statement says, a store's connection reaches that store's rows alone."""

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from mercato.adapters.sql import postgres_pool
from mercato.adapters.sql.database import Database, StorageUnavailable
from mercato.adapters.sql.postgres import PostgresDatabase
from mercato.adapters.sql.postgres_pool import PoolSettings, StoreConnection
from mercato.adapters.sql.steps import Steps
from mercato.kernel.acting import acting
from mercato.kernel.cause import ByEvent
from mercato.kernel.tenancy import TenantId
from mercato.runtime.folder import SCHEMAS
from mercato.users.stores import user_rows
from tests import postgres_server
from tests.behaviour.users_platform import start
from tests.clock import FakeClock
from tests.conftest import OpenDatabase
from tests.engines import POSTGRES
from tests.postgres_server import OWNER, ROLES

pytestmark = [POSTGRES, pytest.mark.usefixtures("engine")]

Raw = Any
"""A connection of asyncpg's, which is generic to type checkers alone."""
MINE, THEIRS = TenantId("mine"), TenantId("theirs")
SHARED = {
    ("payments", "notices"): "providers' ids of events, which name no store",
    ("payments", "sandbox.charges"): "a provider's book, which knows keys alone",
    ("payments", "sandbox.refunds"): "a provider's book, which knows keys alone",
}
"""Tables that are of no store, and why: all others must be fenced."""
EVERYWHERE = {"relay_lease": "which replica passes a service's events on"}
"""Those that every service has."""
_REFUSED = (asyncpg.InsufficientPrivilegeError, asyncpg.SyntaxOrAccessError)

TABLES = """
SELECT CASE WHEN n.nspname = 'public' THEN '' ELSE n.nspname || '.' END || c.relname AS name,
  c.relrowsecurity, c.relforcerowsecurity, pg_get_userbyid(c.relowner) AS owner,
  EXISTS (SELECT 1 FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attname = 'tenant_id') AS has_tenant,
  EXISTS (SELECT 1 FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attname = 'key') AS has_key
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p') AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
  AND c.relname <> 'alembic_version'
ORDER BY 1
"""
UNIQUE = """
SELECT c.relname AS table, i.relname AS name, array_agg(a.attname::text) AS columns
FROM pg_index x JOIN pg_class c ON c.oid = x.indrelid JOIN pg_class i ON i.oid = x.indexrelid
JOIN pg_namespace n ON n.oid = c.relnamespace
JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = ANY (x.indkey)
WHERE x.indisunique AND n.nspname = 'public' AND c.relname <> 'alembic_version'
GROUP BY c.relname, i.relname ORDER BY 1, 2
"""
COLUMNS = """
SELECT a.attname::text, format_type(a.atttypid, a.atttypmod), a.attidentity <> '' AS counts_up
FROM pg_attribute a
WHERE a.attrelid = $1::regclass AND a.attnum > 0 AND NOT a.attisdropped AND a.attnotnull
ORDER BY a.attnum
"""


@dataclass
class Fenced:
    """A service's database with one row of each store in every table."""

    service: str
    name: str
    owner: Raw
    """Connected as a superuser, who makes what is there."""
    app: Raw
    """Connected as the role that serves."""
    tables: dict[str, str]
    """By table, what says whose a row is."""

    async def as_store(self, value: str | None) -> None:
        await self.app.execute("SELECT set_config('mercato.tenant', $1, false)", value or "")


@pytest.fixture(params=list(SCHEMAS))
async def fenced(request: pytest.FixtureRequest) -> AsyncIterator[Fenced]:
    server, service = postgres_server.shared(), request.param
    name = await server.new_database(SCHEMAS[service])
    owner = await asyncpg.connect(server.url(name))
    app = await asyncpg.connect(server.url(name, ROLES.serving))
    tables = {
        row["name"]: "tenant_id" if row["has_tenant"] else "key"
        for row in await owner.fetch(TABLES)
        if not of_no_store(service, row["name"])
    }
    # Checks and references are of no interest here: any row will do.
    await owner.execute("SET session_replication_role = replica")
    for table, column in tables.items():
        await owner.execute(
            "DO $$ DECLARE r record; BEGIN FOR r IN SELECT conname FROM pg_constraint WHERE contype = 'c'"
            f" AND conrelid = '{table}'::regclass LOOP EXECUTE"
            f" format('ALTER TABLE {table} DROP CONSTRAINT %I', r.conname); END LOOP; END $$"
        )
        for number, store in enumerate((MINE, THEIRS)):
            await owner.execute(await row_of(owner, table, column, store, number))
    yield Fenced(service, name, owner, app, tables)
    await app.close()
    await owner.close()
    await server.drop(name)


def whose(column: str, store: str) -> str:
    """Return what a row of the store has in the column that says whose it is."""
    return store if column == "tenant_id" else f"{store}/order/1"


async def row_of(connection: Raw, table: str, column: str, store: str, number: int) -> str:
    """Return the statement that inserts some row of a store."""
    names, values = [], []
    for name, kind, counts_up in await connection.fetch(COLUMNS, table):
        if counts_up and name != column:
            continue
        names.append(f'"{name}"')
        if name == column:
            values.append(f"'{whose(column, store)}'")
        elif kind == "bytea":
            values.append(f"'\\x0{number}'")
        elif kind.startswith(("character", "text")):
            values.append(f"'{number}'")
        else:
            values.append(str(number))
    return f"INSERT INTO {table} ({', '.join(names)}) VALUES ({', '.join(values)})"


def of_no_store(service: str, table: str) -> bool:
    return table in EVERYWHERE or (service, table) in SHARED


async def fails(connection: Raw, sql: str) -> None:
    """Assert that the role may not do that."""
    try:
        await connection.execute(sql)
    except _REFUSED:
        return
    raise AssertionError(f"it may: {sql}")


async def test_every_table_of_stores_is_fenced_and_nobody_who_serves_owns_one(fenced: Fenced) -> None:
    for row in await fenced.owner.fetch(TABLES):
        name = row["name"]
        assert row["owner"] == OWNER, name
        if of_no_store(fenced.service, name):
            continue
        assert row["has_tenant"] or row["has_key"], f"{name} says not whose its rows are: fence or list it"
        assert row["relrowsecurity"], name
        assert row["relforcerowsecurity"], name
    for role in (ROLES.serving, ROLES.system):
        row = await fenced.owner.fetchrow(
            "SELECT rolsuper, rolbypassrls, rolcreaterole, rolcreatedb FROM pg_roles WHERE rolname = $1", role
        )
        assert row is not None
        assert not any(row)


async def test_no_unique_value_of_one_store_is_in_anothers_way(fenced: Fenced) -> None:
    # A violation would tell that another store has the value. What nobody can choose tells nothing.
    unguessable = {"event_id", "position", "number", "id"}
    for row in await fenced.owner.fetch(UNIQUE):
        if row["table"] not in fenced.tables:
            continue
        columns = set(row["columns"])
        assert {"tenant_id", "key"} & columns or columns <= unguessable, (row["table"], row["columns"])


@pytest.mark.parametrize(
    "store", [None, "", "nobody", "mine' OR '1'='1", "'; RESET ROLE; --", "%", "theirs\t"]
)
async def test_without_a_store_of_its_own_a_connection_sees_and_writes_nothing(
    fenced: Fenced, store: str | None
) -> None:
    if store is not None:
        await fenced.as_store(store)
    for table, column in fenced.tables.items():
        assert await fenced.app.fetchval(f"SELECT count(*) FROM {table}") == 0, table
        assert await fenced.app.execute(f"DELETE FROM {table}") == "DELETE 0", table
        assert await fenced.app.execute(f'UPDATE {table} SET "{column}" = "{column}"') == "UPDATE 0", table
        await fails(fenced.app, await row_of(fenced.owner, table, column, "mine", 7))
        await fails(fenced.app, await row_of(fenced.owner, table, column, "", 7))


async def test_another_stores_rows_are_neither_seen_nor_touched(fenced: Fenced) -> None:
    await fenced.as_store(MINE)
    for table, column in fenced.tables.items():
        theirs = f"\"{column}\" = '{whose(column, THEIRS)}'"
        for sql in (
            f"SELECT count(*) FROM {table} WHERE {theirs}",
            f"SELECT count(*) FROM (SELECT * FROM {table} WHERE {theirs}) x",
            f"WITH x AS (SELECT * FROM {table}) SELECT count(*) FROM x WHERE {theirs}",
            f"SELECT count(*) FROM {table} a RIGHT JOIN {table} b ON true WHERE b.{theirs}",
            f"WITH x AS (DELETE FROM {table} WHERE {theirs} RETURNING 1) SELECT count(*) FROM x",
            f"WITH x AS (UPDATE {table} t SET {column} = t.{column} WHERE {theirs} RETURNING 1) TABLE x",
        ):
            assert not await fenced.app.fetchval(sql), sql
        assert await fenced.app.fetchval(f"SELECT count(*) FROM {table}") == 1, table
        assert await fenced.app.fetch(f"SELECT * FROM {table} WHERE {theirs} FOR UPDATE") == []


async def test_no_row_is_written_for_another_store_by_any_way(fenced: Fenced) -> None:
    await fenced.as_store(MINE)
    for table, column in fenced.tables.items():
        theirs = await row_of(fenced.owner, table, column, THEIRS, 7)
        same = await row_of(fenced.owner, table, column, THEIRS, 1)
        set_theirs = f"UPDATE SET \"{column}\" = '{whose(column, THEIRS)}'"
        move = set_theirs.replace("UPDATE", f"UPDATE {table}", 1)
        for sql in (
            theirs,
            f"{theirs} ON CONFLICT DO NOTHING",
            f"{same} RETURNING 1",
            move,
            f"WITH x AS ({move} RETURNING 1) SELECT count(*) FROM x",
            f"WITH x AS ({theirs} RETURNING 1) SELECT count(*) FROM x",
            f"MERGE INTO {table} t USING (SELECT 1) s ON true WHEN MATCHED THEN {set_theirs}",
            f"TRUNCATE {table}",
            f"ALTER TABLE {table} DISABLE ROW LEVEL SECURITY",
            f"DROP POLICY store ON {table}",
            f"CREATE POLICY mine ON {table} USING (true)",
            f"DROP TABLE {table}",
            f"CREATE RULE r AS ON INSERT TO {table} DO NOTHING",
        ):
            await fails(fenced.app, sql)
        record = (whose(column, THEIRS),)
        with pytest.raises(asyncpg.FeatureNotSupportedError):
            await fenced.app.copy_records_to_table(table, records=[record], columns=[column])
    for table, column in fenced.tables.items():
        assert (
            await fenced.owner.fetchval(
                f"SELECT count(*) FROM {table} WHERE \"{column}\" = '{whose(column, THEIRS)}'"
            )
            == 1
        ), table


async def test_what_a_connection_may_not_become_or_call(fenced: Fenced) -> None:
    await fenced.as_store(MINE)
    for sql in (
        f"SET ROLE {ROLES.system}",
        f"SET ROLE {OWNER}",
        "SET ROLE postgres",
        f"SET SESSION AUTHORIZATION {ROLES.system}",
        "SET row_security = off; SELECT * FROM " + next(iter(fenced.tables)),
        "CREATE TABLE stolen (x int)",
        "CREATE FUNCTION f() RETURNS int SECURITY DEFINER LANGUAGE sql AS 'SELECT 1'",
        "COPY (SELECT 1) TO PROGRAM 'true'",
        "SELECT pg_read_file('/etc/passwd')",
        "UPDATE alembic_version SET version_num = ''",
        "DELETE FROM alembic_version",
    ):
        await fails(fenced.app, sql)
    await fenced.app.execute("RESET ROLE")
    await fenced.app.execute("DISCARD TEMP")
    for table in fenced.tables:
        assert await fenced.app.fetchval(f"SELECT count(*) FROM {table}") == 1, table


async def test_the_platform_sees_all_and_the_owner_does_too_and_owns_no_hole(fenced: Fenced) -> None:
    server = postgres_server.shared()
    for role in (ROLES.system, OWNER):
        connection = await asyncpg.connect(server.url(fenced.name, role))
        for table in fenced.tables:
            assert await connection.fetchval(f"SELECT count(*) FROM {table}") == 2, (role, table)
        await connection.close()
    stranger = await asyncpg.connect(server.url("postgres"))
    await stranger.execute("DO $$ BEGIN CREATE ROLE stranger LOGIN; EXCEPTION WHEN OTHERS THEN END $$")
    await stranger.close()
    connection = await asyncpg.connect(server.url(fenced.name, "stranger"))
    for table in fenced.tables:
        await fails(connection, f"SELECT * FROM {table}")
    await connection.close()


async def a_database(open_database: OpenDatabase, size: int = 2) -> PostgresDatabase:
    """Open orders with few connections, and something of two stores in it."""
    opened = await open_database("orders")
    assert isinstance(opened, PostgresDatabase)
    server = postgres_server.shared()
    name = opened.name
    for store in (MINE, THEIRS):
        steps = Steps(opened, source="/mercato/x", clock=FakeClock())
        with acting(store):
            await steps.settle(ByEvent("event", f"{store}/order/1", 1, "event"))
    return PostgresDatabase(
        server.url(name, ROLES.serving), server.url(name, ROLES.system), PoolSettings(size), name=name
    )


async def seen(db: Database) -> list[str]:
    return [key for (key,) in await db.fetch_all("SELECT key FROM inbox_positions ORDER BY key")]


async def test_connections_change_their_store_with_the_task_whatever_is_cancelled(
    open_database: OpenDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A busy machine takes its time until the last of so many has had its turn.
    monkeypatch.setattr(postgres_pool, "ACQUIRE_DEADLINE_S", 30.0)
    db = await a_database(open_database)

    async def look(number: int) -> None:
        store = (MINE, THEIRS)[number % 2]
        with acting(store):
            if number % 5 == 0:
                with contextlib.suppress(TimeoutError, StorageUnavailable):
                    async with asyncio.timeout(random.Random(number).random() / 100):
                        await db.search("SELECT pg_sleep(0.01)")
            assert await seen(db) == [f"{store}/order/1"]

    # As many at once as may wait for connections, twice.
    for first in (0, 200):
        await asyncio.gather(*(look(number) for number in range(first, first + 200)))
    assert await seen(db) == [f"{MINE}/order/1", f"{THEIRS}/order/1"]
    await db.close()


async def test_a_connection_whose_store_could_not_be_set_is_thrown_away(
    open_database: OpenDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    db = await a_database(open_database, size=1)
    with acting(MINE):
        assert await seen(db) == [f"{MINE}/order/1"]
    whole, broken = StoreConnection.fetchval, list[StoreConnection]()

    async def breaks(self: StoreConnection, *args: Any, **options: Any) -> Any:
        if not broken:
            broken.append(self)
            raise asyncpg.ConnectionDoesNotExistError("gone")
        return await whole(self, *args, **options)

    monkeypatch.setattr(StoreConnection, "fetchval", breaks)
    with acting(THEIRS):
        with pytest.raises(StorageUnavailable):
            await seen(db)
        assert broken[0].is_closed()
        assert await seen(db) == [f"{THEIRS}/order/1"]
    await db.close()


async def test_a_thousand_cancelled_calls_lose_no_connection(
    open_database: OpenDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Steps go on when their callers have gone, and on a busy machine many wait at the end.
    monkeypatch.setattr(postgres_pool, "MOST_WAITING", 1_000)
    monkeypatch.setattr(postgres_pool, "ACQUIRE_DEADLINE_S", 30.0)
    db = await a_database(open_database)

    async def call(number: int) -> None:
        with acting((MINE, THEIRS)[number % 2]):
            if number % 3:
                await db.fetch_one("SELECT key FROM inbox_positions")
            else:
                await db.transact(lambda tx: tx.fetch_one("SELECT pg_sleep(0.001)"))

    for some in range(10):
        calls = [asyncio.create_task(call(number)) for number in range(some * 100, some * 100 + 100)]
        chance = random.Random(some)
        while not all(each.done() for each in calls):
            await asyncio.sleep(0)
            chance.choice(calls).cancel()
        await asyncio.gather(*calls, return_exceptions=True)
    async with asyncio.timeout(30):
        both = [db.transact(lambda tx: tx.fetch_one("SELECT pg_sleep(0.05)")) for _ in range(2)]
        await asyncio.gather(*both)
    with acting(MINE):
        assert await seen(db) == [f"{MINE}/order/1"]
    await db.close()


async def test_a_method_that_names_another_store_than_the_tasks_gets_nothing(
    open_database: OpenDatabase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    platform = await start(await open_database("users"), tmp_path)
    theirs = await platform.onboard("theirs")
    mine = await platform.onboard("mine")
    user = theirs["user"]["id"]
    with acting(MINE):
        assert await platform.db.fetch_one(user_rows.ONE, (THEIRS, user)) is None
    # A statement that forgets the store, on the day on which one does.
    broken = user_rows.ONE.replace("tenant_id = ?", "? <> ''")
    for module in (user_rows, __import__("mercato.users.stores.sql_users", fromlist=["ONE"])):
        monkeypatch.setattr(module, "ONE", broken)
    headers = {"Authorization": f"Bearer {mine['token']}"}
    assert (await platform.send("GET", f"/api/v1/users/{user}", headers=headers)).status == 404
    change = {"first_name": "Mallory"}
    assert (await platform.send("PUT", f"/api/v1/users/{user}", change, headers=headers)).status == 404
    own = (await platform.send("GET", "/api/v1/users/me", headers=headers)).json["data"]["id"]
    assert own == mine["user"]["id"]
