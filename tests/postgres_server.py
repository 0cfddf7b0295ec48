"""A private PostgreSQL on a free port, in a folder of its own, as a user without rights."""

import asyncio
import atexit
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Coroutine
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import asyncpg
import psutil

from mercato.adapters.sql.postgres import PostgresDatabase
from mercato.adapters.sql.postgres_pool import PoolSettings
from mercato.adapters.sql.postgres_schema import Roles, upgrade
from mercato.adapters.sql.schema import Schema
from mercato.runtime.folder import SCHEMAS
from tests.commands import wait_until
from tests.running import free_port

START_DEADLINE_S = 60.0
_ROOM = 4 << 30
_FOLDERS = ("/usr/lib/postgresql/17/bin", "/usr/lib/postgresql/16/bin", "/usr/lib/postgresql/15/bin")
ROLES = Roles("mercato_app", "mercato_system")
OWNER = "mercato_owner"


def _is_gone(process: psutil.Process) -> bool:
    """Say whether a process has let go of all that it had; it may not have been waited for yet."""
    try:
        return bool(process.status() == psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return True


def _memory() -> Path | None:
    """Return a folder in memory, if one has room: databases are made there in a seventh of the time."""
    shared = Path("/dev/shm")  # noqa: S108  a folder of its own is made in it
    return shared if shared.is_dir() and shutil.disk_usage(shared).free > _ROOM else None


def binaries() -> Path | None:
    """Return where PostgreSQL's programs are, if it is installed."""
    return next((Path(each) for each in _FOLDERS if (Path(each) / "initdb").exists()), None)


@dataclass
class PostgresServer:
    """One server. `durable` has every commit on disk before it counts, as in production."""

    durable: bool = False
    port: int = 0
    folder: Path = field(default_factory=Path)
    process: "subprocess.Popen[bytes] | None" = None
    _made: dict[str, str] = field(default_factory=dict)
    _number: int = 0

    def start(self) -> None:
        """Make a database cluster with the three roles, and serve it."""
        found = binaries()
        assert found is not None
        self.folder = Path(tempfile.mkdtemp(prefix="mercato-pg-", dir=None if self.durable else _memory()))
        self.port = free_port()
        user = unprivileged(self.folder)
        subprocess.run(
            [
                *(found / "initdb", "-D", self.folder / "data", "-U", "postgres", "-A", "trust"),
                *("-E", "UTF8", "--locale=C.UTF-8", "--no-sync"),
            ],
            check=True,
            capture_output=True,
            user=user,
            cwd=self.folder,
        )
        self.serve()
        atexit.register(self.stop)
        _run_apart(self._make_roles())

    def serve(self) -> None:
        """Start the server on the cluster that is there, and wait for it."""
        found = binaries()
        assert found is not None
        settings = {
            "port": str(self.port),
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": "",
            "max_connections": "200",
            "deadlock_timeout": "100ms",
            "fsync": "on" if self.durable else "off",
            "synchronous_commit": "on" if self.durable else "off",
            "autovacuum": "on" if self.durable else "off",
        }
        options = [f"--{name.replace('_', '-')}={value}" for name, value in settings.items()]
        with (self.folder / "log.txt").open("ab") as log:
            self.process = subprocess.Popen(
                [found / "postgres", "-D", self.folder / "data", *options],
                stdout=log,
                stderr=log,
                user=unprivileged(self.folder),
                cwd=self.folder,
            )
        deadline = time.monotonic() + START_DEADLINE_S
        while subprocess.run(
            [found / "pg_isready", "-q", "-h", "127.0.0.1", "-p", str(self.port)], check=False
        ).returncode:
            assert self.process.poll() is None, (self.folder / "log.txt").read_text()[-2000:]
            assert time.monotonic() < deadline, "PostgreSQL did not start"
            time.sleep(0.02)

    def kill(self) -> None:
        """Kill the server as a power failure would, as far as processes can feel one."""
        assert self.process is not None
        server = psutil.Process(self.process.pid)
        # It must not fork once its children are listed: one that is left keeps the next server from starting.
        server.suspend()
        wait_until(lambda: server.status() == psutil.STATUS_STOPPED)
        children = server.children()
        for each in (server, *children):
            with suppress(psutil.NoSuchProcess):
                each.kill()
        self.process.wait(10)
        wait_until(lambda: all(map(_is_gone, children)))
        (self.folder / "data" / "postmaster.pid").unlink(missing_ok=True)

    def stop(self) -> None:
        """Stop it and delete all that it kept."""
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGQUIT)
            self.process.wait(30)
        shutil.rmtree(self.folder, ignore_errors=True)

    def url(self, database: str, role: str = "postgres") -> str:
        """Return the URL of a database for a role."""
        return f"postgresql://{role}@127.0.0.1:{self.port}/{database}"

    async def _make_roles(self) -> None:
        connection = await asyncpg.connect(self.url("postgres"))
        for role in (OWNER, ROLES.serving, ROLES.system):
            await connection.execute(f"CREATE ROLE {role} LOGIN")
        await connection.close()

    async def new_database(self, schema: Schema) -> str:
        """Make a database with a service's schema, from a template; return its name."""
        connection = await asyncpg.connect(self.url("postgres"))
        try:
            template = f"template_{schema.service}"
            if template not in self._made:
                await connection.execute(f"CREATE DATABASE {template} OWNER {OWNER}")
                await upgrade(self.url(template, OWNER), schema, ROLES)
                await self._let_tests_make_tables(template)
                self._made[template] = schema.head
            self._number += 1
            name = f"{schema.service}_{os.getpid()}_{self._number}"
            await connection.execute(
                f"CREATE DATABASE {name} TEMPLATE {template} OWNER {OWNER} STRATEGY FILE_COPY"
            )
        finally:
            await connection.close()
        return name

    def environ_of_platform(self) -> dict[str, str]:
        """Make a database for each service, and return the settings that name them to `mercato`."""
        _run_apart(self._new_databases())
        return self._named(f"{{service}}_of_{os.getpid()}_{self._number}")

    def copies(self, url: str) -> dict[str, str]:
        """Do so with copies of databases, named with `{service}`, which nobody may be connected to."""
        self._number += 1
        name, source = f"{{service}}_copy_{os.getpid()}_{self._number}", url.rpartition("/")[2]
        _run_apart(self._copy(source, name))
        return self._named(name)

    def drop_all(self, url: str) -> None:
        """Delete the databases of a platform, named with `{service}`, whoever is connected to them."""
        name = url.rpartition("/")[2].partition("?")[0]

        async def drop_each() -> None:
            for service in SCHEMAS:
                await self.drop(name.format(service=service))

        _run_apart(drop_each())

    def _named(self, name: str) -> dict[str, str]:
        urls = {"": ROLES.serving, "SYSTEM_": ROLES.system, "OWNER_": OWNER}
        return {f"MERCATO_DATABASE_{kind}URL": self.url(name, role) for kind, role in urls.items()}

    async def _copy(self, source: str, name: str) -> None:
        connection = await asyncpg.connect(self.url("postgres"))
        try:
            for service in SCHEMAS:
                made, of = name.format(service=service), source.format(service=service)
                await connection.execute(f"CREATE DATABASE {made} TEMPLATE {of} OWNER {OWNER}")
        finally:
            await connection.close()

    async def _new_databases(self) -> None:
        made = [await self.new_database(schema) for schema in SCHEMAS.values()]
        connection = await asyncpg.connect(self.url("postgres"))
        try:
            for service, name in zip(SCHEMAS, made, strict=True):
                await connection.execute(
                    f"ALTER DATABASE {name} RENAME TO {service}_of_{os.getpid()}_{self._number}"
                )
        finally:
            await connection.close()

    async def _let_tests_make_tables(self, database: str) -> None:
        connection = await asyncpg.connect(self.url(database))
        await connection.execute(
            f"GRANT CREATE ON SCHEMA public TO {ROLES.system};"
            f"ALTER DEFAULT PRIVILEGES FOR ROLE {ROLES.system} GRANT ALL ON TABLES TO {ROLES.serving}"
        )
        await connection.close()

    def open(self, name: str, *, size: int = 8) -> PostgresDatabase:
        """Open a database as a service does."""
        return PostgresDatabase(
            self.url(name, ROLES.serving), self.url(name, ROLES.system), PoolSettings(size), name=name
        )

    async def drop(self, name: str) -> None:
        """Delete a database, whoever is connected to it."""
        connection = await asyncpg.connect(self.url("postgres"))
        await connection.execute(f"DROP DATABASE {name} WITH (FORCE)")
        await connection.close()


def _run_apart(work: Coroutine[Any, Any, None]) -> None:
    """Run it to its end in another thread: a loop of the test's own may be running in this one."""
    with ThreadPoolExecutor(1) as outside:
        outside.submit(asyncio.run, work).result()


def unprivileged(folder: Path) -> int | None:
    """Return a user that PostgreSQL is willing to run as; the folder is theirs."""
    if os.geteuid() != 0:
        return None
    nobody = pwd.getpwnam("nobody").pw_uid
    shutil.chown(folder, nobody)
    return nobody


@cache
def shared() -> PostgresServer:
    """Return the server of this test run, started on first use and stopped at its end."""
    server = PostgresServer()
    server.start()
    return server
