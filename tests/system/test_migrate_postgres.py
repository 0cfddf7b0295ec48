"""`mercato migrate` on PostgreSQL, with the roles that operators give it."""

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import pytest

from mercato.adapters.sql import postgres_schema
from mercato.adapters.sql.database import StorageUnavailable
from mercato.adapters.sql.postgres_schema import current, upgrade
from mercato.runtime.folder import SCHEMAS
from tests import postgres_server
from tests.commands import Ended, mercato, wait_until
from tests.engines import need
from tests.modes import OWN_PROCESSES
from tests.postgres_server import OWNER, ROLES, PostgresServer
from tests.running import Platform

pytestmark = OWN_PROCESSES

MAKER = "mercato_maker"


@pytest.fixture
def server() -> PostgresServer:
    need("postgres")
    return postgres_server.shared()


def variables(server: PostgresServer, name: str, owner: str) -> dict[str, str]:
    roles = {"": ROLES.serving, "SYSTEM_": ROLES.system, "OWNER_": owner}
    return {
        f"MERCATO_DATABASE_{kind}URL": server.url(f"{name}_{{service}}", role) for kind, role in roles.items()
    }


async def sql(server: PostgresServer, statement: str, database: str = "postgres") -> list[asyncpg.Record]:
    connection = await asyncpg.connect(server.url(database))
    try:
        return list(await connection.fetch(statement))
    finally:
        await connection.close()


@pytest.fixture
def maker(server: PostgresServer) -> Iterator[dict[str, str]]:
    """Settings with an owner who may make databases."""
    asyncio.run(
        sql(server, f"DO $$ BEGIN CREATE ROLE {MAKER} LOGIN CREATEDB; EXCEPTION WHEN OTHERS THEN END $$")
    )
    yield variables(server, "moved", MAKER)
    for service in SCHEMAS:
        asyncio.run(sql(server, f"DROP DATABASE IF EXISTS moved_{service} WITH (FORCE)"))


def migrate(folder: Path, settings: dict[str, str], *words: str) -> Ended:
    return mercato("migrate", *words, folder=folder, **settings)


def standing(folder: Path, settings: dict[str, str]) -> dict[str, str | None]:
    return {each["service"]: each["revision"] for each in migrate(folder, settings, "status", "--json").json}


def test_up_from_nothing_down_to_nothing_and_up_again(
    server: PostgresServer, maker: dict[str, str], tmp_path: Path
) -> None:
    heads = {name: schema.head for name, schema in SCHEMAS.items()}
    assert standing(tmp_path, maker) == dict.fromkeys(SCHEMAS)
    for _ in range(2):
        up = migrate(tmp_path, maker, "up")
        assert up.code == 0, up.err
        assert up.out.splitlines() == [f"{name}: at {head}" for name, head in heads.items()]
        assert standing(tmp_path, maker) == heads
    for service, head in heads.items():
        down = migrate(tmp_path, maker, "down", "--service", service, "--to", "base")
        assert (down.code, down.out) == (0, f"{service}: at base\n"), down.err
        left = asyncio.run(
            sql(server, "SELECT tablename FROM pg_tables WHERE schemaname = 'public'", f"moved_{service}")
        )
        assert [row[0] for row in left] == ["alembic_version"], service
        assert migrate(tmp_path, maker, "up", "--service", service).out == f"{service}: at {head}\n"


