"""Every row that the databases of a platform on PostgreSQL hold."""

import asyncio
from typing import Any

import asyncpg

from mercato.runtime.folder import SCHEMAS

_TABLES = """
SELECT schemaname, tablename FROM pg_tables WHERE schemaname NOT IN ('pg_catalog', 'information_schema')
ORDER BY 1, 2
"""


def everything(environ: dict[str, str]) -> dict[str, list[str]]:
    """Return every row of every table as text, by the table with its service or schema."""
    return asyncio.run(_everything(environ))


async def _everything(environ: dict[str, str]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for service in SCHEMAS:
        async with asyncio.timeout(30):
            connection = await as_superuser(environ, service)
            for schema, table in await connection.fetch(_TABLES):
                name = f"{service}.{table}" if schema == "public" else f"{schema}.{table}"
                rows = await connection.fetch(f'SELECT * FROM "{schema}"."{table}"')
                found[name] = sorted(repr(tuple(row)) for row in rows)
            await connection.close()
    return found


def marks_of(environ: dict[str, str], tenant: str) -> list[str]:
    """Return what tells a store's rows: its id, and those of its things."""
    ids = [
        each
        for service in ("users", "products", "orders", "payments")
        for (each,) in ask(environ, service, f"SELECT id FROM {service} WHERE tenant_id = $1", tenant)
    ]
    return [tenant, *ids]


def left_of(environ: dict[str, str], marks: list[str]) -> list[str]:
    """Return the rows that hold one of the marks, by table."""
    return [
        f"{table}: {row}"
        for table, rows in everything(environ).items()
        for row in rows
        # That it was purged is told, in the store `default`.
        if any(m in row for m in marks) and "tenants_purge" not in row and "default/audit/tenant:" not in row
    ]


def ask(environ: dict[str, str], service: str, statement: str, *values: object) -> list[Any]:
    """Run a statement on a service's database as somebody who may do anything."""
    return asyncio.run(_ask(environ, service, statement, *values))


async def _ask(environ: dict[str, str], service: str, statement: str, *values: object) -> list[Any]:
    connection = await as_superuser(environ, service)
    try:
        return list(await connection.fetch(statement, *values))
    finally:
        await connection.close()


async def as_superuser(environ: dict[str, str], service: str) -> "asyncpg.Connection[asyncpg.Record]":
    """Connect to a service's database as somebody whom no fence holds."""
    url = environ["MERCATO_DATABASE_URL"].replace("{service}", service)
    head, _, tail = url.partition("@")
    return await asyncpg.connect(f"{head.rpartition('//')[0]}//postgres@{tail}")
