"""`mercato migrate`: schemas up, down, and where they stand."""

import asyncio
from typing import TYPE_CHECKING, Annotated

from cyclopts import App, Parameter

from mercato.cli.common import Refused, print_json, print_table, settings
from mercato.cli.options import DataOption, JsonFlag

if TYPE_CHECKING:
    from mercato.runtime.settings import Settings

migrate = App(name="migrate", help="Bring the databases' schemas up or down, or show where they stand.")

_Only = Annotated[str | None, Parameter(name="--service", help="Only this service's database.")]


@migrate.command
def up(*, data: DataOption = None, service: _Only = None) -> None:
    """Bring the schemas to the newest revision, making databases that are not there."""
    from mercato.adapters.sql.schema import prepare  # noqa: PLC0415  commands import what they need
    from mercato.runtime.folder import SCHEMAS, FolderLock, database_path  # noqa: PLC0415

    found = settings(data=data)
    if found.database_url:
        for name in _chosen(service):
            print(f"{name}: at {_on_server(found, name, 'upgrade', 'head')}")
        return
    folder = found.folder
    lock = FolderLock(folder, _chosen(service))
    for name in _chosen(service):
        prepare(database_path(folder, name), SCHEMAS[name])
        print(f"{name}: at {SCHEMAS[name].head}")
    lock.release()


@migrate.command
def down(
    *,
    service: Annotated[str, Parameter(help="Which service's database.")],
    to: Annotated[str, Parameter(help="The revision to go to; -1 is one step, base is empty.")] = "-1",
    data: DataOption = None,
) -> None:
    """Take one schema down. What the newer revisions kept is lost."""
    from mercato.adapters.sql.schema import current, downgrade  # noqa: PLC0415  commands import what they need
    from mercato.runtime.folder import SCHEMAS, FolderLock, database_path  # noqa: PLC0415

    found = settings(data=data)
    folder = found.folder
    (name,) = _chosen(service)
    if found.database_url:
        print(f"{name}: at {_on_server(found, name, 'downgrade', to)}")
        return
    path = database_path(folder, name)
    if current(path) is None:
        raise Refused(f"There is no {name} database in {folder.resolve()}.")
    lock = FolderLock(folder, [name])
    downgrade(path, SCHEMAS[name], to)
    lock.release()
    print(f"{name}: at {current(path) or 'base'}")


@migrate.command
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


def _chosen(service: str | None) -> list[str]:
    from mercato.runtime.folder import SCHEMAS  # noqa: PLC0415  commands import what they need

    if service is None:
        return list(SCHEMAS)
    if service not in SCHEMAS:
        raise Refused(f"There is no service {service}; there are {', '.join(SCHEMAS)}.")
    return [service]