def test_of_several_that_migrate_at_once_all_are_well(maker: dict[str, str], tmp_path: Path) -> None:
    words = [sys.executable, "-m", "mercato", "migrate", "up", "--service", "orders"]
    started = [
        subprocess.Popen(words, cwd=tmp_path, env=maker, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        for _ in range(3)
    ]
    ended = [(each.communicate(timeout=60), each.returncode) for each in started]
    assert [code for _, code in ended] == [0, 0, 0], ended


def test_an_owner_who_may_not_make_databases_is_told_what_to_do(
    server: PostgresServer, tmp_path: Path
) -> None:
    refused = migrate(tmp_path, variables(server, "no", OWNER), "up", "--service", "users").refusal
    assert refused == (
        "There is no database no_users, and the owner may not make it: CREATE DATABASE no_users."
    )


@pytest.mark.parametrize(
    "url", ["postgresql://nobody@127.0.0.1:{port}/x_{{service}}", "postgresql://a@127.0.0.1:1/x_{{service}}"]
)
def test_an_owner_or_a_server_that_is_not_there_is_told_in_a_sentence(
    server: PostgresServer, tmp_path: Path, url: str
) -> None:
    settings = variables(server, "x", OWNER) | {"MERCATO_DATABASE_OWNER_URL": url.format(port=server.port)}
    refused = migrate(tmp_path, settings, "up", "--service", "users").refusal
    assert refused.startswith("PostgreSQL at 127.0.0.1:")
    assert "cannot be reached as" in refused


def test_a_schema_that_is_too_new_is_refused(
    server: PostgresServer, maker: dict[str, str], tmp_path: Path
) -> None:
    assert migrate(tmp_path, maker, "up", "--service", "orders").code == 0
    asyncio.run(sql(server, "UPDATE alembic_version SET version_num = 'orders_9999'", "moved_orders"))
    refused = migrate(tmp_path, maker, "up", "--service", "orders").refusal
    assert "The orders database has a schema this version does not know" in refused


async def test_a_migration_that_is_killed_leaves_nothing(
    server: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    await sql(server, f"CREATE DATABASE killed_orders OWNER {OWNER}")
    url = server.url("killed_orders", OWNER)

    async def dies(connection: "asyncpg.Connection[asyncpg.Record]", _: object) -> None:
        await connection.execute("SELECT pg_terminate_backend(pg_backend_pid())")

    with monkeypatch.context() as patched:
        patched.setattr(postgres_schema, "_secure", dies)
        with pytest.raises(Exception, match=r"terminat|closed"):
            await upgrade(url, SCHEMAS["orders"], ROLES)
    assert await current(url) is None
    assert await sql(server, "SELECT 1 FROM pg_tables WHERE schemaname = 'public'", "killed_orders") == []
    await upgrade(url, SCHEMAS["orders"], ROLES)
    assert await current(url) == SCHEMAS["orders"].head
    await sql(server, "DROP DATABASE killed_orders WITH (FORCE)")


async def test_a_server_that_is_away_is_told_apart_from_a_database_that_is(server: PostgresServer) -> None:
    assert await current(server.url("no_such_database", OWNER)) is None
    with pytest.raises(StorageUnavailable):
        await current(f"postgresql://{OWNER}@127.0.0.1:1/x")


async def test_a_process_whose_schema_is_older_waits_and_one_that_serves_says_why_it_is_not_ready(
    server: PostgresServer, tmp_path: Path
) -> None:
    platform = Platform(tmp_path, server.environ_of_platform())
    database = platform.environ["MERCATO_DATABASE_URL"].rpartition("/")[2].replace("{service}", "orders")
    older = "UPDATE alembic_version SET version_num = 'orders_0001'"
    head = SCHEMAS["orders"].head
    newest = f"UPDATE alembic_version SET version_num = '{head}'"
    reason = f"The orders database is at orders_0001 and must be at {head}: `mercato migrate up`."
    await sql(server, older, database)
    starting = asyncio.create_task(asyncio.to_thread(platform.start))
    try:
        await asyncio.to_thread(wait_until, lambda: reason in platform.log())
        await sql(server, newest, database)
        await starting
        await sql(server, older, database)
        async with platform.client() as anybody:
            ready = await anybody.get("/health/ready")
            assert (ready.status, ready.json["checks"]["orders_database"]) == (503, "failing")
            assert ready.json["reasons"] == {"orders_database": reason}
            await sql(server, "UPDATE alembic_version SET version_num = 'orders_9999'", database)
            assert (await anybody.get("/health/ready")).status == 200, "the next release's schema will do"
    finally:
        await asyncio.to_thread(platform.stop)
