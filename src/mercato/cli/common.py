"""What the commands share: settings, an open platform, output, and how a refusal is told."""

import asyncio
import logging
import os
import sqlite3
import sys
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from rich.console import Console

    from mercato.runtime.embedded import Embedded
    from mercato.runtime.settings import Settings

T = TypeVar("T")

_PIPE_WIDTH = 10_000


class Refused(Exception):
    """A command cannot do what it was asked; the message is a sentence for the person."""


@contextmanager
def refused() -> Iterator[None]:
    """Tell what stops a command in one sentence, and exit with 2."""
    try:
        yield
        sys.stdout.flush()
    except BrokenPipeError:
        # Whoever read has seen enough, as `head` does.
        _drop_output()
        sys.exit(1)
    except Exception as error:
        sentence = _sentence(error)
        if sentence is None:
            raise
        if isinstance(error, OSError) and error.filename is None:
            _drop_output()
        print(f"mercato: {sentence}", file=sys.stderr)
        sys.exit(2)


def _drop_output() -> None:
    """See to it that what is left of the output, and cannot be written, is not tried again at the exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _sentence(error: Exception) -> str | None:
    """Return the sentence of an error that was made for people, None for a defect."""
    from mercato.adapters.identity.keys import UnusableKeyFile  # noqa: PLC0415  only to tell a failure
    from mercato.adapters.sql.database import Misconfigured  # noqa: PLC0415
    from mercato.adapters.sql.schema import NotADatabase, SchemaTooNew  # noqa: PLC0415
    from mercato.kernel.errors import MercatoError  # noqa: PLC0415
    from mercato.runtime.folder import FolderInUse  # noqa: PLC0415
    from mercato.runtime.server import PortInUse  # noqa: PLC0415
    from mercato.runtime.settings import WrongSetting  # noqa: PLC0415
    from mercato.runtime.supervisor import ChildRefused  # noqa: PLC0415

    if isinstance(error, MercatoError):
        details = "; ".join(f"{detail.field} {detail.message}" for detail in error.details)
        return f"{error.message} {details}".strip()
    for_people = (
        *(Refused, WrongSetting, Misconfigured, PortInUse, FolderInUse, ChildRefused),
        *(SchemaTooNew, NotADatabase, UnusableKeyFile),
    )
    if isinstance(error, for_people):
        return str(error)
    if isinstance(error, sqlite3.Error):
        return f"A database of the data folder cannot be used: {error}; `mercato doctor` tells which."
    if isinstance(error, OSError) and error.strerror:
        what = "A file, or the output," if error.filename is None else os.fspath(error.filename)
        return f"{what} cannot be used: {error.strerror}."
    if isinstance(error, UnicodeEncodeError):
        return "Something on the command line is no text: it is not in UTF-8."
    return None


def settings(**options: object) -> "Settings":
    """Read the settings, options first. Raises WrongSetting."""
    from mercato.runtime.settings import load  # noqa: PLC0415  commands import what they need

    return load(os.environ, **options)


def existing(data: str | None) -> "Settings":
    """Read the settings for a command on data that must be there. Raises Refused."""
    found = settings(data=data)
    if not found.database_url and not (found.folder / "users.db").exists():
        raise Refused(
            f"There is no Mercato data in {found.folder.resolve()}; name the folder with --data,"
            " or start one with `mercato up`."
        )
    return found


def key_folder(data: str | None) -> Path:
    """Return the folder of the signing keys, which must be there. Raises Refused."""
    from mercato.adapters.identity.keys import KeyRing  # noqa: PLC0415  slow to import

    found = existing(data)
    folder = found.folder / "keys"
    if found.database_url and not KeyRing(folder).has_keys():
        # A key that is made in another folder would sign nothing, and nobody would notice.
        raise Refused(
            f"There are no signing keys in {folder.resolve()}; name the folder that the replicas of users"
            " share with --data, or MERCATO_DATA."
        )
    return folder


def with_platform(data: str | None, work: "Callable[[Embedded], Awaitable[T]]") -> T:
    """Run `work` on the platform's databases, not started, beside whatever runs on them."""
    from mercato.runtime.databases import why_unusable  # noqa: PLC0415  commands import what they need
    from mercato.runtime.embedded import Embedded  # noqa: PLC0415

    found = existing(data)
    # What is logged of a failure is told below, in a sentence.
    logging.getLogger("mercato").addHandler(logging.NullHandler())

    async def run() -> T:
        platform = Embedded(found, serves=False)
        try:
            return await work(platform)
        except Exception as error:
            reason = await why_unusable(found, error)
            if reason is None:
                raise
            raise Refused(reason) from error
        finally:
            await platform.process.close()

    return asyncio.run(run())


def confirmed(question: str) -> bool:
    """Ask a yes-or-no question; the end of the input is a no."""
    print(f"{question} [y/N] ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip().lower() == "y"


def print_json(value: object) -> None:
    """Print a value as JSON on one line."""
    import msgspec  # noqa: PLC0415  commands import what they need

    print(msgspec.json.encode(value).decode())


def tell(value: object, sentence: str, *, json: bool) -> None:
    """Print what was done: as JSON where that is wanted, else as a sentence."""
    if json:
        print_json(value)
    else:
        print(sentence)


def wide_console() -> "Console":
    """Return where to print: as wide as the terminal, or as lines are long where there is none."""
    from rich.console import Console  # noqa: PLC0415  slow to import

    # Whoever reads a pipe looks for whole words.
    return Console(width=None if sys.stdout.isatty() else _PIPE_WIDTH, highlight=False, markup=False)


def moment(at: datetime | None) -> str:
    """Return a time as tables show it, to the second and in UTC."""
    return "-" if at is None else f"{at:%Y-%m-%d %H:%M:%S}"


def print_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print rows as a table; where the terminal is too narrow for its words, below each other."""
    if not rows:
        print(f"{title}: none.")
        return
    from rich.measure import Measurement  # noqa: PLC0415  slow to import
    from rich.table import Table  # noqa: PLC0415

    table = Table(title=title, title_justify="left")
    for index, column in enumerate(columns):
        # What other commands are given, such as an id, comes first and stays whole.
        table.add_column(column, no_wrap=index == 0, overflow="fold")
    for row in rows:
        table.add_row(*row)
    console = wide_console()
    if Measurement.get(console, console.options.update(width=_PIPE_WIDTH), table).minimum <= console.width:
        console.print(table)
        return
    for row in rows:
        block = Table.grid(padding=(0, 2))
        for _ in range(2):
            block.add_column(overflow="fold")
        for column, value in zip(columns, row, strict=True):
            block.add_row(column, value)
        console.print(block)
        console.print()
