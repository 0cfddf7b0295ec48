"""`mercato doctor`: every check, and how it is told."""

import os
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from mercato.cli.common import print_json, wide_console
from mercato.cli.doctor import around, machine, outside
from mercato.cli.doctor.findings import Finding, State, ok
from mercato.cli.doctor.in_time import begin
from mercato.kernel.clock import utc_now
from mercato.runtime.settings import Settings, variable

if TYPE_CHECKING:
    from rich.console import Console

_CHECK_WIDTH = 20
_COLOURS = {State.OK: "green", State.WARNING: "yellow", State.PROBLEM: "red"}


def run(*, data: str | None, host: str | None, port: int | None, json: bool) -> None:
    """Tell every finding as it comes; exit 1 if one of them is a problem."""
    findings = []
    console = None if json else wide_console()
    for finding in examine(data=data, host=host, port=port):
        findings.append(finding)
        if console is not None:
            _show(finding, console)
    counts = Counter(finding.state for finding in findings)
    if json:
        print_json({"ok": not counts[State.PROBLEM], "findings": findings})
    else:
        told = f"{_plural(counts[State.PROBLEM], 'problem')}, {_plural(counts[State.WARNING], 'warning')}."
        print(f"\n{told.capitalize()}")
    if counts[State.PROBLEM]:
        sys.exit(1)


def examine(*, data: str | None, host: str | None, port: int | None) -> Iterator[Finding]:
    """Look at everything, from what all else stands on to what stands on all else."""
    yield from machine.programs()
    options: dict[str, object] = {"data": data, "host": host, "port": port}
    found, told = machine.settings(options)
    yield told
    folder = (
        Path(data or os.environ.get(variable("data")) or Settings().data) if found is None else found.folder
    )
    if found is not None and found.database_url:
        yield from _on_servers(found, folder)
        return
    at_folder = list(machine.folder(folder))
    yield from at_folder
    if found is not None:
        for findings in _around(found):
            yield from findings()
    if folder.is_dir() and all(each.state is not State.PROBLEM for each in at_folder):
        yield from _inside(folder, found)


def _around(found: Settings) -> list[Callable[[], list[Finding]]]:
    """Begin to look at what is around the databases."""
    return [
        begin("server", lambda: [machine.server(found)]),
        begin("broker", lambda: around.broker(found)),
        begin("redis", lambda: around.redis(found)),
        begin("mail server", lambda: outside.mail_server(found)),
        begin("payment provider", lambda: outside.payment_provider(found)),
    ]


def _on_servers(found: Settings, folder: Path) -> Iterator[Finding]:
    """Look at services whose databases are on PostgreSQL, all of it at the same time."""
    from mercato.cli.doctor import data, servers  # noqa: PLC0415  only where there are data

    now = utc_now()
    looking = _around(found)
    at_services = begin("services", lambda: around.services(found))
    at_databases = begin("databases", lambda: servers.databases(found, now))
    if folder.exists():
        yield from machine.folder(folder)
        if (folder / "keys").is_dir():
            yield from data.keys(folder / "keys", now)
    else:
        yield ok("data folder", f"none at {folder.resolve()}: the keys are in the one of users' replicas")
    for findings in looking:
        yield from findings()
    yield from at_services()
    yield from at_databases()
    if all(each.state is not State.PROBLEM for each in at_databases()):
        from mercato.cli.doctor.books import books  # noqa: PLC0415  slow to import

        answer = found.cluster_secret and all(each.state is State.OK for each in at_services())
        yield from begin("books", lambda: [books(found, of_services=bool(answer))])()


def _inside(folder: Path, found: Settings | None) -> Iterator[Finding]:
    from mercato.cli.doctor import data  # noqa: PLC0415  only where there are data
    from mercato.runtime.folder import SCHEMAS  # noqa: PLC0415

    if not any((folder / f"{name}.db").exists() for name in SCHEMAS):
        return
    now = utc_now()
    yield from data.keys(folder / "keys", now)
    at_databases = list(data.databases(folder, SCHEMAS, now))
    yield from at_databases
    # Opening the platform would bring schemas up, and make what is missing.
    as_it_was = all((folder / f"{name}.db").exists() for name in SCHEMAS) and not any(
        each.state is not State.OK for each in at_databases if not each.check.endswith("box")
    )
    if found is not None and as_it_was:
        from mercato.cli.doctor.books import books  # noqa: PLC0415  slow to import

        yield books(found)


def _show(finding: Finding, console: "Console") -> None:
    """Print a finding: a line, or on a narrow terminal as many as it takes, below each other."""
    from rich.table import Table  # noqa: PLC0415  slow to import
    from rich.text import Text  # noqa: PLC0415

    told = finding.told if finding.next is None else f"{finding.told}  → {finding.next}"
    if not console.is_terminal:
        console.print(f"{finding.state:<8} {finding.check:<20} {told}", soft_wrap=True)
        return
    grid = Table.grid(padding=(0, 1))
    grid.add_column(width=8)
    grid.add_column(width=_CHECK_WIDTH)
    grid.add_column(overflow="fold")
    grid.add_row(Text(finding.state, style=_COLOURS[finding.state]), finding.check, told)
    console.print(grid)


def _plural(count: int, what: str) -> str:
    return f"{count or 'no'} {what}{'' if count == 1 else 's'}"
