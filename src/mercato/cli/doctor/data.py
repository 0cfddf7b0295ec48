"""What a data folder holds: databases and keys. They are only read, each within a deadline."""

import sqlite3
import time
from collections.abc import Iterator, Mapping
from contextlib import closing
from datetime import datetime, timedelta
from pathlib import Path
from urllib.parse import quote

from mercato.adapters.identity.keys import Keys, UnusableKeyFile, key_files, load_keys
from mercato.adapters.sql.schema import Schema
from mercato.cli.doctor.events import CHECK_S, Unreadable, of_service
from mercato.cli.doctor.findings import Finding, ok, problem, warning

SANDBOX = "sandbox"
UP = "mercato up"
_STEPS = 10_000
_KEY_AGE = timedelta(days=365)


class FileReader:
    """One database, opened to be read, every query within a deadline: see events.Reader."""

    def __init__(self, path: Path) -> None:
        """Open it. Raises Unreadable."""
        self._deadline = time.monotonic() + CHECK_S
        try:
            # Read-only: what is not there must not be made, what is broken not be changed.
            self._connection = sqlite3.connect(
                f"file:{quote(str(path.resolve()))}?mode=ro", uri=True, timeout=CHECK_S
            )
        except sqlite3.Error as error:
            raise Unreadable(str(error)) from None
        self._connection.set_progress_handler(lambda: int(time.monotonic() > self._deadline), _STEPS)

    def close(self) -> None:
        """Close it."""
        self._connection.close()

    def rows(self, sql: str) -> list[tuple[object, ...]]:
        """Return a query's rows. Raises Unreadable."""
        self._deadline = time.monotonic() + CHECK_S
        try:
            return self._connection.execute(sql).fetchall()
        except sqlite3.Error as error:
            late = time.monotonic() > self._deadline
            raise Unreadable(f"not read within {CHECK_S:.0f} s" if late else str(error)) from None

    def has(self, table: str) -> bool:
        """Say whether there is such a table. Raises Unreadable."""
        return bool(self.rows(f"SELECT 1 FROM sqlite_master WHERE name = '{table}'"))


def databases(folder: Path, schemas: Mapping[str, Schema], now: datetime) -> Iterator[Finding]:
    """Look at every database that is there, and at what waits in it."""
    for name in (*schemas, SANDBOX):
        path = folder / f"{name}.db"
        if not path.exists():
            yield ok(path.name, "not made yet", "mercato up")
            continue
        try:
            with closing(FileReader(path)) as reader:
                yield _integrity(path, reader)
                if name in schemas:
                    yield from of_service(name, schemas[name], reader, now, UP)
        except Unreadable as error:
            yield problem(path.name, str(error), f"put a copy of {path.name} in its place from a backup")


def _integrity(path: Path, reader: FileReader) -> Finding:
    size = path.stat().st_size / 1024**2
    reader.rows("SELECT count(*) FROM sqlite_master")
    try:
        ((result, *_), *_) = reader.rows("PRAGMA quick_check(1)")
    except Unreadable as error:
        if "not read within" not in str(error):
            raise
        return ok(path.name, f"opens; {size:.0f} MiB are too many to check in {CHECK_S:.0f} s")
    if result != "ok":
        raise Unreadable(f"it is damaged: {str(result).splitlines()[0]}")
    return ok(path.name, f"sound, {size:.1f} MiB")


def keys(folder: Path, now: datetime) -> Iterator[Finding]:
    """Look at the keys: whether they are there, are nobody else's, and sign."""
    try:
        files = [each for each in key_files(folder) if each.verifies(now)] if folder.is_dir() else []
        if not files:
            yield ok("keys", "not made yet", "mercato up")
            return
        bare = [path.name for path in sorted(folder.iterdir()) if path.stat().st_mode & 0o077]
        if bare:
            yield problem(
                "keys",
                f"others may read {', '.join(bare)}",
                f"chmod 600 {folder}/*; mercato keys rotate --retire",
            )
        ring = load_keys(files, now)
    except (UnusableKeyFile, OSError) as error:
        yield problem("keys", str(error), "put the key file back from a backup, or take it away")
        return
    if not _signs(ring):
        yield problem("keys", "what is signed is not verified", "mercato keys rotate --retire")
        return
    newest = max(each.made_at for each in files)
    told = f"{len(files)} signing, the newest made {newest:%Y-%m-%d}"
    yield (
        warning("keys", told, "mercato keys rotate --retire") if now - newest > _KEY_AGE else ok("keys", told)
    )


def _signs(ring: Keys) -> bool:
    return ring.verified(ring.sign(b"{}"), ring.signs_by) == b"{}"
