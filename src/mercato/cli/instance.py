"""`mercato export` and `mercato import` of a whole instance: its backup, and its restore."""

import asyncio
import shutil
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager
from pathlib import Path
from typing import IO

from mercato.adapters.identity.keys import UnusableKeyFile, files_of
from mercato.cli.acts import noted
from mercato.cli.common import Refused, existing, key_folder, print_json, settings
from mercato.cli.progress import Told, progress
from mercato.cli.reconcile import tell
from mercato.cli.transfer import whole
from mercato.kernel.clock import utc_now
from mercato.runtime.databases import Unusable, url_of
from mercato.runtime.embedded import Embedded
from mercato.runtime.instance.cut import NeverStill
from mercato.runtime.instance.databases import KEYS, bring_to_head, strangers_in
from mercato.runtime.instance.export import Unportable, write_instance
from mercato.runtime.instance.form import BadExport, End, Header
from mercato.runtime.instance.load import complete, load
from mercato.runtime.instance.place import Occupied, new_folder
from mercato.runtime.instance.reading import Reading
from mercato.runtime.reconcile.report import Report, reconcile
from mercato.runtime.settings import Settings


def write(*, out: str | None, data: str | None, json: bool) -> None:
    """Write the whole instance to a file, and say what was written."""
    found = existing(data)
    if found.database_url:
        key_folder(data)
    path = Path(out if out is not None else f"mercato-{utc_now():%Y%m%d-%H%M%S}.export.gz")
    with _told_in_a_sentence(), whole(path) as file, progress() as told:
        end = _compressed(found, file, told)
    left_out = [] if found.database_url else strangers_in(found.folder)
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
    with _told_in_a_sentence(), progress() as told:
        if found.database_url:
            header, end, report = asyncio.run(_onto_server(Path(file), found, told))
        else:
            with new_folder(found.folder) as draft:
                header, end, report = _made(Path(file), draft, told)
    target, on_server = found.folder, bool(found.database_url)
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
        where = f"PostgreSQL, with the keys in {target}/keys" if on_server else target
        print(
            f"{where}: {sum(end.rows.values())} rows of {len(end.rows)} tables, as of"
            f" {header.made_at:%Y-%m-%d %H:%M:%S} UTC."
        )
        tell(report)
        print(f"Start it with: mercato up --data {target}")
    if not report.balanced:
        sys.exit(1)


def _compressed(found: Settings, file: IO[bytes], told: Told) -> End:
    import gzip  # noqa: PLC0415  only here

    # Without a name and a time in it, the same rows make the same file.
    with gzip.GzipFile(filename="", mode="wb", fileobj=file, compresslevel=6, mtime=0) as compressed:
        if not found.database_url:
            return write_instance(found.folder, compressed.write, told)
        from mercato.runtime.instance.from_server import write_server_instance  # noqa: PLC0415  an extra

        return asyncio.run(write_server_instance(found, compressed.write, told))


def _loaded(path: Path, draft: Path, told: Told) -> tuple[Header, End]:
    """Make databases in a folder of what a file holds, once it was read to its end."""
    with Reading(path, lambda done, total: told("read", done, total)) as reading:
        header = load(reading, draft)
        told("read", 1, 1)
        return header, reading.end


def _made(path: Path, draft: Path, told: Told) -> tuple[Header, End, Report]:
    header, end = _loaded(path, draft, told)
    report = asyncio.run(_checked(settings(data=str(draft)), header, end, draft))
    return header, end, report


async def _checked(found: Settings, header: Header, end: End, draft: Path) -> Report:
    await complete(draft, header)
    return await _reconciled(found, end)


async def _reconciled(found: Settings, end: End) -> Report:
    """Tell of the import in the audit log of what was made, and reconcile it."""
    platform = Embedded(found, serves=False)
    try:
        await platform.users.parts.steps.tell(noted("instance_import", "instance", end.sha256))
        return await reconcile(platform)
    finally:
        await platform.process.close()


def _remove_if_empty(folder: Path) -> None:
    if not any(folder.iterdir()):
        folder.rmdir()


async def _onto_server(path: Path, found: Settings, told: Told) -> tuple[Header, End, Report]:
    """Fill the server's databases with what a file holds, and the folder of keys."""
    from mercato.runtime.instance.onto_server import filled  # noqa: PLC0415  an extra

    url_of(found, "database_owner_url", "users")
    keys = found.folder / KEYS
    async with AsyncExitStack() as filling:
        if not found.folder.exists():
            found.folder.mkdir(mode=0o700, parents=True)
            # Where nothing comes of it, there is nothing; else it holds the keys.
            filling.callback(_remove_if_empty, found.folder)
        with new_folder(keys) as draft:
            instance = draft / "instance"
            instance.mkdir(mode=0o700)
            header, end = _loaded(path, instance, told)
            for name in header.databases:
                bring_to_head(instance, name)
            full = await filling.enter_async_context(filled(found, instance, told))
            for key in files_of(instance / KEYS):
                key.rename(draft / key.name)
            shutil.rmtree(instance)
        # They are in place: without them nobody could sign in to what is there from now on.
        try:
            await full.commit()
        except BaseException:
            shutil.rmtree(keys)
            raise
    return header, end, await _reconciled(found, end)


@contextmanager
def _told_in_a_sentence() -> Iterator[None]:
    """Refuse in a sentence what cannot be exported or imported."""
    try:
        yield
    except (BadExport, NeverStill, Occupied, Unportable, Unusable, UnusableKeyFile) as error:
        raise Refused(str(error)) from error
    except sqlite3.Error as error:
        raise Refused(f"A database cannot be used: {error}.") from error
    except OSError as error:
        where = error.filename or "The file"
        raise Refused(f"{where} cannot be used: {error.strerror or error}.") from error
