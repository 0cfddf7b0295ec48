"""Schemas on PostgreSQL: migrations, rights, and row-level security on every table that is of stores.

Three roles: one owns the tables and migrates; one serves, and sees the rows of the store that its
connection works for; one does the platform's own work, and sees all rows. What the second and the
third may is granted here, so neither owns anything.
"""

import asyncio
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import asyncpg

from mercato.adapters.sql.database import StorageUnavailable
from mercato.adapters.sql.postgres_faults import server_of
from mercato.adapters.sql.postgres_pool import TENANT_SETTING
from mercato.adapters.sql.schema import BASE, Schema, SchemaTooNew, alembic_config

MIGRATION_DEADLINE_S = 600.0
_CONNECT_DEADLINE_S = 10.0
_LOCK = 7_265_231
"""The advisory lock of whoever migrates: of several that start at once, one does."""

_SCHEMAS = """
SELECT schema_name::text FROM information_schema.schemata
WHERE schema_name = 'public' OR schema_owner = CURRENT_USER
"""
_TABLES = """
SELECT c.table_name::text, bool_or(c.column_name = 'tenant_id'), bool_or(c.column_name = 'key')
FROM information_schema.columns c
JOIN information_schema.tables t USING (table_schema, table_name)
WHERE c.table_schema = 'public' AND t.table_type = 'BASE TABLE'
GROUP BY c.table_name ORDER BY c.table_name
"""


@dataclass(frozen=True, slots=True)
class Roles:
    """The roles that are granted what they need. They are there already."""

    serving: str
    system: str

    @classmethod
    def of(cls, url: str, system_url: str) -> "Roles":
        """Return the roles that the two URLs connect as."""
        return cls(*(urlsplit(each).username or "" for each in (url, system_url)))


async def ensure_database(url: str) -> None:
    """Make the database that the URL names, if it is not there. Its role must be allowed to, then.

    Raises StorageUnavailable.
    """
    try:
        await (await _connect(url)).close()
    except asyncpg.InvalidCatalogNameError:
        name = urlsplit(url).path.removeprefix("/")
        connection = await _connect(urlsplit(url)._replace(path="/postgres").geturl())
        try:
            # Of several that start at once, one makes it.
            await connection.execute("SELECT pg_advisory_lock($1)", _LOCK)
            if not await connection.fetchval("SELECT 1 FROM pg_database WHERE datname = $1", name):
                await connection.execute(f"CREATE DATABASE {_quoted(name)}")
        except asyncpg.InsufficientPrivilegeError as error:
            raise StorageUnavailable(
                f"There is no database {name}, and the owner may not make it: CREATE DATABASE {name}."
            ) from error
        finally:
            await connection.close()


async def _connect(url: str) -> "asyncpg.Connection[asyncpg.Record]":
    try:
        return await asyncpg.connect(url, timeout=_CONNECT_DEADLINE_S)
    except (OSError, TimeoutError, asyncpg.InvalidAuthorizationSpecificationError) as error:
        raise StorageUnavailable(
            f"{server_of(url)} cannot be reached as {urlsplit(url).username}: {type(error).__name__}."
        ) from error


async def current(url: str) -> str | None:
    """Return the revision that the database stands at, None if there is none. Raises StorageUnavailable.

    A database that was migrated down to nothing stands at `base`.
    """
    try:
        connection = await _connect(url)
    except asyncpg.InvalidCatalogNameError:
        return None
    try:
        found = await connection.fetchval("SELECT version_num FROM alembic_version")
    except asyncpg.UndefinedTableError:
        return None
    finally:
        await connection.close()
    return BASE if found is None else str(found)


async def upgrade(url: str, schema: Schema, roles: Roles, revision: str = "head") -> None:
    """Migrate up to `revision`, wholly or not at all, and grant the roles their rights. Idempotent.

    `url` connects as the owner. Raises SchemaTooNew for an unknown present revision.
    """
    await _migrate(url, schema, "upgrade", revision, roles)


