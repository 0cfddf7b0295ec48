"""What a data folder holds: databases, keys, queues. They are only read, each within a deadline."""

import sqlite3
import time
from collections.abc import Iterator, Mapping
from contextlib import closing
from datetime import datetime, timedelta
from pathlib import Path
from urllib.parse import quote

from mercato.adapters.identity.keys import Keys, UnusableKeyFile, key_files, load_keys
from mercato.adapters.sql.schema import BASE, Schema
from mercato.cli.doctor.findings import Finding, ok, problem, warning
from mercato.kernel.clock import from_micros

SANDBOX = "sandbox"
_CHECK_S = 5.0
_STEPS = 10_000
_STUCK = timedelta(seconds=60)
_AHEAD = timedelta(minutes=2)
_KEY_AGE = timedelta(days=365)
_SEND = "start the platform: mercato up"


class Unreadable(Exception):
    """A database cannot be read, or not in time; the message says why."""


class Reader:
    """One database, opened to be read, every query within a deadline."""

    def __init__(self, path: Path) -> None:
        """Open it. Raises Unreadable."""
        self._deadline = time.monotonic() + _CHECK_S
        try:
            # Read-only: what is not there must not be made, what is broken not be changed.
            self._connection = sqlite3.connect(
                f"file:{quote(str(path.resolve()))}?mode=ro", uri=True, timeout=_CHECK_S
            )
        except sqlite3.Error as error:
            raise Unreadable(str(error)) from None
        self._connection.set_progress_handler(lambda: int(time.monotonic() > self._deadline), _STEPS)

    def close(self) -> None:
        """Close it."""
        self._connection.close()

    def rows(self, sql: str) -> list[tuple[object, ...]]:
        """Return a query's rows. Raises Unreadable."""
        self._deadline = time.monotonic() + _CHECK_S
        try:
            return self._connection.execute(sql).fetchall()
        except sqlite3.Error as error:
            late = time.monotonic() > self._deadline
            raise Unreadable(f"not read within {_CHECK_S:.0f} s" if late else str(error)) from None

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
            with closing(Reader(path)) as reader:
                yield _integrity(path, reader)
                if name in schemas:
                    yield from _service(name, schemas[name], reader, now)
        except Unreadable as error:
            yield problem(path.name, str(error), f"put a copy of {path.name} in its place from a backup")


def _integrity(path: Path, reader: Reader) -> Finding:
    size = path.stat().st_size / 1024**2
    reader.rows("SELECT count(*) FROM sqlite_master")
    try:
        ((result, *_), *_) = reader.rows("PRAGMA quick_check(1)")
    except Unreadable as error:
        if "not read within" not in str(error):
            raise
        return ok(path.name, f"opens; {size:.0f} MiB are too many to check in {_CHECK_S:.0f} s")
    if result != "ok":
        raise Unreadable(f"it is damaged: {str(result).splitlines()[0]}")
    return ok(path.name, f"sound, {size:.1f} MiB")


def _service(name: str, schema: Schema, reader: Reader, now: datetime) -> Iterator[Finding]:
    yield _revision(name, schema, reader)
    if reader.has("outbox") and reader.has("inbox_parked"):
        events = [*_outbox(name, reader, now), *_inbox(name, reader)]
        yield from events or [ok(f"{name} events", "none is stuck, parked or dead")]
    if name == "notifications":
        yield from _mails(reader)


def _revision(name: str, schema: Schema, reader: Reader) -> Finding:
    check = f"{name} schema"
    rows = reader.rows("SELECT version_num FROM alembic_version") if reader.has("alembic_version") else []
    found = str(rows[0][0]) if rows else BASE
    if found == schema.head:
        return ok(check, f"at {found}, the newest")
    # Revisions are named with a number: orders_0002.
    if found != BASE and found > schema.head:
        told = f"at {found}, which this version does not know"
        return problem(check, told, "use the newer version that wrote it")
    return warning(check, f"at {found}, while the newest is {schema.head}", "mercato migrate up")


def _outbox(name: str, reader: Reader, now: datetime) -> Iterator[Finding]:
    ((waiting, oldest),) = reader.rows("SELECT count(*), min(created_at) FROM outbox WHERE sent_at IS NULL")
    if isinstance(oldest, int) and now - from_micros(oldest) > _STUCK:
        since = f"{from_micros(oldest):%Y-%m-%d %H:%M:%S} UTC"
        yield warning(f"{name} outbox", f"{waiting} events have waited since {since}", _SEND)
    newest = reader.rows("SELECT created_at FROM outbox ORDER BY position DESC LIMIT 1")
    if newest and isinstance(newest[0][0], int) and from_micros(newest[0][0]) > now + _AHEAD:
        at = f"{from_micros(newest[0][0]):%Y-%m-%d %H:%M:%S} UTC"
        told = f"the newest event of {name} is from {at}, which is still to come"
        yield problem("clock", told, "set this machine's clock, for example by NTP")


def _inbox(name: str, reader: Reader) -> Iterator[Finding]:
    rows = reader.rows("SELECT state, count(*) FROM inbox_parked GROUP BY state")
    counts = {str(state): count for state, count in rows}
    dead = counts.pop("dead", 0)
    if dead:
        told = f"{dead} dead letters: events that had no effect"
        yield warning(f"{name} inbox", told, "mercato dlq list")
    if counts:
        told = ", ".join(f"{count} {state}" for state, count in sorted(counts.items()))
        yield warning(f"{name} inbox", f"parked events: {told}", "mercato up: it tries them again")


def _mails(reader: Reader) -> Iterator[Finding]:
    if not reader.has("notifications"):
        return
    ((failed,),) = reader.rows("SELECT count(*) FROM notifications WHERE status = 'failed'")
    if failed:
        yield warning("mails", f"{failed} could not be sent", "POST /api/v1/notifications/{id}/resend")


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
