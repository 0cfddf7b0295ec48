"""Why a database on PostgreSQL cannot be used, in words for whoever runs it."""

from dataclasses import dataclass
from urllib.parse import urlsplit

import asyncpg

from mercato.adapters.sql.schema import BASE, Schema

DEADLINE_S = 5.0
_MIGRATE = "mercato migrate up"
ERRORS = (asyncpg.PostgresError, asyncpg.InterfaceError, OSError)
"""What the driver raises."""


@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong, and what to do."""

    told: str
    remedy: str

    @property
    def sentence(self) -> str:
        """Both, as a sentence."""
        return f"{self.told}: {self.remedy}."


async def looking(url: str, deadline_s: float) -> "asyncpg.Connection[asyncpg.Record]":
    """Connect to look at what is there, and change nothing: in a transaction, as any pooler can keep it.

    Raises ERRORS. Whoever has looked terminates the connection.
    """
    connection = await asyncpg.connect(
        url, timeout=deadline_s, command_timeout=deadline_s, statement_cache_size=0
    )
    try:
        await connection.execute("BEGIN READ ONLY")
    except BaseException:
        connection.terminate()
        raise
    return connection


async def fault_of(url: str, schema: Schema, setting: str) -> Fault | None:
    """Return what keeps a role from its work on a service's database, None if nothing does.

    `setting` is the variable that the URL comes from. Nothing of the URL's password is told.
    """
    try:
        connection = await looking(url, DEADLINE_S)
        try:
            found = await connection.fetchval("SELECT version_num FROM alembic_version")
        finally:
            connection.terminate()
    except ERRORS as error:
        return _told(error, url, schema, setting)
    at = BASE if found is None else str(found)
    if found is not None and at >= schema.head:
        return None
    told = f"The {schema.service} database is at {at}, and must be at {schema.head}"
    return Fault(told, f"{_MIGRATE}, with the owner's role")


def server_of(url: str) -> str:
    """Return where a URL's server is, as it may be told: without the role's password."""
    return f"PostgreSQL at {urlsplit(url).netloc.rpartition('@')[2] or 'localhost'}"


def _told(error: Exception, url: str, schema: Schema, setting: str) -> Fault:
    server, parts = server_of(url), urlsplit(url)
    match error:
        case asyncpg.InvalidCatalogNameError():
            return Fault(f"There is no database {parts.path[1:]} on {server}", f"{_MIGRATE} makes it")
        case asyncpg.UndefinedTableError():
            return Fault(f"The {schema.service} database has no tables yet", _MIGRATE)
        case asyncpg.InsufficientPrivilegeError():
            told = f"The role {parts.username} lacks rights in the {schema.service} database"
            return Fault(told, f"{_MIGRATE} grants them to the roles that {setting} and the others name")
        case asyncpg.InvalidAuthorizationSpecificationError():
            told = f"{server} lets no {parts.username} in"
            return Fault(told, f"look after the role and the password in {setting}")
        case asyncpg.InsufficientResourcesError():
            told = f"{server} has no connection to spare"
            return Fault(told, "give it more max_connections, or processes a smaller MERCATO_DATABASE_POOL")
        case OSError() | asyncpg.CannotConnectNowError():
            return Fault(f"{server} cannot be reached", f"see that it runs, and that {setting} names it")
        case _:
            told = f"{server} cannot be used ({type(error).__name__}: {' '.join(str(error).split())})"
            return Fault(told, "look into its log")