async def downgrade(url: str, schema: Schema, roles: Roles, revision: str) -> None:
    """Migrate down to `revision`; `base` is an empty database, `-1` one step back."""
    await _migrate(url, schema, "downgrade", revision, roles)


async def _migrate(url: str, schema: Schema, direction: str, revision: str, roles: Roles) -> None:
    from sqlalchemy import text  # noqa: PLC0415  slow to import, and rarely needed
    from sqlalchemy.ext.asyncio import create_async_engine  # noqa: PLC0415

    engine = create_async_engine(url.replace("postgresql://", "postgresql+asyncpg://", 1))
    try:
        async with asyncio.timeout(MIGRATION_DEADLINE_S), engine.begin() as connection:
            await connection.execute(text(f"SELECT pg_advisory_xact_lock({_LOCK})"))
            await connection.run_sync(lambda sync: _run(sync, schema, direction, revision))
            raw = await connection.get_raw_connection()
            assert raw.driver_connection is not None  # noqa: S101  it has just been used
            await _secure(raw.driver_connection, roles)
    finally:
        await engine.dispose()


def _run(connection: Any, schema: Schema, direction: str, revision: str) -> None:  # noqa: ANN401  SQLAlchemy's
    from alembic import command  # noqa: PLC0415  slow to import, and rarely needed
    from alembic.util import CommandError  # noqa: PLC0415

    _compare_bytes()
    try:
        getattr(command, direction)(alembic_config(schema, connection), revision)
    except CommandError as error:
        raise SchemaTooNew(
            f"The {schema.service} database has a schema this version does not know ({error})."
        ) from error


def _compare_bytes() -> None:
    """Have every text compared by its bytes, as SQLite does and cursors expect, whatever the locale is."""
    import sqlalchemy as sa  # noqa: PLC0415  slow to import, and rarely needed
    from sqlalchemy.ext.compiler import compiles  # noqa: PLC0415

    @compiles(sa.String, "postgresql")
    @compiles(sa.Text, "postgresql")
    def by_bytes(kind: Any, compiler: Any, **options: Any) -> str:  # noqa: ANN401  SQLAlchemy's own
        name = "visit_text" if isinstance(kind, sa.Text) else "visit_VARCHAR"
        return f'{getattr(compiler, name)(kind, **options)} COLLATE "C"'


async def _secure(connection: "asyncpg.Connection[asyncpg.Record]", roles: Roles) -> None:
    """Grant the roles their rights on all tables, and fence off the rows of each store."""
    serving, system = _quoted(roles.serving), _quoted(roles.system)
    for (schema,) in await connection.fetch(_SCHEMAS):
        there, to = f"IN SCHEMA {_quoted(schema)}", f"TO {serving}, {system}"
        await connection.execute(
            f"GRANT USAGE ON SCHEMA {_quoted(schema)} {to};"
            f"GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES {there} {to};"
            f"GRANT USAGE ON ALL SEQUENCES {there} {to};"
        )
    await connection.execute(f"REVOKE INSERT, UPDATE, DELETE ON alembic_version FROM {serving}, {system}")
    # A setting that was reset reads as empty: no store is called so, and none is to be.
    store = f"NULLIF(current_setting('{TENANT_SETTING}', true), '')"
    for table, has_tenant, has_key in await connection.fetch(_TABLES):
        if not has_tenant and not has_key:
            continue
        # An ordering key is `store/family/subject`.
        own = f"tenant_id = {store}" if has_tenant else f"split_part(key, '/', 1) = {store}"
        await connection.execute(
            f"ALTER TABLE {_quoted(table)} ENABLE ROW LEVEL SECURITY;"
            f"ALTER TABLE {_quoted(table)} FORCE ROW LEVEL SECURITY;"
            f"DROP POLICY IF EXISTS store ON {_quoted(table)};"
            f"CREATE POLICY store ON {_quoted(table)} TO {serving} USING ({own}) WITH CHECK ({own});"
            f"DROP POLICY IF EXISTS platform ON {_quoted(table)};"
            f"CREATE POLICY platform ON {_quoted(table)} TO {system}, CURRENT_USER"
            " USING (true) WITH CHECK (true);"
        )


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
