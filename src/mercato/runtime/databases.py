"""Which database a service works on: PostgreSQL where the settings name one, else SQLite in the folder."""

from collections.abc import Awaitable, Callable

from mercato.adapters.sql.database import Database
from mercato.kernel.errors import Unavailable
from mercato.runtime import folder
from mercato.runtime.settings import Settings, WrongSetting

_PLACE = "{service}"


def is_postgres(settings: Settings) -> bool:
    """Say whether the services work on PostgreSQL, which several processes may use at a time."""
    return bool(settings.database_url)


def open_database(settings: Settings, service: str) -> Database:
    """Open a service's database. Raises WrongSetting, and SchemaTooNew for one in the folder.

    One in the folder is made and migrated if need be; PostgreSQL is connected to when it is first used.
    """
    if not is_postgres(settings):
        return folder.open_database(settings.folder, service)
    if not settings.database_system_url:
        raise WrongSetting(
            "MERCATO_DATABASE_SYSTEM_URL is not set, which MERCATO_DATABASE_URL needs: the same database for"
            " the platform's own role."
        )
    try:
        from mercato.adapters.sql.postgres import PostgresDatabase  # noqa: PLC0415  an extra
    except ImportError:
        raise WrongSetting(
            "MERCATO_DATABASE_URL is set, and what speaks to PostgreSQL is not installed: install"
            " mercato[postgres]."
        ) from None
    urls = (url.replace(_PLACE, service) for url in (settings.database_url, settings.database_system_url))
    settings.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    return PostgresDatabase(*urls, name=service, size=settings.database_pool)


def ready(settings: Settings, service: str, database: Database) -> Callable[[], Awaitable[None]]:
    """Return what raises Unavailable as long as a service's database is away or not migrated."""

    async def check() -> None:
        if not is_postgres(settings):
            return
        head = folder.SCHEMAS[service].head
        try:
            row = await database.fetch_one("SELECT version_num FROM alembic_version")
        except Unavailable:
            raise
        except Exception as error:
            raise Unavailable(f"The {service} database has no schema; run `mercato migrate up`.") from error
        if row is None or row[0] != head:
            raise Unavailable(f"The {service} database is not at {head}; run `mercato migrate up`.")

    return check
