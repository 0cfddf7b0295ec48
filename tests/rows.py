"""What a platform keeps in its databases, read and changed behind its back: in files, or on PostgreSQL."""

import asyncio
import itertools
import re
import shutil
import sqlite3
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any, TypeVar

import asyncpg

from mercato.runtime.folder import SCHEMAS
from tests.commands import wait_until
from tests.running import Platform

Found = TypeVar("Found")
_EVENTS = """
SELECT (SELECT count(*) FROM outbox WHERE sent_at IS NULL)
    + (SELECT count(*) FROM inbox_parked WHERE state <> 'dead'),
  (SELECT max(position) FROM outbox)
"""
_REST_WITHIN_S = 60.0
_MAILS = "SELECT count(due_at), count(*) FROM notifications"
_SANDBOX = "sandbox"
"""A file of its own, or a schema in the database of payments."""


def rows(platform: Platform, database: str, statement: str, *values: object) -> list[tuple[Any, ...]]:
    """Return what a statement finds; its places for values are question marks."""
    if not _is_on_server(platform):
        with closing(sqlite3.connect(platform.data / f"{database}.db")) as file, file:
            return file.execute(statement, values).fetchall()

    async def fetch(connection: asyncpg.Connection) -> list[tuple[Any, ...]]:
        return [tuple(row) for row in await connection.fetch(_numbered(statement), *values)]

    return _on_server(platform, database, fetch)


def number(platform: Platform, database: str, statement: str, *values: object) -> int:
    """Return the one number that a statement finds, 0 if it finds nothing."""
    found = rows(platform, database, statement, *values)
    return int(found[0][0]) if found else 0


def change(platform: Platform, database: str, statement: str) -> int:
    """Carry out a statement; return how many rows it has changed."""
    if not _is_on_server(platform):
        with closing(sqlite3.connect(platform.data / f"{database}.db")) as file, file:
            return file.execute(statement).rowcount

    async def execute(connection: asyncpg.Connection) -> int:
        return int((await connection.execute(statement)).split()[-1])

    return _on_server(platform, database, execute)


async def at_rest(platform: Platform) -> None:
    """Wait until a platform in one process has nothing left to do: no effect of an event, and no email."""
    before: list[tuple[Any, ...]] = []

    def nothing_moves() -> bool:
        found = [rows(platform, name, _EVENTS)[0] for name in SCHEMAS]
        found += rows(platform, "notifications", _MAILS)
        # What is so in each database at both looks is so in all of them at once, in between.
        rests = found == before and all(unsettled == 0 for unsettled, _ in found)
        before[:] = found
        return rests

    await asyncio.to_thread(wait_until, nothing_moves, _REST_WITHIN_S)


def copied(platform: Platform, folder: Path) -> Platform:
    """Return a platform that has what another has, which is stopped; only commands may work on it."""
    shutil.copytree(platform.data, folder / "data")
    if not _is_on_server(platform):
        return Platform(folder)
    from tests.postgres_server import shared  # noqa: PLC0415  only where it is needed

    made = shared().copies(platform.settings.database_url)
    return Platform(folder, platform.environ, engines={**(platform.engines or {}), **made})


def kept(platform: Platform) -> dict[str, bytes]:
    """Return all that it keeps: every file, with what is deleted and not overwritten in it, or all tables."""
    if not _is_on_server(platform):
        return {path.name: path.read_bytes() for path in platform.data.glob("*.db*")}

    async def tables(connection: asyncpg.Connection) -> dict[str, bytes]:
        named = await connection.fetch(
            "SELECT schemaname, tablename FROM pg_tables WHERE schemaname IN ('public', 'sandbox')"
        )
        return {
            f"{schema}.{table}": repr(
                [tuple(row) for row in await connection.fetch(f'SELECT * FROM {schema}."{table}"')]
            ).encode()
            for schema, table in named
        }

    return {
        f"{service}.{name}": content
        for service in SCHEMAS
        for name, content in _on_server(platform, service, tables).items()
    }


def wipe(platform: Platform, database: str, statement: str) -> None:
    """Delete rows, and in a file also what is left of them."""
    if _is_on_server(platform):
        change(platform, database, statement)
        return
    with closing(sqlite3.connect(platform.data / f"{database}.db")) as file:
        file.execute("PRAGMA secure_delete = ON")
        file.execute(statement)
        file.commit()
        file.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def _is_on_server(platform: Platform) -> bool:
    return bool(platform.settings.database_url)


def _on_server(
    platform: Platform, database: str, work: Callable[[asyncpg.Connection], Awaitable[Found]]
) -> Found:
    service = "payments" if database == _SANDBOX else database
    url = platform.settings.database_system_url.replace("{service}", service)
    path = _SANDBOX if database == _SANDBOX else "public"

    async def connected() -> Found:
        connection = await asyncpg.connect(url, server_settings={"search_path": path})
        try:
            return await work(connection)
        finally:
            await connection.close()

    # A loop of the test's own may be running in this thread.
    with ThreadPoolExecutor(1) as apart:
        return apart.submit(asyncio.run, connected()).result()


def _numbered(statement: str) -> str:
    numbers = itertools.count(1)
    return re.sub(r"\?", lambda _: f"${next(numbers)}", statement)
