"""`mercato export` and `mercato import` of a whole instance: its backup, and its restore."""

import asyncio
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from mercato.adapters.identity.keys import UnusableKeyFile
from mercato.cli.acts import noted
from mercato.cli.common import Refused, existing, print_json, settings
from mercato.cli.progress import Told, progress
from mercato.cli.reconcile import tell
from mercato.cli.transfer import whole
from mercato.kernel.clock import utc_now
from mercato.runtime.embedded import Embedded
from mercato.runtime.instance.cut import NeverStill
from mercato.runtime.instance.databases import strangers_in
from mercato.runtime.instance.export import Unportable, write_instance
from mercato.runtime.instance.form import BadExport, End, Header
from mercato.runtime.instance.load import complete, load
from mercato.runtime.instance.place import Occupied, new_folder
from mercato.runtime.instance.reading import Reading
from mercato.runtime.reconcile.report import Report, reconcile

_ON_A_SERVER = (
    "The databases are on PostgreSQL, of which no file is written or read: back them up with the server's"
    " own means, or write one store's data with --tenant."
)


def write(*, out: str | None, data: str | None, json: bool) -> None:
    """Write the whole instance to a file, and say what was written."""
    found = existing(data)
    if found.database_url:
        raise Refused(_ON_A_SERVER)
    folder = found.folder
    path = Path(out if out is not None else f"mercato-{utc_now():%Y%m%d-%H%M%S}.export.gz")
    with _told_in_a_sentence(), whole(path) as file, progress() as told:
        end = _compressed(folder, file, told)
    left_out = strangers_in(folder)
    if json:
        size = path.stat().st_size
        print_json(
            {"file": str(path), "bytes": size, "sha256": end.sha256, "rows": end.rows, "left_out": left_out}
        )
        return
    print(f"{path}: {sum(end.rows.values())} rows of {len(end.rows)} tables, {path.stat().st_size} bytes.")
    if left_out:
        print(f"Left out of it, as no part of the instance: {', '.join(left_out)}.")
    print("It holds signing keys and passwords' hashes: keep it as a secret.")


def read(file: str, *, data: str | None, json: bool) -> None:
    """Make an instance of a file, and say what it is; exit 1 where its books do not balance."""
    found = settings(data=data)
    if found.database_url:
        raise Refused(_ON_A_SERVER)
    target = found.folder
    with _told_in_a_sentence(), new_folder(target) as draft, progress() as told:
        header, end, report = _made(Path(file), draft, told)
    if json:
        print_json(
            {
                "folder": str(target),
                "version": header.version,
                "made_at": header.made_at,
                "rows": end.rows,
                "balanced": report.balanced,
                "report": report,
            }
        )
    else:
        print(
            f"{target}: {sum(end.rows.values())} rows of {len(end.rows)} tables, as of"
            f" {header.made_at:%Y-%m-%d %H:%M:%S} UTC."
        )
        tell(report)
        print(f"Start it with: mercato up --data {target}")
    if not report.balanced:
        sys.exit(1)


def _compressed(folder: Path, file: IO[bytes], told: Told) -> End:
    import gzip  # noqa: PLC0415  only here

    # Without a name and a time in it, the same rows make the same file.
    with gzip.GzipFile(filename="", mode="wb", fileobj=file, compresslevel=6, mtime=0) as compressed:
        return write_instance(folder, compressed.write, told)


def _made(path: Path, draft: Path, told: Told) -> tuple[Header, End, Report]:
    with Reading(path, lambda done, total: told("read", done, total)) as reading:
        header = load(reading, draft)
        told("read", 1, 1)
        end = reading.end
    report = asyncio.run(_checked(draft, header, end))
    return header, end, report


async def _checked(draft: Path, header: Header, end: End) -> Report:
    await complete(draft, header)
    platform = Embedded(settings(data=str(draft)))
    try:
        await platform.users.parts.steps.tell(noted("instance_import", "instance", end.sha256))
        return await reconcile(platform)
    finally:
        await platform.process.close()


@contextmanager
def _told_in_a_sentence() -> Iterator[None]:
    """Refuse in a sentence what cannot be exported or imported."""
    try:
        yield
    except (BadExport, NeverStill, Occupied, Unportable, UnusableKeyFile) as error:
        raise Refused(str(error)) from error
    except sqlite3.Error as error:
        raise Refused(f"A database cannot be used: {error}.") from error
    except OSError as error:
        where = error.filename or "The file"
        raise Refused(f"{where} cannot be used: {error.strerror or error}.") from error
