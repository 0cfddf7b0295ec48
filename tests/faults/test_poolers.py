"""Between Mercato and PostgreSQL: a pooler that keeps sessions, and one that does not."""

import asyncio
import shutil
import subprocess
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from socket import create_connection

import pytest

from mercato.adapters.sql.database import Misconfigured
from mercato.adapters.sql.postgres import PostgresDatabase
from mercato.adapters.sql.postgres_pool import PoolSettings
from mercato.adapters.sql.steps import Steps
from mercato.kernel.acting import acting
from mercato.kernel.cause import ByEvent
from mercato.kernel.tenancy import TenantId
from mercato.runtime.folder import SCHEMAS
from tests import postgres_server
from tests.clock import FakeClock
from tests.commands import mercato, wait_until
from tests.engines import need
from tests.postgres_server import ROLES
from tests.running import Platform, add_product, free_port, open_store, order_of

STORES = [TenantId(name) for name in ("mine", "theirs", "others")]


@pytest.fixture
async def database() -> AsyncIterator[str]:
    need("postgres", "pgbouncer")
    server = postgres_server.shared()
    name = await server.new_database(SCHEMAS["orders"])
    yield name
    await server.drop(name)


@contextmanager
def pooler(mode: str) -> Iterator[int]:
    """Run PgBouncer before the private server, with two connections for each role; yield its port."""
    server, port = postgres_server.shared(), free_port()
    folder = Path(tempfile.mkdtemp(dir=server.folder))
    user = postgres_server.unprivileged(folder)
    roles = (ROLES.serving, ROLES.system, postgres_server.OWNER)
    (folder / "users.txt").write_text("".join(f'"{role}" ""\n' for role in roles))
    (folder / "pgbouncer.ini").write_text(
        f"[databases]\n* = host=127.0.0.1 port={server.port}\n"
        f"[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\n"
        f"auth_type = trust\nauth_file = {folder}/users.txt\npool_mode = {mode}\n"
        f"default_pool_size = {2 if mode == 'transaction' else 20}\nmax_client_conn = 500\n"
        "ignore_startup_parameters = extra_float_digits,search_path\n"
    )
    program = shutil.which("pgbouncer") or "/usr/sbin/pgbouncer"
    with (folder / "pgbouncer.log").open("wb") as log:
        words = [program, str(folder / "pgbouncer.ini")]
        process = subprocess.Popen(words, stdout=log, stderr=log, user=user, cwd=folder)
    try:
        wait_until(lambda: _listens(port))
        yield port
    finally:
        process.terminate()
        process.wait(20)


def _listens(port: int) -> bool:
    try:
        create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


def through(port: int, database: str, *, set_local: bool) -> PostgresDatabase:
    urls = [f"postgresql://{role}@127.0.0.1:{port}/{database}" for role in (ROLES.serving, ROLES.system)]
    return PostgresDatabase(urls[0], urls[1], PoolSettings(6, set_local=set_local), name=database)


async def stores_stay_apart(db: PostgresDatabase) -> None:
    """Assert that each task sees its own store, whichever connection it is lent."""
    steps = Steps(db, source="/mercato/x", clock=FakeClock())

    async def work(number: int) -> None:
        store = STORES[number % len(STORES)]
        with acting(store):
            await steps.settle(ByEvent(f"event-{number}", f"{store}/order/{number}", 1, "event"))
            for (key,) in await db.fetch_all("SELECT key FROM inbox_positions"):
                assert key.startswith(f"{store}/")

    await asyncio.gather(*(work(number) for number in range(120)))
    assert await db.fetch_one("SELECT count(*) FROM inbox_positions") == (120,)


async def test_a_pooler_by_transaction_is_refused_in_a_sentence(database: str) -> None:
    with pooler("transaction") as port:
        db = through(port, database, set_local=False)
        with acting(STORES[0]), pytest.raises(Misconfigured, match="does not keep sessions"):
            await db.fetch_one("SELECT 1")
        await db.close()


async def test_a_pooler_by_transaction_does_where_each_transaction_names_its_store(
    database: str,
) -> None:
    with pooler("transaction") as port:
        db = through(port, database, set_local=True)
        await stores_stay_apart(db)
        await db.close()


async def test_a_pooler_by_session_does(database: str) -> None:
    with pooler("session") as port:
        db = through(port, database, set_local=False)
        await stores_stay_apart(db)
        await db.close()


async def test_a_platform_behind_a_pooler_says_what_to_set_and_then_sells(
    database: str, tmp_path: Path
) -> None:
    assert database
    platform = Platform(tmp_path, postgres_server.shared().environ_of_platform())
    with pooler("transaction") as port:
        real = str(postgres_server.shared().port)
        platform.environ = {name: url.replace(real, str(port)) for name, url in platform.environ.items()}
        refused = await asyncio.to_thread(
            mercato, "up", "--port", str(free_port()), folder=tmp_path, **platform.environ
        )
        assert "MERCATO_DATABASE_SET_LOCAL=true" in refused.err.splitlines()[-1]
        assert refused.code == 2
        platform.environ["MERCATO_DATABASE_SET_LOCAL"] = "true"
        await asyncio.to_thread(platform.start)
        store = await open_store(platform, "pooled")
        async with platform.client(store.customer) as shop:
            product = await add_product(shop, store, "LAMP", stock=3)
            placed = await shop.post("/api/v1/orders", order_of(product, 2), key="k")
            assert placed.status == 201, placed.body
        assert await asyncio.to_thread(platform.stop) == 0
