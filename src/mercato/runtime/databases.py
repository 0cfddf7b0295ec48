"""Where each service keeps what it knows: a file in the data folder, or a database on PostgreSQL."""

from importlib.util import find_spec
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from mercato.adapters.sql.database import Database
from mercato.kernel.errors import Unavailable
from mercato.payments.providers.sandbox import Book, book_at
from mercato.runtime.folder import SCHEMAS
from mercato.runtime.folder import open_database as open_file
from mercato.runtime.settings import Settings, WrongSetting, variable

if TYPE_CHECKING:
    from mercato.adapters.sql.postgres import PostgresDatabase

_SERVICE = "{service}"


class Unusable(Exception):
    """Something about the server keeps a command from its work; the message says what, in a sentence."""


def open_database(settings: Settings, service: str) -> Database:
    """Open a service's database; a file is made and migrated if need be.

    Raises WrongSetting, SchemaTooNew.
    """
    if not settings.database_url:
        return open_file(settings.folder, service)
    return _postgres(settings, service)


def open_sandbox_book(settings: Settings, webhook_secret: str) -> Book:
    """Open the sandbox's book, beside the database of payments. Raises WrongSetting."""
    if not settings.database_url:
        return book_at(settings.folder / "sandbox.db")
    return Book(_postgres(settings, "payments", schema="sandbox"), webhook_secret)


def _postgres(settings: Settings, service: str, *, schema: str = "public") -> "PostgresDatabase":
    url, system_url = (url_of(settings, name, service) for name in ("database_url", "database_system_url"))
    from mercato.adapters.sql.postgres import PostgresDatabase  # noqa: PLC0415  an extra
    from mercato.adapters.sql.postgres_pool import PoolSettings  # noqa: PLC0415

    return PostgresDatabase(
        url,
        system_url,
        PoolSettings(settings.database_pool, schema, set_local=settings.database_set_local),
        name=f"{service}.{schema}",
    )


async def migrate_on_server(settings: Settings, service: str, direction: str, revision: str) -> str | None:
    """Go up or down to a revision, or nowhere ("current"); return where the database stands then.

    A database that is not there is made, where the owner may. Raises WrongSetting, SchemaTooNew, Unavailable.
    """
    from mercato.adapters.sql import postgres_schema as schemas  # noqa: PLC0415  an extra

    url = url_of(settings, "database_owner_url", service)
    roles = schemas.Roles.of(
        url_of(settings, "database_url", service), url_of(settings, "database_system_url", service)
    )
    if direction == "upgrade":
        await schemas.ensure_database(url)
        await schemas.upgrade(url, SCHEMAS[service], roles, revision)
    elif direction == "downgrade":
        await schemas.downgrade(url, SCHEMAS[service], roles, revision)
    return await schemas.current(url)


async def why_unusable(settings: Settings, error: Exception) -> str | None:
    """Return in a sentence what is behind an error of the databases on PostgreSQL, None if nothing is."""
    if not settings.database_url:
        return None
    import asyncpg  # noqa: PLC0415  an extra

    if not isinstance(error, Unavailable | asyncpg.PostgresError | asyncpg.InterfaceError):
        return None
    from mercato.adapters.sql.postgres_faults import fault_of  # noqa: PLC0415  an extra

    for service, schema in SCHEMAS.items():
        for name in ("database_url", "database_system_url"):
            fault = await fault_of(url_of(settings, name, service), schema, variable(name))
            if fault is not None:
                return fault.sentence
    return None


def url_of(settings: Settings, name: str, service: str) -> str:
    """Return the URL of a service's database for one of the roles. Raises WrongSetting."""
    if find_spec("asyncpg") is None:
        raise WrongSetting(
            f"{variable('database_url')} needs the driver of PostgreSQL, which is not installed:"
            " pip install 'mercato[postgres]'."
        )
    url: str = getattr(settings, name)
    if not url:
        raise WrongSetting(f"{variable(name)} is not set, which {variable('database_url')} needs.")
    if _SERVICE not in url:
        raise WrongSetting(
            f"{variable(name)} must name the database with {_SERVICE}, as in"
            f" postgresql://ROLE:PASSWORD@HOST:5432/mercato_{_SERVICE}: each service has its own."
        )
    _check(url, variable(name))
    return url.replace(_SERVICE, service)


def _check(url: str, setting: str) -> None:
    """Raise WrongSetting for what the driver would not understand, or take for something else."""
    try:
        role, _, hosts = urlsplit(url).netloc.rpartition("@")
    except ValueError:
        role = hosts = ""
    # There may be several; one of IPv6 is in brackets.
    ports = [host.rpartition("]")[2].partition(":") for host in hosts.split(",")]
    if not role or any(colon and not (port.isascii() and port.isdigit()) for _, colon, port in ports):
        raise WrongSetting(
            f"{setting} names no role, or no port that there is; it is written"
            f" postgresql://ROLE:PASSWORD@HOST:5432/mercato_{_SERVICE}."
        )
