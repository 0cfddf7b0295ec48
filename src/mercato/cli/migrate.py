"""`mercato migrate`: schemas up, down, and where they stand."""

import asyncio
from typing import TYPE_CHECKING, Annotated

from cyclopts import App, Parameter

from mercato.cli.common import Refused, print_json, print_table, settings, tell
from mercato.cli.options import KEEPING, DataOption, JsonFlag, chosen, examples
from mercato.cli.progress import progress

if TYPE_CHECKING:
    from mercato.runtime.settings import Settings

migrate = App(
    name="migrate",
    group=KEEPING,
    help="Bring the databases' schemas up or down, or show where they stand.",
    help_epilogue=examples("migrate status", "migrate up"),
)

_Only = Annotated[str | None, Parameter(name="--service", help="Only this service's database.")]


@migrate.command(help_epilogue=examples("migrate up", "migrate up --service orders"))
def up(*, data: DataOption = None, service: _Only = None, json: JsonFlag = False) -> None:
    """Bring the schemas to the newest revision, making databases that are not there."""
    from mercato.adapters.sql.schema import prepare  # noqa: PLC0415  commands import what they need
    from mercato.runtime.folder import SCHEMAS, FolderLock, database_path  # noqa: PLC0415

    found = settings(data=data)
    names = chosen(service, SCHEMAS)
    lock = None if found.database_url else FolderLock(found.folder, names)
    at: dict[str, str | None] = {}
    try:
        with progress() as told:
            for done, name in enumerate(names):
                told("schemas", done, len(names))
                if found.database_url:
                    at[name] = _on_server(found, name, "upgrade", "head")
                else:
                    prepare(database_path(found.folder, name), SCHEMAS[name])
                    at[name] = SCHEMAS[name].head
                told("schemas", done + 1, len(names))
    finally:
        if lock is not None:
            lock.release()
    tell(at, "\n".join(f"{name}: at {head}" for name, head in at.items()), json=json)


@migrate.command(help_epilogue=examples("migrate down --service orders --to orders_0001"))
def down(
    *,
    service: Annotated[str, Parameter(help="Which service's database.")],
    to: Annotated[str, Parameter(help="The revision to go to; -1 is one step, base is empty.")] = "-1",
    data: DataOption = None,
    json: JsonFlag = False,
) -> None:
    """Take one schema down. What the newer revisions kept is lost."""
    from mercato.adapters.sql.schema import current, downgrade  # noqa: PLC0415  commands import what they need
    from mercato.runtime.folder import SCHEMAS, FolderLock, database_path  # noqa: PLC0415

    found = settings(data=data)
    folder = found.folder
    (name,) = chosen(service, SCHEMAS)
    if found.database_url:
        now = _on_server(found, name, "downgrade", to)
        tell({name: now}, f"{name}: at {now or 'base'}", json=json)
        return
    path = database_path(folder, name)
    if current(path) is None:
        raise Refused(f"There is no {name} database in {folder.resolve()}.")
    lock = FolderLock(folder, [name])
    try:
        downgrade(path, SCHEMAS[name], to)
    finally:
        lock.release()
    at = current(path) or "base"
    tell({name: at}, f"{name}: at {at}", json=json)


@migrate.command(help_epilogue=examples("migrate status --json"))
def status(*, data: DataOption = None, json: JsonFlag = False) -> None:
    """Show each database's revision and the newest one."""
    from mercato.adapters.sql.schema import current  # noqa: PLC0415  commands import what they need
    from mercato.runtime.folder import SCHEMAS, database_path  # noqa: PLC0415

    found_settings = settings(data=data)
    folder = found_settings.folder

    def standing(name: str) -> str | None:
        if found_settings.database_url:
            return _on_server(found_settings, name, "current", "")
        return current(database_path(folder, name))

    rows = [(name, standing(name), schema.head) for name, schema in SCHEMAS.items()]
    if json:
        print_json([{"service": name, "revision": found, "head": head} for name, found, head in rows])
        return
    words = [
        (name, found or "not made yet", head, "yes" if found == head else "no") for name, found, head in rows
    ]
    print_table("Schemas", ("service", "revision", "newest", "up to date"), words)


def _on_server(found: "Settings", service: str, direction: str, revision: str) -> str | None:
    """Migrate a service's database on PostgreSQL, if it is to move; return where it stands."""
    from mercato.runtime.databases import migrate_on_server  # noqa: PLC0415  commands import what they need

    return asyncio.run(migrate_on_server(found, service, direction, revision))
