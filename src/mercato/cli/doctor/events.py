"""What waits in a service's database, whichever engine keeps it: events, calls, mails; and its schema."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Protocol

from mercato.adapters.sql.schema import BASE, Schema
from mercato.cli.doctor.findings import Finding, ok, problem, warning
from mercato.kernel.clock import from_micros, to_micros

CHECK_S = 5.0
"""How long a query may take."""
_STUCK = timedelta(seconds=60)
_AHEAD = timedelta(minutes=2)
_ABANDONED = timedelta(minutes=10)
"""How long after its lease a claim counts as nobody's."""


class Unreadable(Exception):
    """A database cannot be read, or not in time; the message says why."""


class Reader(Protocol):
    """One database, opened to be read, every query within a deadline."""

    def rows(self, sql: str) -> list[tuple[object, ...]]:
        """Return a query's rows. Raises Unreadable."""
        ...

    def has(self, table: str) -> bool:
        """Say whether there is such a table. Raises Unreadable."""
        ...


def of_service(name: str, schema: Schema, reader: Reader, now: datetime, run: str) -> Iterator[Finding]:
    """Look at a service's schema and at what waits; `run` is the command that sees to what does.

    Raises Unreadable.
    """
    yield _revision(name, schema, reader)
    if reader.has("outbox") and reader.has("inbox_parked") and reader.has("claims"):
        waiting = [*_outbox(name, reader, now, run), *_inbox(name, reader, run), *_claims(name, reader, now)]
        yield from waiting or [ok(f"{name} events", "none is stuck, parked or dead")]
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


def _outbox(name: str, reader: Reader, now: datetime, run: str) -> Iterator[Finding]:
    ((waiting, oldest),) = reader.rows("SELECT count(*), min(created_at) FROM outbox WHERE sent_at IS NULL")
    if isinstance(oldest, int) and now - from_micros(oldest) > _STUCK:
        told = f"{waiting} events have waited since {_moment(oldest)}"
        yield warning(f"{name} outbox", told, f"start the platform: {run}")
    newest = reader.rows("SELECT created_at FROM outbox ORDER BY position DESC LIMIT 1")
    if newest and isinstance(newest[0][0], int) and from_micros(newest[0][0]) > now + _AHEAD:
        told = f"the newest event of {name} is from {_moment(newest[0][0])}, which is still to come"
        yield problem("clock", told, "set this machine's clock, for example by NTP")


def _inbox(name: str, reader: Reader, run: str) -> Iterator[Finding]:
    rows = reader.rows("SELECT state, count(*), min(first_seen_at) FROM inbox_parked GROUP BY state")
    counts = {str(state): count for state, count, _ in rows}
    dead = counts.pop("dead", 0)
    if dead:
        oldest = next(since for state, _, since in rows if state == "dead")
        told = f"{dead} dead letters: events that had no effect, the oldest since {_moment(oldest)}"
        yield warning(f"{name} inbox", told, "mercato dlq list")
    if counts:
        told = ", ".join(f"{count} {state}" for state, count in sorted(counts.items()))
        yield warning(f"{name} inbox", f"parked events: {told}", f"{run}: it tries them again")


def _claims(name: str, reader: Reader, now: datetime) -> Iterator[Finding]:
    before = to_micros(now - _ABANDONED)
    # A lease of 0 was ended on purpose: its call is to be taken up again.
    ((stuck,),) = reader.rows(
        f"SELECT count(*) FROM claims WHERE state = 'open' AND lease_until > 0 AND lease_until < {before}"
    )
    if stuck:
        told = f"{stuck} calls with an Idempotency-Key were broken off"
        yield warning(f"{name} claims", told, "have them sent again with the same key, or let a day pass")


def _mails(reader: Reader) -> Iterator[Finding]:
    if not reader.has("notifications"):
        return
    ((failed,),) = reader.rows("SELECT count(*) FROM notifications WHERE status = 'failed'")
    if failed:
        yield warning("mails", f"{failed} could not be sent", "POST /api/v1/notifications/{id}/resend")


def _moment(micros: object) -> str:
    return f"{from_micros(int(str(micros))):%Y-%m-%d %H:%M:%S} UTC"
