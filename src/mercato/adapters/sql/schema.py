"""Schemas: a fresh database loads a snapshot; alembic is imported only to go up or down.

A service's `migrations` package holds `versions/` and `snapshot.sqlite.sql`, whose first line
names the revision it stands at. A test proves that the snapshot is what the migrations make.
"""

import logging
import sqlite3
from contextlib import closing
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from mercato.adapters.sql.database import Database
from mercato.kernel.acting import acting
from mercato.kernel.tenancy import DEFAULT_TENANT

log = logging.getLogger(__name__)

_HEAD = "-- head: "
SNAPSHOT = "snapshot.sqlite.sql"
BASE = "base"


class SchemaTooNew(Exception):
    """The database was written by a newer Mercato than this one."""


class NotADatabase(Exception):
    """The file is there, and is no database; the message is a sentence that names it."""


@dataclass(frozen=True, slots=True)
class Schema:
    """One service's schema. `package` is its migrations' import name."""

    service: str
    package: str

    def snapshot(self) -> str:
        """Return the SQL that makes the schema at head."""
        return resources.files(self.package).joinpath(SNAPSHOT).read_text()

    @property
    def head(self) -> str:
        """The newest revision."""
        return self.snapshot().partition("\n")[0].removeprefix(_HEAD)


async def wanting(database: Database, schema: Schema) -> str | None:
    """Return in a sentence why a database's schema is not enough for this program, None if it is.

    A newer one is: each release serves on the schema of the next. Raises StorageUnavailable.
    """
    # As the role that serves, which sees the rows of one store.
    with acting(DEFAULT_TENANT):
        row = await database.fetch_one("SELECT version_num FROM alembic_version")
    found = BASE if row is None else str(row[0])
    # Revisions are numbered: `orders_0002`.
    if row is not None and found >= schema.head:
        return None
    return f"The {schema.service} database is at {found} and must be at {schema.head}: `mercato migrate up`."


def current(path: Path) -> str | None:
    """Return the revision of the database at `path`, None if it is empty or not there.

    A database that was migrated down to nothing stands at `base`. Raises NotADatabase.
    """
    if not path.exists():
        return None
    with closing(sqlite3.connect(path)) as connection:
        try:
            row = connection.execute("SELECT version_num FROM alembic_version").fetchone()
        except sqlite3.OperationalError:
            return None
        except sqlite3.DatabaseError as error:
            raise NotADatabase(f"{path} cannot be read as a database: {error}.") from error
    return BASE if row is None else str(row[0])


def prepare(path: Path, schema: Schema) -> None:
    """Bring the database at `path` to head: from the snapshot if it is new. Idempotent.

    Raises SchemaTooNew for a revision this program does not know.
    """
    found = current(path)
    if found == schema.head:
        return
    if found is None:
        _load_snapshot(path, schema)
        return
    log.info("migrating", extra={"service": schema.service, "from": found, "to": schema.head})
    upgrade(path, schema)


def _load_snapshot(path: Path, schema: Schema) -> None:
    # Passwords' hashes and mails are in it, and somebody else may have made the folder for others to see.
    path.touch(mode=0o600)
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        # WAL first: whoever opens the file finds it as it will be used.
        connection.execute("PRAGMA journal_mode = WAL")
        connection.executescript(f"BEGIN IMMEDIATE;\n{schema.snapshot()}\nCOMMIT;")


def upgrade(path: Path, schema: Schema, revision: str = "head") -> None:
    """Migrate up to `revision`, wholly or not at all.

    Raises SchemaTooNew for an unknown present revision.
    """
    _run(path, schema, "upgrade", revision)


def downgrade(path: Path, schema: Schema, revision: str) -> None:
    """Migrate down to `revision`; `base` is an empty database, `-1` one step back."""
    _run(path, schema, "downgrade", revision)


def _run(path: Path, schema: Schema, direction: str, revision: str) -> None:
    from alembic import command  # noqa: PLC0415  slow to import, and rarely needed
    from alembic.util import CommandError  # noqa: PLC0415
    from sqlalchemy import create_engine, event  # noqa: PLC0415

    # The driver begins no transaction before DDL, so a failed migration would leave half of
    # itself: it is told to keep out of it, and all of the way is one transaction.
    engine = create_engine(f"sqlite:///{path}", connect_args={"isolation_level": None})
    event.listen(engine, "begin", lambda connection: connection.exec_driver_sql("BEGIN IMMEDIATE"))
    try:
        with engine.begin() as connection:
            config = alembic_config(schema, connection)
            getattr(command, direction)(config, revision)
    except CommandError as error:
        raise SchemaTooNew(
            f"The {schema.service} database has a schema this version does not know ({error})."
        ) from error
    finally:
        engine.dispose()


def alembic_config(schema: Schema, connection: Any) -> Any:  # noqa: ANN401  alembic's types stay unimported
    """Return how alembic migrates a service over a connection."""
    from alembic.config import Config  # noqa: PLC0415

    scripts = Path(__file__).parent / "migrations" / "alembic"
    config = Config()
    config.set_main_option("script_location", str(scripts))
    config.set_main_option("path_separator", "os")
    config.set_main_option("version_locations", str(resources.files(schema.package).joinpath("versions")))
    config.attributes["connection"] = connection
    return config


def dump(path: Path, head: str) -> str:
    """Return the schema of the database at `path` as snapshot SQL."""
    with closing(sqlite3.connect(path)) as connection:
        rows = connection.execute(
            "SELECT sql FROM sqlite_master WHERE sql IS NOT NULL AND name NOT LIKE 'sqlite_%'"
            # A full-text index makes its own tables.
            " AND name NOT IN (SELECT name FROM pragma_table_list WHERE type = 'shadow')"
            " ORDER BY type = 'index', name"
        ).fetchall()
    statements = [f"{sql};" for (sql,) in rows]
    stamp = f"INSERT INTO alembic_version (version_num) VALUES ('{head}');"
    return "\n".join([f"{_HEAD}{head}", *statements, stamp]) + "\n"


def migrated_snapshot(scratch: Path, schema: Schema) -> str:
    """Return the snapshot that the migrations make, using `scratch`, a file that is not there."""
    upgrade(scratch, schema)
    head = current(scratch)
    assert head is not None  # noqa: S101  it was stamped just now
    return dump(scratch, head)
